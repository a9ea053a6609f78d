"""Curves over steps, epochs or settings: the mean over seeds, with a band."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from mtlbench.report.figure import Curve
from mtlbench.tracking.journal import Line

ByPosition = Mapping[float, float]


def mean_curve(label: str, runs: Sequence[ByPosition]) -> Curve | None:
    """The mean of runs at the positions that all runs reached, with a band from minimum to maximum."""
    reached = [set(run) for run in runs]
    shared = sorted(set.intersection(*reached)) if reached else []
    if not shared:
        return None
    at = [[run[x] for run in runs] for x in shared]
    has_band = len(runs) > 1
    return Curve(
        label=label,
        x=tuple(shared),
        y=tuple(map(fmean, at)),
        low=tuple(map(min, at)) if has_band else None,
        high=tuple(map(max, at)) if has_band else None,
    )


def level(text: str, x: Sequence[float], y: float) -> Curve:
    """A horizontal reference line."""
    return Curve(label=text, x=(min(x), max(x)), y=(y, y), reference=True)


def by_step(lines: Sequence[Line], name: str) -> dict[float, float]:
    """A metric of a journal by step."""
    return {float(line.step): line.values[name] for line in lines if name in line.values}


def by_epoch(lines: Sequence[Line], name: str) -> dict[float, float]:
    """A metric of a journal by epoch."""
    return {float(line.epoch): line.values[name] for line in lines if name in line.values}
