"""Which weights a run keeps: those of the best validation score, for each part that is chosen by itself."""

from dataclasses import dataclass

from torch import nn

from mtlbench.schema import Task

HIGHER_IS_BETTER = {"auc": True, "gauc": True, "uauc": True, "logloss": False, "ece": False}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a model whose weights are selected on the mean of one metric over some tasks.

    Attributes:
        name: the task's name, or ``model`` where the model is selected as a whole.
        module: the weights.
        tasks: names of the tasks that count.
        metric: name of the metric, without a task.
    """

    name: str
    module: nn.Module
    tasks: tuple[str, ...]
    metric: str

    def score(self, metrics: dict[str, float]) -> float | None:
        """Mean metric over the tasks where it is defined, signed so that higher is better; ``None`` if nowhere."""
        values = [metrics[f"{task}/{self.metric}"] for task in self.tasks if f"{task}/{self.metric}" in metrics]
        if not values:
            return None
        mean = sum(values) / len(values)
        return mean if HIGHER_IS_BETTER[self.metric] else -mean


def parts(model: nn.Module, tasks: tuple[Task, ...], select: str) -> tuple[Part, ...]:
    """The parts of a model: itself, or one per task where its tasks share nothing (it then lists them as ``copies``).

    Args:
        select: a metric (``auc``: its mean over the tasks) or ``<task>/<metric>``.

    Raises:
        ValueError: no such metric or task.
    """
    task, _, metric = select.rpartition("/")
    names = tuple(t.name for t in tasks)
    if metric not in HIGHER_IS_BETTER or (task and task not in names):
        raise ValueError(
            f"trainer.select is {select!r}; allowed: <metric> or <task>/<metric> with a metric of "
            f"{sorted(HIGHER_IS_BETTER)} and a task of {list(names)}"
        )
    copies = getattr(model, "copies", None)
    if copies is None:
        return (Part(name="model", module=model, tasks=(task,) if task else names, metric=metric),)
    if task:
        raise ValueError(
            f"trainer.select is {select!r}, but the model's tasks share nothing and each is selected by its own "
            f"metric; name the metric alone: trainer.select={metric}"
        )
    return tuple(
        Part(name=name, module=copy, tasks=(name,), metric=metric) for name, copy in zip(names, copies, strict=True)
    )
