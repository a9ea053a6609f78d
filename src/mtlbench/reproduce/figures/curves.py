"""Numbers along a training, or along a setting, of runs of several seeds as one curve."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from mtlbench.report.figure import Curve
from mtlbench.tracking.journal import Line

ByPlace = Mapping[float, float]


def mean_curve(label: str, runs: Sequence[ByPlace]) -> Curve | None:
    """The mean of runs over the places that all of them reached, with a band from the least to the greatest of them."""
    reached = [set(run) for run in runs]
    places = sorted(set.intersection(*reached)) if reached else []
    if not places:
        return None
    at = [[run[place] for run in runs] for place in places]
    several = len(runs) > 1
    return Curve(
        label=label,
        x=tuple(places),
        y=tuple(map(fmean, at)),
        low=tuple(map(min, at)) if several else None,
        high=tuple(map(max, at)) if several else None,
    )


def level(text: str, x: Sequence[float], y: float) -> Curve:
    """A thin line at one height, to compare with."""
    return Curve(label=text, x=(min(x), max(x)), y=(y, y), reference=True)


def by_step(lines: Sequence[Line], name: str) -> dict[float, float]:
    """A metric of a journal by the step that it was measured in."""
    return {float(line.step): line.values[name] for line in lines if name in line.values}


def by_epoch(lines: Sequence[Line], name: str) -> dict[float, float]:
    """A metric of a journal by epoch."""
    return {float(line.epoch): line.values[name] for line in lines if name in line.values}
