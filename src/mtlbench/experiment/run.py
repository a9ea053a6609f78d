"""Executes one run: data -> model -> training -> test metrics, in a folder named by the run's identity."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from filelock import Timeout
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mtlbench.data.loader import Rows
from mtlbench.data.store import Store
from mtlbench.distributed.job import LostRankError, is_first
from mtlbench.distributed.layers import see_whole_batches
from mtlbench.distributed.ranks import first_goes_ahead, job_joined, on_first
from mtlbench.distributed.sharded import shards_of
from mtlbench.distributed.slices import copy_from_first
from mtlbench.experiment.build import build
from mtlbench.experiment.check import check_config
from mtlbench.experiment.data import DataSource, open_or_prepare, resolve_data
from mtlbench.experiment.device import resolve_device
from mtlbench.experiment.identity import run_identity
from mtlbench.experiment.memory import forget_peak
from mtlbench.experiment.objects import (
    build_losses,
    build_model,
    build_ranking,
    build_run_optimizers,
    build_scheduler,
    build_settings,
    check_model_size,
)
from mtlbench.experiment.own_metrics import build_own_metrics, try_own_metrics
from mtlbench.experiment.own_model import check_forward
from mtlbench.experiment.pretrained import add_pretrained
from mtlbench.experiment.run_folder import finished_result, open_folder, run_tracker
from mtlbench.experiment.run_result import measured_result, score_warnings, weight_warnings
from mtlbench.experiment.same import check_folder, check_ranks
from mtlbench.experiment.size import memory_errors
from mtlbench.experiment.vector_files import vector_files
from mtlbench.locking import locked
from mtlbench.result import Metrics, Result
from mtlbench.tracking.credentials import withheld
from mtlbench.tracking.folder import read_facts, write_result, write_status
from mtlbench.tracking.journal import Journal
from mtlbench.tracking.scores import keeps_scores, write_scores
from mtlbench.tracking.tracker import Tracker
from mtlbench.train.convergence import convergence
from mtlbench.train.loop import fit
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.progress import Progress, RunContext
from mtlbench.train.score import evaluate_split
from mtlbench.train.selection import kept_model, load_best, selection_units
from mtlbench.train.settings import Settings


class BusyError(OSError):
    """Another process is training this run."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run: its folder, its result, and whether it was already finished."""

    folder: Path
    result: Result
    reused: bool


def train(config: DictConfig, *, after_evaluation: Callable[[Path], None] = lambda folder: None) -> Outcome:
    """Execute the run of a configuration: start it, resume it from its checkpoint, or return its stored result.

    Args:
        config: the composed configuration.
        after_evaluation: called with the run's folder after each evaluation on validation rows, once its journal and
            checkpoint are written. If it raises `Interrupted`, the run stops there.

    Raises:
        ConfigError, RawError: the configuration or the raw files are invalid.
        BusyError: another process is training this run.
        MemoryError: the batches do not fit into memory beside the model.
        NonFiniteLossError, Interrupted: the run stopped; its folder and the tracker record this.
        OtherRankError, LostRankError: another process of the job failed or disappeared; the latter interrupts the run.
    """
    with job_joined():
        return _train(config, after_evaluation)


def _train(config: DictConfig, after_evaluation: Callable[[Path], None]) -> Outcome:
    check_config(config)
    if isinstance(config.run.tracker.uri, str):
        config.run.tracker.uri = withheld(config.run.tracker.uri)
    make_paths_absolute(config)
    device = resolve_device(config.run.device)
    if config.run.threads != "auto":
        torch.set_num_threads(config.run.threads)
    data = resolve_data(config.dataset, Path(config.run.data))
    identity = run_identity(config, data)
    check_ranks(config, data, device)
    folder = Path(config.run.folder) / identity
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder.with_name(identity + ".lock"), timeout=0) if is_first() else nullcontext():
            if on_first((folder / "result.json").exists) and not config.run.fresh:
                return Outcome(folder=folder, result=on_first(lambda: finished_result(config, folder)), reused=True)
            with memory_errors():
                return _run(config, data, identity, folder, device, after_evaluation)
    except Timeout as error:
        raise BusyError(f"another process is training run {identity} in {folder}") from error


def make_paths_absolute(config: DictConfig) -> None:
    """Make the configuration's paths absolute, so that a run can be opened from any folder."""
    files = [f"pretrained.{field}.file" for field in vector_files(config)]
    for key in ("run.data", "run.folder", "dataset.raw", *files):
        if (path := OmegaConf.select(config, key)) is not None:
            OmegaConf.update(config, key, str(Path(path).absolute()))


