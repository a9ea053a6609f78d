"""Analyses of a run (slices, calibration, field importance), stored in its folder and sent to its tracker."""

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
"""Names of the integer settings of `metrics_by_slice` and `permutation_importance`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The requested analyses.

    Attributes:
        slices: for each analysis by slice, the names of its fields; with several, slices are their combinations.
        calibration, importance: whether they are requested.
        numbers: values of the settings in `SLICES` and `SHUFFLING`, by name.
    """

    slices: Sequence[Sequence[str]]
    calibration: bool
    importance: bool
    numbers: Mapping[str, int]


def analyse(folder: Path, split: str, device: str, request: Request) -> tuple[Metrics, list[Analysis]]:
    """A run's metrics on a split, and the requested analyses."""
    scored = scored_split(folder, split, device)
    slicing, shuffling = ({name: request.numbers[name] for name in names} for names in (SLICES, SHUFFLING))
    results: list[Found] = [reliability(scored.rows)] if request.calibration else []
    results += [metrics_by_slice(scored, fields, **slicing) for fields in request.slices]
    results += [permutation_importance(folder, split, device, **shuffling)] if request.importance else []
    return scored.metrics, [_described(scored.facts, split, result) for result in results]


def store(folder: Path, analyses: Sequence[Analysis]) -> list[Path]:
    """Write analyses to the run's folder and, if the run has finished, to its tracker; returns the files.

    A tracker that cannot be reached gives a warning; `mtlbench sync` sends them later.
    """
    files = [write_analysis(folder, analysis) for analysis in analyses]
    tracker = read_config(folder / CONFIG)["run"]["tracker"]
    if files and read_status(folder).state == "finished":
        sender = open_tracker(uri=tracker["uri"], experiment=tracker["experiment"], runs=folder.absolute().parent)
        if sender is not None:
            sender.finish_unsent(folder)
    return files


def _described(facts: RunInfo, split: str, result: Found) -> Analysis:
    return Analysis(
        run=facts.identity,
        model=facts.model,
        dataset=facts.dataset,
        seed=facts.seed,
        origin=facts.origin,
        split=split,
        found=result,
    )
