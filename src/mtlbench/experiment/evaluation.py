"""A finished run's model, put together again."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig, OmegaConf

from mtlbench.experiment.build import fill
from mtlbench.experiment.data import locate, stored
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.run import build_losses, build_model, configured_ranking, measure, resolve_device
from mtlbench.metrics import Metrics
from mtlbench.tracking.folder import read_facts
from mtlbench.train.loop import load_best
from mtlbench.train.settings import Settings


def evaluate_run(folder: Path, split: str, device_name: str, predictions: Path | None) -> Metrics:
    """Score the selected weights of a run on a split, and write the probabilities to a Parquet file if one is named.

    Raises:
        ConfigError: the folder holds no trained run, or its data are no longer those it was trained on.
    """
    if not (folder / "best.pt").exists() or not (folder / "config.yaml").exists():
        raise ConfigError(f"{folder} holds no trained run: best.pt or config.yaml is missing")
    if split not in ("train", "valid", "test"):
        raise ConfigError(f"split={split}; allowed: train, valid, test")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    facts, data = read_facts(folder)[0], locate(config.dataset, Path(config.run.data))
    if data.fingerprint != facts.data:
        raise ConfigError(
            f"run {facts.identity} was trained on data {facts.data}, but its configuration now means "
            f"{data.fingerprint} ({data.origin}, {data.raw}). Put the files back where they were"
        )
    store = stored(data)
    settings: Settings = fill(Settings, dict(config.trainer), "trainer")
    device = resolve_device(device_name)
    model = build_model(config, store.schema).to(device)
    load_best(model, store.schema.tasks, settings.select, folder / "best.pt", facts.identity)
    rows = store.split(split)
    losses = build_losses(config, store, model)
    logits, metrics = measure(model, rows, losses, settings, device, configured_ranking(config))
    if predictions is not None:
        columns: dict[str, pa.Array] = {"row": pa.array(range(len(rows)), pa.int64())}
        for t, task in enumerate(store.schema.tasks):
            columns[task.label] = pa.array(rows.columns["labels"][:, t].numpy())
            columns[f"p_{task.name}"] = pa.array(torch.sigmoid(logits[:, t]).numpy())
        about = {"run": facts.identity, "split": split, "origin": facts.origin}
        pq.write_table(pa.table(columns).replace_schema_metadata(about), predictions)
    return metrics.prefixed(split)
