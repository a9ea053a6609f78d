"""Model selection: keep the weights with the best validation score, one step for all tasks or one per task."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mtlbench.distributed.job import is_first
from mtlbench.distributed.sharded import shards_of
from mtlbench.metrics.names import did_you_mean, metric, selectable
from mtlbench.result import CheckpointRule, metric_name
from mtlbench.schema import Batch, Task
from mtlbench.train import checkpoint
from mtlbench.train.progress import Progress, RunContext
from mtlbench.train.settings import Select, Settings
from mtlbench.train.table_rows import held_model_state, model_state

ROUNDING = 1e-12
"""Relative difference by which a score must exceed the best so far; anything less is rounding."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """A metric in a selection score.

    Attributes:
        metric: its name, without a task.
        tasks: names of the tasks over which it is averaged, where it is defined.
        weight: positive factor on the score (`Metric.score`: higher is better).
    """

    metric: str
    tasks: tuple[str, ...]
    weight: float = 1.0

    def score(self, metrics: Mapping[str, float]) -> float | None:
        """Weighted mean of the scores; ``None`` if the metric is undefined for all tasks."""
        named = [(name, metric_name(name, task)) for task in self.tasks if (name := self.metric_of(task, metrics))]
        scores = [metric(name).score(metrics[full]) for name, full in named]
        return self.weight * (sum(scores) / len(scores)) if scores else None

    def metric_of(self, task: str, metrics: Mapping[str, float]) -> str | None:
        """The metric, or its counterpart for a regression task; ``None`` if the task has neither."""
        names = (self.metric, metric(self.metric).counterpart)
        return next((name for name in names if name is not None and metric_name(name, task) in metrics), None)


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A selected unit: weights of the whole model, selected by one score, the sum of its terms.

    Attributes:
        name: ``model``, or the name of the task that the weights are kept for.
        terms: terms of the score.
    """

    name: str
    terms: tuple[Term, ...]

    def score(self, metrics: Mapping[str, float]) -> float | None:
        """The score, higher is better; ``None`` if a term is undefined."""
        scores = [term.score(metrics) for term in self.terms]
        defined = [score for score in scores if score is not None]
        return sum(defined) if len(defined) == len(scores) else None

    def text(self, score: float) -> str:
        """A score for display; that of a single metric is shown as the metric itself (or its distance from 1)."""
        only = metric(self.terms[0].metric)
        return only.text(abs(score)) if len(self.terms) == 1 else f"{score:.4f}"


class TaskCheckpoints(nn.Module):
    """One copy of a model per task, with the weights kept for that task (``trainer.checkpoint=task``).

    `mtlbench.train.objective.TaskLosses.log_odds` uses each task's own copy.

    Shape: `Batch` of B rows -> logits ``[B, T, T]``: by copy, then by task.
    """

    def __init__(self, model: nn.Module, tasks: int) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copy.deepcopy(model) for _ in range(tasks))

    def forward(self, batch: Batch) -> Tensor:
        return torch.stack([copy(batch) for copy in self.copies], dim=1)


def selection_units(tasks: tuple[Task, ...], settings: Settings) -> tuple[Selected, ...]:
    """The selected units: the model as a whole, or one unit per task.

    Raises:
        ValueError: ``trainer.select`` has an unknown task, a metric that cannot select (see `selectable`) or that its
            task does not have, a task under ``checkpoint=task``, or a weight of the wrong sign.
    """
    names = tuple(task.name for task in tasks)
    allowed = selectable(task.given for task in tasks if task.given is not None)
    weights = selection_weights(settings.select)
    for term, weight in weights.items():
        task, _, name = term.rpartition("/")
        if name not in allowed or (task and task not in names):
            hint = did_you_mean(task, names) if name in allowed else did_you_mean(name, allowed)
            raise ValueError(
                f"trainer.select is {settings.select!r}{hint}; "
                f"allowed: <metric> or <task>/<metric> with a metric of {allowed} and a task of {list(names)}"
            )
        selected = [each for each in tasks if task in ("", each.name)]
        _check_kinds(settings, name, selected, bool(task))
        if task and settings.checkpoint == "task":
            raise ValueError(
                f"trainer.select is {settings.select!r}, but with trainer.checkpoint=task each task is selected by its "
                f"own metric. Give the metric only, trainer.select={name}, or choose trainer.checkpoint=run"
            )
        sign = 1 if metric(name).better == "higher" else -1
        if not 0 < abs(weight) < math.inf or (isinstance(settings.select, dict) and sign * weight < 0):
            raise ValueError(
                f"trainer.select is {settings.select!r}: the weight of {term} is {weight:g}; allowed: "
                + (
                    f"above 0, since higher {name} is better"
                    if sign > 0
                    else f"below 0, since {_smaller(name)} is better"
                )
            )
    if not weights:
        raise ValueError(f"trainer.select is {settings.select!r}; allowed: at least one metric")
    return named_units(names, settings)


