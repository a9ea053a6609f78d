"""Loads a finished run's model, evaluates it, and compares with the run's own result."""

import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

import mtlbench
from mtlbench.data.store import SPLITS, Store
from mtlbench.experiment.data import open_or_prepare, resolve_data
from mtlbench.experiment.device import resolve_device
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.objects import build_losses, build_model, build_ranking, build_settings
from mtlbench.experiment.own_metrics import build_own_metrics
from mtlbench.experiment.plain import read_plain
from mtlbench.experiment.sanity import SuspiciousMetricsWarning, suspicious
from mtlbench.files import writing
from mtlbench.losses import predicted_labels
from mtlbench.metrics.declared import declared_metrics
from mtlbench.metrics.names import built_in
from mtlbench.result import Metrics
from mtlbench.tracking.folder import CONFIG, RESULT, RunInfo, check_config_hash, read_facts, read_result
from mtlbench.tracking.scores import write_scores
from mtlbench.train.objective import TaskLosses
from mtlbench.train.score import evaluate_split
from mtlbench.train.selection import load_best
from mtlbench.train.settings import Settings

TOLERANCE = {"fp32": 1e-3, "bf16": 1e-2}
"""By precision: the allowed difference between a metric and its recorded value, absolute, or relative above 1.

Other devices, thread counts and versions of torch round differently, which changes an AUC in the sixth digit, and on a
small test split in the fourth.
"""


