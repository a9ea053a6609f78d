"""Withholds conclusions from runs of a table or figure that did not converge."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from omegaconf import DictConfig

from mtlbench.experiment.objects import build_settings
from mtlbench.report.result import Claim, Verdict
from mtlbench.reproduce.finished import Finished
from mtlbench.reproduce.table import ClaimSpec, Table
from mtlbench.result import Result
from mtlbench.tracking.journal import Line
from mtlbench.train.convergence import convergence
from mtlbench.train.selection import named_units

UNCONVERGED: Verdict = "not comparable: not converged"


def with_convergence(result: Result, config: DictConfig, lines: Sequence[Line]) -> Result:
    """The result of a run, with its convergence added from the journal if its version did not record it.

    Args:
        result: the run's result.
        config: the run's configuration.
        lines: lines of its journal; empty if it is on another machine, so that convergence is unknown.
    """
    if result.convergence is not None:
        return result
    settings = build_settings(config)
    converged = convergence(named_units(tuple(result.tasks), settings), lines, settings.patience)
    return replace(result, convergence=converged)


def all_converged(runs: Sequence[Finished]) -> bool | None:
    """Whether all runs converged: false if any did not, else ``None`` if any is unknown."""
    states = {None if run.result.convergence is None else run.result.convergence.converged for run in runs}
    return False if False in states else None if None in states else True


def without_verdict(claim: Claim, runs: Sequence[Finished]) -> Claim:
    """A claim, its verdict withheld if any of its runs did not converge.

    Args:
        claim: the tested claim.
        runs: the runs that it compares.
    """
    notes = convergence_notes(runs)[0]
    if not notes or claim.verdict == "not run":
        return claim
    return replace(claim, verdict="withheld: not converged", evidence=(*notes, *claim.evidence))


def compared_runs(claim: ClaimSpec, table: Table, runs: Sequence[Finished]) -> list[Finished]:
    """The runs that a claim of a table compares; a data set named by the claim includes all its worlds."""
    rows, datasets = {*claim.better, *claim.than}, claim.datasets
    return [
        run
        for run in runs
        if run.row in rows and (datasets is None or {run.dataset, table.without_world(run.dataset)} & set(datasets))
    ]


def convergence_notes(runs: Sequence[Finished]) -> tuple[list[str], list[str]]:
    """Notes, by data set, on rows with runs that did not converge, and on rows for which this is unknown."""
    return (
        [f"{text}: not converged" for text in _counted(runs, False)],
        [f"{text}: whether they converged is not known" for text in _counted(runs, None)],
    )


def _counted(runs: Sequence[Finished], state: bool | None) -> list[str]:
    """``Ali-CCP: MMoE (2 of 3 runs), PLE (1 of 3 runs)`` for the rows with runs in a state."""
    texts: list[str] = []
    for dataset in dict.fromkeys(run.dataset for run in runs):
        rows: dict[str, list[bool]] = {}
        for run in runs:
            if run.dataset == dataset:
                rows.setdefault(run.row, []).append(all_converged([run]) is state)
        if rows_text := [f"{row} ({_share(found)})" for row, found in rows.items() if any(found)]:
            texts.append(f"{dataset}: {', '.join(rows_text)}")
    return texts


def _share(found: Collection[bool]) -> str:
    return f"{sum(found)} of {len(found)} run{'s' * (len(found) > 1)}"
