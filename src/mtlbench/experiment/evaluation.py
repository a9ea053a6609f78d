"""A finished run's model, put together again."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig, OmegaConf

from mtlbench.experiment.build import ConfigError, fill
from mtlbench.experiment.data import locate, stored
from mtlbench.experiment.run import build_model, measure, resolve_device
from mtlbench.metrics import Metrics
from mtlbench.train.loop import Settings, load_best


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
    store = stored(locate(config.dataset, Path(config.run.data)))
    settings: Settings = fill(Settings, dict(config.trainer), "trainer")
    device = resolve_device(device_name)
    model = build_model(config, store.schema).to(device)
    load_best(model, store.schema.tasks, settings.select, folder / "best.pt", folder.name)
    rows = store.split(split)
    logits, metrics = measure(model, rows, settings, device)
    if predictions is not None:
        columns: dict[str, pa.Array] = {"row": pa.array(range(len(rows)), pa.int64())}
        for t, task in enumerate(store.schema.tasks):
            columns[task.label] = pa.array(rows.columns["labels"][:, t].numpy())
            columns[f"p_{task.name}"] = pa.array(torch.sigmoid(logits[:, t]).numpy())
        pq.write_table(pa.table(columns), predictions)
    return metrics.prefixed(split)