class OtherResultError(ArithmeticError):
    """A run's weights no longer give the metrics that the run recorded."""


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A trained run, ready to score: its facts, its data, and its model with the selected weights.

    Under ``trainer.checkpoint=task`` the model is one copy for each task, see `TaskCheckpoints`.
    """

    facts: RunInfo
    config: DictConfig
    store: Store
    settings: Settings
    model: nn.Module
    losses: TaskLosses
    device: torch.device


def load_run(folder: Path, device_name: str = "auto") -> TrainedRun:
    """A run's model with its selected weights, and the data it was trained on.

    Raises:
        ConfigError: the folder holds no trained run, or its data are no longer those it was trained on.
        DamagedFileError: a small file of the run is damaged.
    """
    if not (folder / "best.pt").exists() or not (folder / "config.yaml").exists():
        raise ConfigError(f"{folder} holds no trained run: best.pt or config.yaml is missing")
    facts, config, store = load_data(folder)
    settings = build_settings(config)
    device = resolve_device(device_name)
    model = build_model(config, store.schema).to(device)
    losses = build_losses(config, store, model)
    kept, _ = load_best(model, store.schema.tasks, settings, folder / "best.pt", facts.identity)
    return TrainedRun(
        facts=facts,
        config=config,
        store=store,
        settings=settings,
        model=kept,
        losses=losses,
        device=device,
    )


def load_data(folder: Path) -> tuple[RunInfo, DictConfig, Store]:
    """A run's facts, its configuration and its data, prepared again if the store no longer exists.

    Raises:
        ConfigError, RawError: the data have changed since training, or no longer exist.
        DamagedFileError: a small file of the run is damaged.
    """
    if (folder / RESULT).exists():
        read_result(folder)  # raises if it was edited
    config = read_plain(folder / CONFIG, ("run.data", "dataset", "trainer", "model"))
    check_config_hash(folder)
    declared_metrics(typing.cast(dict[str, Any], OmegaConf.to_container(config)))  # weights may be selected by them
    facts, data = read_facts(folder)[0], resolve_data(config.dataset, Path(config.run.data))
    if data.fingerprint != facts.data:
        remedy = (
            f"This version ({mtlbench.__version__}; the run was trained with {facts.commit.partition('+')[0]}) may "
            "simulate other data: train the run again, or evaluate it with that version"
            if data.made_here
            else "Put the files back where they were"
        )
        raise ConfigError(
            f"run {facts.identity} was trained on data {facts.data}, but its configuration now means "
            f"{data.fingerprint} ({data.origin}, {data.raw}). {remedy}"
        )
    return facts, config, open_or_prepare(data)


def evaluate_run(folder: Path, split: str, device_name: str, predictions: Path | None) -> Metrics:
    """Score the selected weights of a run on a split, and write the predictions to a Parquet file, if one is given.

    Raises:
        ConfigError: as `load_run`, or the split does not exist.
        OtherResultError: on the test split of a finished run, see `check_result`.
    """
    if split not in SPLITS:
        raise ConfigError(f"split={split}; allowed: {', '.join(SPLITS)}")
    run = load_run(folder, device_name)
    rows, tasks = run.store.split(split), run.store.schema.tasks
    ranking, own_metrics = build_ranking(run.config), build_own_metrics(run.config)
    logits, metrics = evaluate_split(run.model, rows, run.losses, run.settings, run.device, ranking, own_metrics)
    if split == "test":
        check_result(folder, metrics.values, run.settings.precision)
    if problems := suspicious(metrics, split):
        text = f"suspicious scores of run {run.facts.identity}: {'; '.join(problems)}"
        warnings.warn(text, SuspiciousMetricsWarning, stacklevel=2)
    if predictions is not None:
        columns: dict[str, pa.Array | pa.ChunkedArray] = {"row": pa.array(range(len(rows)), pa.int64())}
        if (keys := run.store.keys(split)) is not None:
            columns |= dict(zip(keys.column_names, keys.columns, strict=True))
        unknown = ~rows.columns["observed"] if "observed" in rows.columns else None
        predicted_NT = predicted_labels(logits, tasks)
        for t, task in enumerate(tasks):
            label_N = rows.columns["labels"][:, t]
            in_units = label_N.to(torch.int8) if task.kind == "binary" else label_N * task.deviation + task.mean
            columns[task.label] = pa.array(in_units.numpy(), mask=None if unknown is None else unknown[:, t].numpy())
            columns[task.answer] = pa.array(predicted_NT[:, t].numpy())
        about = {"run": run.facts.identity, "split": split, "origin": run.facts.origin}
        with writing(predictions):
            pq.write_table(pa.table(columns).replace_schema_metadata(about), predictions)
    return metrics


def restore_scores(folder: Path, device_name: str = "auto") -> None:
    """Score the test rows of a finished run that has not stored its scores, and write them to its folder.

    Raises:
        ConfigError: as `load_run`.
        OtherResultError: see `check_result`.
    """
    run = load_run(folder, device_name)
    rows, ranking = run.store.split("test"), build_ranking(run.config)
    log_odds, metrics = evaluate_split(run.model, rows, run.losses, run.settings, run.device, ranking)
    check_result(folder, metrics.values, run.settings.precision)
    write_scores(folder, run.facts.identity, [task.name for task in run.store.schema.tasks], log_odds.numpy())


def check_result(folder: Path, metrics: Mapping[str, float], precision: str) -> None:
    """Compare test metrics with those that a finished run has recorded.

    The user's own metrics are compared only if they were computed, which requires their code to be allowed.

    Raises:
        OtherResultError: a recorded metric differs by more than `TOLERANCE`, or is no longer computed.
    """
    if not (folder / RESULT).exists():
        return
    values = read_result(folder).test.values
    recorded = {
        name: value
        for name, value in values.items()
        if name in metrics or built_in(name.rpartition("/")[2]) is not None
    }
    allowed = TOLERANCE[precision]
    apart = [
        f"test/{name} {metrics.get(name, 'undefined')} (recorded: {value})"
        for name, value in recorded.items()
        if name not in metrics or abs(metrics[name] - value) > allowed * max(1.0, abs(value))
    ]
    if apart:
        shown = ", ".join(apart[:3]) + (f" and {len(apart) - 3} more" if len(apart) > 3 else "")
        raise OtherResultError(
            f"run {folder.name} no longer gives the metrics recorded in {folder / RESULT}: {shown}; allowed: "
            f"{allowed:g} apart (relative above 1). The weights, the result, the data or the code have changed. "
            "Train it again with run.fresh=true"
        )
