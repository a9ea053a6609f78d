"""Result of a run: metrics by split and task, and costs. Stored by `mtlbench.tracking.folder`."""

from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from pydantic import FiniteFloat

CheckpointRule = Literal["run", "task"]
"""Whether weights are selected once per run or once per task, see `mtlbench.train.settings.Settings`."""

LEAST_STEPS = 100
"""Minimum number of steps without improvement for convergence; fewer hardly change the weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Metrics of one split, defined and undefined ones.

    Attributes:
        values: finite numbers by name, ``<task>/<metric>``, or ``<metric>`` for a metric over all tasks.
        undefined: reasons of undefined metrics, by the same names. No name is in both.
    """

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Tasks with any metric, in order."""
        names = [name.partition("/") for name in (*self.values, *self.undefined)]
        return list(dict.fromkeys(task for task, slash, _ in names if slash))

    @property
    def names(self) -> list[str]:
        """Names of the metrics, without tasks."""
        return list(dict.fromkeys(name.rpartition("/")[2] for name in (*self.values, *self.undefined)))

    def value(self, metric: str, task: str | None = None) -> float | None:
        """A metric of a task, or over all tasks; ``None`` if it is undefined or was not measured."""
        return self.values.get(metric_name(metric, task))

    def reason(self, metric: str, task: str | None = None) -> str | None:
        """Why a metric is undefined; ``None`` if it is defined or was not measured."""
        return self.undefined.get(metric_name(metric, task))

    def of_task(self, task: str) -> dict[str, float]:
        """The values of a task by metric."""
        return {name.removeprefix(f"{task}/"): v for name, v in self.values.items() if name.startswith(f"{task}/")}

    def prefixed(self, split: str) -> "Metrics":
        """The metrics with the split as prefix: ``<split>/<task>/<metric>``."""
        return Metrics(
            values={f"{split}/{name}": value for name, value in self.values.items()},
            undefined={f"{split}/{name}": reason for name, reason in self.undefined.items()},
        )

    def of_split(self, split: str) -> "Metrics":
        """The metrics of one split, from names with a split as prefix; the inverse of `prefixed`."""
        start = f"{split}/"
        return Metrics(
            values={name.removeprefix(start): v for name, v in self.values.items() if name.startswith(start)},
            undefined={name.removeprefix(start): r for name, r in self.undefined.items() if name.startswith(start)},
        )


def metric_name(metric: str, task: str | None = None) -> str:
    """``<task>/<metric>``, or ``<metric>`` for a metric over all tasks."""
    return metric if task is None else f"{task}/{metric}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """Number of trainable parameters of a model: in embedding tables, and in all other modules."""

    embedding: int
    dense: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Convergence:
    """Whether validation had stopped improving when training ended; see `mtlbench.train.convergence`.

    Attributes:
        converged: whether it had.
        evaluations: total number of evaluations on validation rows.
        needed: required number of evaluations without a better score.
        evaluations_since_best, steps_since_best: numbers since the best score, by task or ``model`` for all tasks.
        behind_best: scores of the last ``needed`` evaluations minus the best (0 or below), likewise.
    """

    converged: bool
    evaluations: int
    needed: int
    evaluations_since_best: dict[str, int]
    steps_since_best: dict[str, int]
    behind_best: dict[str, tuple[FiniteFloat, ...]]

    @property
    def text(self) -> str:
        """A sentence with the decisive numbers, for the unit with the latest best score."""
        unit = min(self.steps_since_best, key=lambda name: self.steps_since_best[name])
        name = "" if unit == "model" else f" of {unit}"
        since, steps = self.evaluations_since_best[unit], self.steps_since_best[unit]
        if since == 0:
            found = f"the last of {self.evaluations} validation scores{name} is the best"
            remedy = "train longer (trainer.epochs)"
        else:
            found = (
                f"no better validation score{name} in the last {since} of {self.evaluations} evaluations "
                f"({steps:,} steps), the last {-self.behind_best[unit][-1]:.4g} below the best"
            )
            remedy = "raise trainer.patience and trainer.epochs, or take smaller batches (trainer.batch_size)"
        if self.converged:
            return f"converged: {found}"
        return (
            f"NOT CONVERGED: {found}. A converged run has at least {self.needed} evaluations and {LEAST_STEPS} steps "
            f"without a better score: {remedy}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Result of a finished run; the fields are the keys of ``result.json``.

    Attributes:
        identity: identity of the run.
        code: version of the code.
        model, dataset, seed: the choices.
        origin: origin of the data; ``data`` is their fingerprint.
        metrics, undefined: as in `Metrics`, by ``<split>/<task>/<metric>``; see `split`.
        epochs, steps: duration of training.
        best_step: step of the selected weights, by task or ``model`` for all tasks.
        best_valid: their validation score (higher is better), likewise.
        parameters: numbers of parameters of the model.
        rows_per_second: training throughput, median over epochs.
        peak_memory_mb: peak memory of the process, in MiB.
        finished: time of completion, ISO 8601.
        seconds: duration of training, validation and test.
        checkpoint: the rule by which weights were selected; ``None`` in files of versions before 0.2.
        warnings: warnings about suspicious scores.
        journal: SHA-256 of the journal; ``None`` before it is stored, and in files of versions before 0.2.
        convergence: whether validation had stopped improving; ``None`` (unknown) in files of versions before 0.4.
    """

    identity: str
    code: str
    model: str
    dataset: str
    origin: Literal["real", "simulated"]
    data: str
    seed: int
    metrics: dict[str, FiniteFloat]
    undefined: dict[str, str]
    epochs: int
    steps: int
    best_step: dict[str, int]
    best_valid: dict[str, FiniteFloat]
    parameters: Parameters
    rows_per_second: FiniteFloat
    peak_memory_mb: FiniteFloat
    finished: str
    seconds: FiniteFloat
    checkpoint: CheckpointRule | None = None
    warnings: tuple[str, ...] = ()
    journal: str | None = None
    convergence: Convergence | None = None

    def split(self, name: str) -> Metrics:
        """The metrics of a split."""
        return Metrics(values=self.metrics, undefined=self.undefined).of_split(name)

    @property
    def test(self) -> Metrics:
        """The metrics of the test split, which every finished run has."""
        return self.split("test")

    @property
    def validation_score(self) -> float:
        """The objective of a search: the validation score of the kept weights, averaged if there is one per task."""
        return fmean(self.best_valid.values())

    @property
    def tasks(self) -> list[str]:
        """Tasks, in order."""
        return self.test.tasks

    @property
    def selected_by(self) -> CheckpointRule:
        """The rule by which weights were selected, also for results of earlier versions."""
        return self.checkpoint or ("run" if set(self.best_step) == {"model"} else "task")

    @property
    def seconds_to_best(self) -> float:
        """Seconds until the last of the selected weights, estimated from its share of the steps."""
        return self.seconds * (max(self.best_step.values()) / max(self.steps, 1) if self.best_step else 1.0)