def _run(
    config: DictConfig,
    data: DataSource,
    identity: str,
    folder: Path,
    device: torch.device,
    after_evaluation: Callable[[Path], None],
) -> Outcome:
    forget_peak()
    settings = build_settings(config)
    with first_goes_ahead():
        store = open_or_prepare(data)
    build_ranking(config).check(store.schema)
    own_metrics = build_own_metrics(config)
    try_own_metrics(own_metrics, store.schema)
    check_model_size(config, store.schema)
    torch.manual_seed(config.seed)
    model = _model(config, store, device)
    optimizers = build_run_optimizers(config, model)
    balance = build(config.balancing, "balancing")(tasks=store.schema.tasks).to(device)
    losses = build_losses(config, store, model)
    on_first(lambda: open_folder(config, data, folder))  # only now that everything else is known to work
    check_folder(folder)
    journal = Journal(folder)
    if tracker := run_tracker(config, folder):
        tracker.update(folder)
    context = RunContext(identity=identity, folder=folder, journal=journal, device=device, seed=config.seed)
    began = time.monotonic()
    try:
        rows = (_rows_on_device(store, "train", device, settings), _rows_on_device(store, "valid", device, settings))
        fitting = time.monotonic()
        progress = fit(
            model,
            optimizers,
            Objective(losses=losses, balance=balance),
            rows,
            store.schema.tasks,
            settings,
            context,
            scheduler=build_scheduler(config),
            own_metrics=own_metrics,
            after_evaluation=_sent_and(after_evaluation, tracker, folder),
        )
        fitted = time.monotonic()
        kept, best_step = _kept(model, store, settings, context, progress)
        measured = _evaluate_test(config, folder, store, kept, losses, settings, device)
        test_metrics = measured.prefixed("test")
        journal.append(
            step=progress.step, epoch=progress.epoch, values=test_metrics.values, undefined=test_metrics.undefined
        )
        result = on_first(
            lambda: replace(
                measured_result(read_facts(folder)[0], model, progress, best_step, test_metrics),
                seconds=(fitting - began) + progress.spent + (time.monotonic() - fitted),
                checkpoint=settings.checkpoint,
                warnings=(*score_warnings(identity, journal, best_step, measured), *weight_warnings(config, store)),
                convergence=convergence(
                    selection_units(store.schema.tasks, settings), journal.read(), settings.patience
                ),
            )
        )
        write_result(folder, result)
        write_status(folder, "finished")
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | LostRankError)
        write_status(folder, "interrupted" if interrupted else "failed", reason=str(error) or type(error).__name__)
        raise
    finally:
        if tracker is not None:
            tracker.finish(folder)
    return Outcome(folder=folder, result=result, reused=False)


def _sent_and(hook: Callable[[Path], None], tracker: Tracker | None, folder: Path) -> Callable[[], None]:
    """A hook that sends new journal lines to the tracker, if there is one, and then calls `after_evaluation`."""

    def evaluated() -> None:
        if tracker:
            tracker.update(folder)
        hook(folder)

    return evaluated


def _model(config: DictConfig, store: Store, device: torch.device) -> nn.Module:
    """The model with its initial weights on the device; the user's own model is tried on a few rows."""
    model = build_model(config, store.schema)
    add_pretrained(model, config, store)
    model.to(device)
    check_forward(model, store.split("train"), device)
    copy_from_first(model)
    return see_whole_batches(model)


def _kept(
    model: nn.Module, store: Store, settings: Settings, context: RunContext, progress: Progress
) -> tuple[nn.Module, dict[str, int]]:
    """The selected weights and their steps; rank 0 reads the file that it wrote, and every rank its shard."""
    if is_first() or shards_of(model):
        kept, best_step = load_best(model, store.schema.tasks, settings, context.best, context.identity)
    else:
        kept, best_step = kept_model(model, len(store.schema.tasks), settings.checkpoint), progress.best_step
    copy_from_first(kept)
    return kept, best_step


def _evaluate_test(
    config: DictConfig,
    folder: Path,
    store: Store,
    model: nn.Module,
    losses: TaskLosses,
    settings: Settings,
    device: torch.device,
) -> Metrics:
    """Metrics of the test split; with ``run.keep_scores`` its log-odds are stored, for a paired bootstrap."""
    ranking, own_metrics = build_ranking(config), build_own_metrics(config)
    log_odds, metrics = evaluate_split(model, store.split("test"), losses, settings, device, ranking, own_metrics)
    if keeps_scores(config.run.keep_scores, len(log_odds)):
        write_scores(folder, folder.name, [task.name for task in store.schema.tasks], log_odds.numpy())
    return metrics


def _rows_on_device(store: Store, split: str, device: torch.device, settings: Settings) -> Rows:
    """The rows of a split: copied to the GPU if they fit into half of its free memory, otherwise memory-mapped."""
    rows = store.split("train" if settings.rows else split)
    if settings.rows:
        rows = rows.first(settings.rows)
    if device.type == "cuda" and rows.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
        return rows.to(device)
    return rows
