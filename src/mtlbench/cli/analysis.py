"""Looks closer at a run, and keeps what was found: in its folder and at its tracker."""

from collections.abc import Sequence
from pathlib import Path

from mtlbench.experiment.analysis import ScoredSplit, metrics_by_slice
from mtlbench.metrics.reliability import Reliability, reliability
from mtlbench.metrics.slices import Slices
from mtlbench.report.analysis import Analysis, write_analysis
from mtlbench.tracking.folder import CONFIG, read_status
from mtlbench.tracking.parameters import read_config
from mtlbench.tracking.tracker import open_tracker


def computed(
    scored: ScoredSplit,
    slices: Sequence[Sequence[str]] = (),
    *,
    calibration: bool = False,
    bins: int = 5,
    min_rows: int = 50,
) -> list[Analysis]:
    """What is asked for, see `metrics_by_slice` and `reliability`.

    Args:
        scored: the split.
        slices: names of fields; several stand for their combinations.
        calibration: whether predictions are held against what came.
        bins, min_rows: of a number, and of a slice.
    """
    found: list[Slices | Reliability] = [reliability(scored.rows)] if calibration else []
    found += [metrics_by_slice(scored, fields, bins=bins, min_rows=min_rows) for fields in slices]
    facts = scored.facts
    about = {name: getattr(facts, name) for name in ("model", "dataset", "seed", "origin")}
    return [Analysis(run=facts.identity, **about, split=scored.split, found=each) for each in found]


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
