"""Looks closer at a run, and keeps what was found: in its folder and at its tracker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlbench.experiment.analysis import metrics_by_slice, permutation_importance, scored_split
from mtlbench.metrics.reliability import reliability
from mtlbench.report.analysis import Analysis, Found, write_analysis
from mtlbench.result import Metrics
from mtlbench.tracking.folder import CONFIG, RunInfo, read_status
from mtlbench.tracking.parameters import read_config
from mtlbench.tracking.tracker import open_tracker

SLICES, SHUFFLING = ("bins", "min_rows"), ("repeats", "seed", "sample_rows")
"""Names of the numbers that `metrics_by_slice` and `permutation_importance` take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Analyses that are asked for.

    Attributes:
        slices: names of fields; several stand for their combinations.
        calibration, importance: whether they are asked for.
        numbers: of `SLICES` and `SHUFFLING`, by name.
    """

    slices: Sequence[Sequence[str]]
    calibration: bool
    importance: bool
    numbers: Mapping[str, int]


def looked_at(folder: Path, split: str, device: str, wanted: Wanted) -> tuple[Metrics, list[Analysis]]:
    """Metrics of a split by a run, and the analyses that are asked for."""
    scored = scored_split(folder, split, device)
    of_slices, of_shuffling = ({name: wanted.numbers[name] for name in names} for names in (SLICES, SHUFFLING))
    found: list[Found] = [reliability(scored.rows)] if wanted.calibration else []
    found += [metrics_by_slice(scored, fields, **of_slices) for fields in wanted.slices]
    found += [permutation_importance(folder, split, device, **of_shuffling)] if wanted.importance else []
    return scored.metrics, [_described(scored.facts, split, each) for each in found]


def stored(folder: Path, analyses: Sequence[Analysis]) -> list[Path]:
    """Write analyses into the run's folder, and send them where the finished run is tracked; gives the files.

    A tracker that cannot be reached is warned of; `mtlbench sync` sends them later.
    """
    files = [write_analysis(folder, analysis) for analysis in analyses]
    tracker = read_config(folder / CONFIG)["run"]["tracker"]
    if files and read_status(folder).state == "finished":
        sender = open_tracker(uri=tracker["uri"], experiment=tracker["experiment"], runs=folder.absolute().parent)
        if sender is not None:
            sender.finish_unsent(folder)
    return files


def _described(facts: RunInfo, split: str, found: Found) -> Analysis:
    return Analysis(
        run=facts.identity,
        model=facts.model,
        dataset=facts.dataset,
        seed=facts.seed,
        origin=facts.origin,
        split=split,
        found=found,
    )
