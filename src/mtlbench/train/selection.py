"""Model selection: keep the weights with the best validation score, one step for all tasks or one per task."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.metrics.names import did_you_mean, metric, selectable
from mtlbench.result import metric_name
from mtlbench.schema import Batch, Task
from mtlbench.train import checkpoint
from mtlbench.train.progress import Progress, RunContext
from mtlbench.train.settings import Settings

ROUNDING = 1e-12
"""Share of a score by which a later one must be better: less is rounding."""


@dataclass(frozen=True, kw_only=True)
class Selected:
    """Weights of the whole model that are selected on the mean of one metric over some tasks.

    Attributes:
        name: ``model``, or the name of the one task that they are kept for.
        tasks: names of the tasks that count.
        metric: name of the metric, without a task.
    """

    name: str
    tasks: tuple[str, ...]
    metric: str

    def score(self, metrics: dict[str, float]) -> float | None:
        """Mean over the tasks where the metric is defined, higher is better (`Metric.score`); ``None`` if nowhere."""
        names = [metric_name(self.metric, task) for task in self.tasks]
        scores = [metric(self.metric).score(metrics[name]) for name in names if name in metrics]
        return sum(scores) / len(scores) if scores else None


class TaskCheckpoints(nn.Module):
    """A model once per task, each with the weights that were kept for its task (``trainer.checkpoint=task``).

    `mtlbench.train.objective.TaskLosses.log_odds` takes each task from its own copy.

    Shape: `Batch` of B rows -> logits ``[B, T, T]``: by copy, then by task.
    """

    def __init__(self, model: nn.Module, tasks: int) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copy.deepcopy(model) for _ in range(tasks))

    def forward(self, batch: Batch) -> Tensor:
        return torch.stack([copy(batch) for copy in self.copies], dim=1)


def selection_units(tasks: tuple[Task, ...], settings: Settings) -> tuple[Selected, ...]:
    """What is selected by itself: the model as a whole, or its weights for each task.

    Raises:
        ValueError: ``trainer.select`` names no task that there is, no metric that can select (see `selectable`), or one
            task where each has its own.
    """
    task, _, name = settings.select.rpartition("/")
    names = tuple(t.name for t in tasks)
    allowed = selectable(t.given for t in tasks if t.given is not None)
    if name not in allowed or (task and task not in names):
        raise ValueError(
            f"trainer.select is {settings.select!r}{did_you_mean(name, allowed) if name not in allowed else ''}; "
            f"allowed: <metric> or <task>/<metric> with a metric of {allowed} and a task of {list(names)}"
        )
    if settings.checkpoint == "run":
        return (Selected(name="model", tasks=(task,) if task else names, metric=name),)
    if task:
        raise ValueError(
            f"trainer.select is {settings.select!r}, but with trainer.checkpoint=task each task is selected by its own "
            f"metric. Name the metric alone, trainer.select={name}, or choose trainer.checkpoint=run"
        )
    return tuple(Selected(name=each, tasks=(each,), metric=name) for each in names)


def select(
    model: nn.Module, units: tuple[Selected, ...], metrics: dict[str, float], progress: Progress, context: RunContext
) -> None:
    """Note each unit's validation score, and save the model's weights for those that have a new best.

    Raises:
        ValueError: the metric is defined for none of a unit's tasks.
    """
    better: list[str] = []
    for unit in units:
        value = unit.score(metrics)
        if value is None:
            raise ValueError(
                f"no validation {unit.metric} is defined for {', '.join(unit.tasks)}: nothing to select "
                "weights by. Choose trainer.select=logloss, or a larger validation split."
            )
        best = progress.best.get(unit.name)
        if best is None or value - best > ROUNDING * abs(best):
            progress.best[unit.name], progress.best_step[unit.name] = value, progress.step
            progress.stale[unit.name] = 0
            better.append(unit.name)
        else:
            progress.stale[unit.name] += 1
    if better:
        kept = checkpoint.load(context.best, identity=context.identity)["parts"] if len(better) < len(units) else {}
        checkpoint.save(
            context.best,
            {
                "identity": context.identity,
                "steps": progress.best_step,
                "parts": kept | dict.fromkeys(better, model.state_dict()),
            },
        )


def out_of_patience(progress: Progress, units: tuple[Selected, ...], patience: int | None) -> bool:
    """Early stopping: whether no unit has had a better score for so many epochs."""
    return patience is not None and all(progress.stale.get(unit.name, 0) >= patience for unit in units)


def load_best(
    model: nn.Module, tasks: tuple[Task, ...], settings: Settings, path: Path, identity: str
) -> tuple[nn.Module, dict[str, int]]:
    """The model with the weights that a run has kept, and the step in which each selected unit reached them.

    Returns:
        The given model, or `TaskCheckpoints` of it where each task has weights of its own.

    Raises:
        CheckpointError: they cannot be read, are of another run, or of a model that other code built.
    """
    best = checkpoint.load(path, identity=identity)
    units = selection_units(tasks, settings)
    chosen = kept_model(model, len(tasks), settings.checkpoint)
    targets = chosen.copies if isinstance(chosen, TaskCheckpoints) else [chosen]
    for unit, target in zip(units, targets, strict=True):
        try:
            target.load_state_dict(best["parts"][unit.name])
        except (RuntimeError, KeyError) as error:
            raise checkpoint.CheckpointError(
                f"the weights in {path} are not those of this {unit.name}: {error}. The code that trained them was "
                "another; train again with run.fresh=true."
            ) from error
    return chosen, best["steps"]


def kept_model(model: nn.Module, tasks: int, rule: Literal["run", "task"]) -> nn.Module:
    """The module that holds what is kept under a rule: the model itself, or a copy of it for each task."""
    return model if rule == "run" else TaskCheckpoints(model, tasks)
