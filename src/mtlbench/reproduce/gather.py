"""Reads the finished runs of a plan from their folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from omegaconf import OmegaConf

from mtlbench.experiment.code_version import code_version
from mtlbench.experiment.sanity import selected_validation
from mtlbench.reproduce.converged import with_convergence
from mtlbench.reproduce.finished import Finished
from mtlbench.reproduce.plan import PlannedRun
from mtlbench.reproduce.sampling import Resampled, resample, restore_missing
from mtlbench.result import Metrics
from mtlbench.tracking.find import RemoteResult
from mtlbench.tracking.folder import read_result
from mtlbench.tracking.journal import Journal, Line
from mtlbench.tracking.sent import link_of


def gather(planned: Sequence[PlannedRun], elsewhere: Mapping[str, RemoteResult]) -> list[Finished]:
    """The finished runs of a plan; a run shared by two rows is returned twice.

    Args:
        planned: runs of a table.
        elsewhere: results of runs finished on other machines, by identity.
    """
    resampled = _resampled(planned)
    finished: list[Finished] = []
    for run in planned:
        if not run.finished and run.identity not in elsewhere:
            continue
        result = read_result(run.folder) if run.finished else elsewhere[run.identity].result
        lines = Journal(run.folder).read()
        weights = OmegaConf.select(run.config, "balancing.weights")
        finished.append(
            Finished(
                row=run.row,
                dataset=run.dataset,
                seed=run.seed,
                choice=run.config.run.choices.dataset,
                result=with_convergence(result, run.config, lines),
                code=code_version(run.config),
                weights=dict(zip(result.tasks, weights or [1.0] * len(result.tasks), strict=True)),
                link=link_of(run.folder),
                curve=_curve(lines),
                paper_steps=run.paper_steps,
                carried_over=run.carried_over,
                valid=selected_validation(lines, result.best_step),
                resampled=resampled.get(run.identity),
            )
        )
    return finished


def _resampled(planned: Sequence[PlannedRun]) -> dict[str, Resampled]:
    """Bootstrap draws of the finished runs that have stored their scores, by identity."""
    finished = {run.identity: run for run in planned if run.finished}
    restore_missing(run.folder for run in finished.values() if OmegaConf.select(run.config, "run.keep_scores") is True)
    folders: dict[Path, list[Path]] = {}
    for run in finished.values():
        folders.setdefault(run.data.store, []).append(run.folder)
    return {
        identity: draws
        for store, run_folders in folders.items()
        for identity, draws in resample(store, run_folders).items()
    }


def _curve(lines: Sequence[Line]) -> tuple[float, ...]:
    """Mean validation AUC (XAUC of regression tasks), by epoch."""
    epochs = [Metrics(values=line.values).of_split("valid") for line in lines]
    areas = [
        [area for task in valid.tasks for name in ("auc", "xauc") if (area := valid.value(name, task)) is not None]
        for valid in epochs
    ]
    return tuple(fmean(epoch_areas) for epoch_areas in areas if epoch_areas)
