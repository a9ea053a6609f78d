"""The finished ones among planned runs, with all that a table says of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from omegaconf import OmegaConf

from mtlbench.experiment.identity import code_version
from mtlbench.reproduce.finished import Finished
from mtlbench.reproduce.plan import PlannedRun
from mtlbench.tracking.folder import RESULT, read_json
from mtlbench.tracking.journal import Journal, Line
from mtlbench.tracking.send import SENT


def gather(planned: Sequence[PlannedRun], elsewhere: Mapping[str, dict[str, Any]]) -> list[Finished]:
    """What finished runs left in their folders; a run that serves two rows stands there twice.

    Args:
        planned: runs of a table.
        elsewhere: results of runs that other machines finished, by identity.
    """
    finished: list[Finished] = []
    for run in planned:
        if not run.finished and run.identity not in elsewhere:
            continue
        result = read_json(run.folder / RESULT) if run.finished else elsewhere[run.identity]
        measured = {**result["metrics"], **result.get("undefined", {})}
        tasks = [name.split("/")[1] for name in measured if name.endswith("/logloss")]
        weights = OmegaConf.select(run.config, "balancing.weights")
        finished.append(
            Finished(
                row=run.row,
                dataset=run.dataset,
                seed=run.seed,
                choice=run.config.run.choices.dataset,
                result=result,
                code=code_version(run.config),
                weights=dict(zip(tasks, weights or [1.0] * len(tasks), strict=True)),
                link=link_of(run.folder),
                curve=_curve(Journal(run.folder).read()),
            )
        )
    return finished


def link_of(folder: Path) -> str | None:
    """A run's page at the tracking server that it was sent to; a database file has none until ``mtlbench ui`` runs."""
    if not (folder / SENT).exists():
        return None
    servers = {uri: sent["run_id"] for uri, sent in read_json(folder / SENT).items() if uri.startswith("http")}
    return next((f"{uri.rstrip('/')}/#/runs/{run_id}" for uri, run_id in servers.items()), None)


def _curve(lines: Sequence[Line]) -> tuple[float, ...]:
    """Mean validation AUC of the tasks, by epoch."""
    areas = [
        [value for name, value in line.values.items() if name.startswith("valid/") and name.endswith("/auc")]
        for line in lines
    ]
    return tuple(fmean(some) for some in areas if some)