def _check_kinds(settings: Settings, name: str, tasks: Sequence[Task], named: bool) -> None:
    """Reject a metric that its tasks do not have: the given task, a task with its own unit, or all tasks of a mean."""
    about = metric(name)
    without_metric = [
        task for task in tasks if about.kind not in (None, task.kind) and (named or about.counterpart is None)
    ]
    if without_metric and (named or settings.checkpoint == "task" or len(without_metric) == len(tasks)):
        task = without_metric[0]
        alternatives = [other for other in selectable(()) if metric(other).kind == task.kind]
        raise ValueError(
            f"trainer.select is {settings.select!r}, but '{task.name}' is a {task.kind} task, which has no {name}. "
            f"It has {', '.join(alternatives)}; with tasks of both kinds, name metrics by task, "
            "trainer.select={click/auc: 1, watch/rmse: -0.1}"
        )


def named_units(tasks: tuple[str, ...], settings: Settings) -> tuple[Selected, ...]:
    """`selection_units` by names of tasks, for settings that were validated when the run began."""

    def unit(name: str, of: tuple[str, ...]) -> Selected:
        parts = [
            (*term.rpartition("/")[::2], abs(weight)) for term, weight in selection_weights(settings.select).items()
        ]
        return Selected(
            name=name,
            terms=tuple(Term(metric=what, tasks=(task,) if task else of, weight=w) for task, what, w in parts),
        )

    if settings.checkpoint == "run":
        return (unit("model", tasks),)
    return tuple(unit(task, (task,)) for task in tasks)


def selection_weights(select: Select) -> dict[str, float]:
    """Weights by ``<metric>`` or ``<task>/<metric>``; 1 if not given."""
    if isinstance(select, dict):
        return select
    return dict.fromkeys([select] if isinstance(select, str) else select, 1.0)


def _smaller(name: str) -> str:
    return f"lower {name}" if metric(name).better == "lower" else f"{name} closer to 1"


def select(
    model: nn.Module, units: tuple[Selected, ...], metrics: dict[str, float], progress: Progress, context: RunContext
) -> None:
    """Record each unit's validation score, and save the model's weights for units with a new best score.

    Raises:
        ValueError: a metric is undefined for all its tasks.
    """
    better: list[str] = []
    for unit in units:
        value = unit.score(metrics)
        if value is None:
            term = next(term for term in unit.terms if term.score(metrics) is None)
            raise ValueError(
                f"no validation {term.metric} is defined for {', '.join(term.tasks)}, so weights cannot be selected. "
                "Choose trainer.select=logloss, or a larger validation split."
            )
        if is_better(value, progress.best.get(unit.name)):
            progress.best[unit.name], progress.best_step[unit.name] = value, progress.step
            progress.stale[unit.name] = 0
            better.append(unit.name)
        else:
            progress.stale[unit.name] += 1
    sharded = bool(shards_of(model))
    if better and (is_first() or sharded):
        kept = checkpoint.load(context.best, identity=context.identity)["parts"] if len(better) < len(units) else {}
        if not sharded:  # now: when they were saved they may have been
            kept = {name: held_model_state(state, model) for name, state in kept.items()}
        checkpoint.save(
            context.best,
            {
                "identity": context.identity,
                "steps": progress.best_step,
                "parts": kept | dict.fromkeys(better, model_state(model)),
            },
        )


def is_better(score: float, best: float | None) -> bool:
    """Whether a score is higher than the best so far by more than rounding."""
    return best is None or score - best > ROUNDING * abs(best)


def out_of_patience(progress: Progress, units: tuple[Selected, ...], patience: int | None) -> bool:
    """Early stopping: whether no unit has improved for the given number of evaluations."""
    return patience is not None and all(progress.stale.get(unit.name, 0) >= patience for unit in units)


def load_best(
    model: nn.Module, tasks: tuple[Task, ...], settings: Settings, path: Path, identity: str
) -> tuple[nn.Module, dict[str, int]]:
    """The model with the weights that a run has kept, and the step of each selected unit.

    Returns:
        The given model, or `TaskCheckpoints` of it if each task has its own weights.

    Raises:
        CheckpointError: the weights cannot be read, or belong to another run or to a model built by other code.
    """
    best = checkpoint.load(path, identity=identity)
    units = selection_units(tasks, settings)
    chosen = kept_model(model, len(tasks), settings.checkpoint)
    targets = chosen.copies if isinstance(chosen, TaskCheckpoints) else [chosen]
    for unit, target in zip(units, targets, strict=True):
        try:
            target.load_state_dict(held_model_state(best["parts"][unit.name], target))
        except (RuntimeError, KeyError) as error:
            raise checkpoint.CheckpointError(
                f"the weights in {path} do not fit this {unit.name}: {error}. They were trained with other code; "
                "train again with run.fresh=true."
            ) from error
    return chosen, best["steps"]


def kept_model(model: nn.Module, tasks: int, rule: CheckpointRule) -> nn.Module:
    """The module for the kept weights: the model itself, or one copy of it per task."""
    return model if rule == "run" else TaskCheckpoints(model, tasks)
