"""A finished run's model, put together again."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mtlbench.data.store import SPLITS, Store
from mtlbench.experiment.build import fill
from mtlbench.experiment.data import locate, stored
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.objects import build_losses, build_model, configured_ranking, resolve_device
from mtlbench.metrics import Metrics
from mtlbench.tracking.folder import Facts, read_facts
from mtlbench.train.objective import TaskLosses
from mtlbench.train.score import measure
from mtlbench.train.selection import load_best
from mtlbench.train.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A trained run, ready to score: what its folder says, its data, and its model with the selected weights."""

    facts: Facts
    config: DictConfig
    store: Store
    settings: Settings
    model: nn.Module
    losses: TaskLosses
    device: torch.device


def open_run(folder: Path, device_name: str = "auto") -> Opened:
    """A run's model with its selected weights, and the data it was trained on.

    Raises:
        ConfigError: the folder holds no trained run, or its data are no longer those it was trained on.
    """
    if not (folder / "best.pt").exists() or not (folder / "config.yaml").exists():
        raise ConfigError(f"{folder} holds no trained run: best.pt or config.yaml is missing")
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
    return Opened(
        facts=facts,
        config=config,
        store=store,
        settings=settings,
        model=model,
        losses=build_losses(config, store, model),
        device=device,
    )


def evaluate_run(folder: Path, split: str, device_name: str, predictions: Path | None) -> Metrics:
    """Score the selected weights of a run on a split, and write the probabilities to a Parquet file if one is named.

    Raises:
        ConfigError: as `open_run`, or no such split.
    """
    if split not in SPLITS:
        raise ConfigError(f"split={split}; allowed: {', '.join(SPLITS)}")
    run = open_run(folder, device_name)
    rows, tasks = run.store.split(split), run.store.schema.tasks
    logits, metrics = measure(run.model, rows, run.losses, run.settings, run.device, configured_ranking(run.config))
    if predictions is not None:
        columns: dict[str, pa.Array] = {"row": pa.array(range(len(rows)), pa.int64())}
        for t, task in enumerate(tasks):
            columns[task.label] = pa.array(rows.columns["labels"][:, t].numpy())
            columns[f"p_{task.name}"] = pa.array(torch.sigmoid(logits[:, t]).numpy())
        about = {"run": run.facts.identity, "split": split, "origin": run.facts.origin}
        pq.write_table(pa.table(columns).replace_schema_metadata(about), predictions)
    return metrics.prefixed(split)
