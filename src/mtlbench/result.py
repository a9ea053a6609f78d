"""What a run measured: metrics by split and task, and what they cost. `mtlbench.tracking.folder` stores it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Metrics of one split: what was measured, and what could not be.

    Attributes:
        values: finite numbers by name, ``<task>/<metric>``, or ``<metric>`` where it is one of all tasks.
        undefined: the reason why a metric has no value, by the same names. No name is in both.
    """

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Tasks with any metric, in their order."""
        names = [name.partition("/") for name in (*self.values, *self.undefined)]
        return list(dict.fromkeys(task for task, slash, _ in names if slash))

    @property
    def names(self) -> list[str]:
        """Names of the metrics, without tasks."""
        return list(dict.fromkeys(name.rpartition("/")[2] for name in (*self.values, *self.undefined)))

    def value(self, metric: str, task: str | None = None) -> float | None:
        """A metric of a task, or one of all tasks; ``None`` if it is undefined or was not measured."""
        return self.values.get(metric_name(metric, task))

    def reason(self, metric: str, task: str | None = None) -> str | None:
        """Why a metric is undefined; ``None`` if it is not, or was not measured."""
        return self.undefined.get(metric_name(metric, task))

    def of_task(self, task: str) -> dict[str, float]:
        """The values of a task by metric."""
        return {name.removeprefix(f"{task}/"): v for name, v in self.values.items() if name.startswith(f"{task}/")}

    def prefixed(self, split: str) -> "Metrics":
        """The same with the split's name in front: ``<split>/<task>/<metric>``."""
        return Metrics(
            values={f"{split}/{name}": value for name, value in self.values.items()},
            undefined={f"{split}/{name}": reason for name, reason in self.undefined.items()},
        )

    def of_split(self, split: str) -> "Metrics":
        """Those of one split among names of several, without its name; the inverse of `prefixed`."""
        start = f"{split}/"
        return Metrics(
            values={name.removeprefix(start): v for name, v in self.values.items() if name.startswith(start)},
            undefined={name.removeprefix(start): r for name, r in self.undefined.items() if name.startswith(start)},
        )


def metric_name(metric: str, task: str | None = None) -> str:
    """``<task>/<metric>``, or ``<metric>`` for one of all tasks."""
    return metric if task is None else f"{task}/{metric}"
