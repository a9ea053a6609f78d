"""Progress output: a progress bar per epoch, and one line per evaluation on validation rows."""

import logging

from tqdm import tqdm

from mtlbench.metrics.names import metric
from mtlbench.result import Metrics, metric_name
from mtlbench.train.budget import Budget
from mtlbench.train.progress import Progress
from mtlbench.train.selection import Selected
from mtlbench.train.settings import Settings

_log = logging.getLogger(__name__)


def progress_bar(budget: Budget, progress: Progress, settings: Settings) -> "tqdm[tuple[int, int]]":
    """Iterate over the next batches, with a progress bar of the epoch if on a terminal and not quiet."""
    return tqdm(
        budget.batches(progress),
        desc=f"epoch {progress.epoch + 1}" + (f"/{settings.epochs}" if settings.epochs else ""),
        unit="batch",
        initial=progress.position,
        total=len(budget.bounds),
        disable=None if _log.isEnabledFor(logging.INFO) else True,
        delay=2,
        leave=False,
    )


def running_losses(progress: Progress, tasks: int) -> list[str]:
    """Mean training loss of each task over the steps in the journal since the last evaluation."""
    return [f"{total / progress.summed:.4f}" for total in progress.sums[:tasks]]


def status_line(
    progress: Progress,
    budget: Budget,
    settings: Settings,
    units: tuple[Selected, ...],
    measured: Metrics,
    elapsed: float,
) -> str:
    """The line printed after an evaluation.

    ``epoch 3/20  click loss 0.1612 auc 0.7244  best 0.7244 now  patience 2  45,231 rows/s  1:23 left``: training losses
    (means since the last evaluation), the validation metrics that select weights, the best selection score so far and
    the steps since, the remaining patience, training throughput, and an upper bound of the remaining time at the speed
    so far (validation included).
    """
    parts = [_place(progress, budget, settings)]
    # None after resuming a checkpoint of an earlier version from between the last step and its evaluation.
    losses = running_losses(progress, len(measured.tasks)) or ["unknown"] * len(measured.tasks)
    for name, loss in zip(measured.tasks, losses, strict=True):
        terms = [term for unit in units for term in unit.terms if name in term.tasks]
        keys = dict.fromkeys(key for term in terms if (key := term.metric_of(name, measured.values)))
        shown = [f"{key} {metric(key).text(measured.values[metric_name(key, name)])}" for key in keys]
        parts.append(" ".join([name, f"loss {loss}", *shown]))
    parts.append("best " + ", ".join(_best(unit, progress) for unit in units))
    if settings.patience is not None:
        parts.append(f"patience {max(settings.patience - min(progress.stale.values()), 0)}")
    parts.append(f"{progress.rows_per_second[-1]:,.0f} rows/s")
    parts.append(f"{_clock(elapsed / progress.step * (budget.total - progress.step))} left")
    return "  ".join(parts)


def _place(progress: Progress, budget: Budget, settings: Settings) -> str:
    if settings.evaluate_every is None and settings.epochs is not None:
        return f"epoch {budget.epoch(progress.step)}/{settings.epochs}"
    return f"step {progress.step:,}/{budget.total:,}"


def _best(unit: Selected, progress: Progress) -> str:
    since = progress.step - progress.best_step[unit.name]
    name = "" if unit.name == "model" else f"{unit.name} "
    return f"{name}{unit.text(progress.best[unit.name])} {f'{since:,} steps ago' if since else 'now'}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
