"""Which weights a run keeps: those of the best validation score, for each part that is chosen by itself."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mtlbench.schema import Task
from mtlbench.train import checkpoint
from mtlbench.train.progress import Place, Progress

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


def select(chosen: tuple[Part, ...], metrics: dict[str, float], progress: Progress, place: Place) -> None:
    """Note each part's validation score, and save the weights of those that have a new best.

    Raises:
        ValueError: the metric is defined for none of a part's tasks.
    """
    better: list[Part] = []
    for part in chosen:
        value = part.score(metrics)
        if value is None:
            raise ValueError(
                f"no validation {part.metric} is defined for {', '.join(part.tasks)}: nothing to select "
                "weights by. Choose trainer.select=logloss, or a larger validation split."
            )
        if part.name not in progress.best or value > progress.best[part.name]:
            progress.best[part.name], progress.best_step[part.name] = value, progress.step
            progress.stale[part.name] = 0
            better.append(part)
        else:
            progress.stale[part.name] += 1
    if better:
        kept = checkpoint.load(place.best, identity=place.identity)["parts"] if len(better) < len(chosen) else {}
        checkpoint.save(
            place.best,
            {
                "identity": place.identity,
                "steps": progress.best_step,
                "parts": kept | {part.name: part.module.state_dict() for part in better},
            },
        )


def exhausted(progress: Progress, chosen: tuple[Part, ...], patience: int | None) -> bool:
    """Whether no part has had a better score for so many epochs."""
    return patience is not None and all(progress.stale.get(part.name, 0) >= patience for part in chosen)


def load_best(model: nn.Module, tasks: tuple[Task, ...], select: str, path: Path, identity: str) -> dict[str, int]:
    """Put the selected weights into a model; returns the step in which each part reached them.

    Raises:
        CheckpointError: they cannot be read, are of another run, or of a model that other code built.
    """
    best = checkpoint.load(path, identity=identity)
    for part in parts(model, tasks, select):
        try:
            part.module.load_state_dict(best["parts"][part.name])
        except (RuntimeError, KeyError) as error:
            raise checkpoint.CheckpointError(
                f"the weights in {path} are not those of this {part.name}: {error}. The code that trained them was "
                "another; train again with run.fresh=true."
            ) from error
    return best["steps"]
