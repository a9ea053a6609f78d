"""Runs what a plan lacks; a data set or a run that fails stops no other."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mtlbench.experiment.data import DataSource, open_or_prepare
from mtlbench.reproduce.launch import Ended, Launcher, launch, train_one
from mtlbench.reproduce.plan import PlannedRun

PAUSE = 2.0
"""Seconds between two looks at a run that another process is at."""


def execute(runs: Sequence[PlannedRun], launcher: Launcher) -> dict[str, str]:
    """Train every run; each leaves its journal and result where it would by itself.

    Data sets are prepared first, here and once, however the runs are spread then. A run that another process is at is
    left to it and looked at again at the end. An interruption ends everything at once; what is finished is kept, and
    a run that was under way goes on from its checkpoint the next time.

    Args:
        runs: that are not finished, each identity once.
        launcher: where they are carried out.

    Returns:
        The reason why a run failed, by identity.
    """
    unusable = _prepare({run.data.store: run.data for run in runs})
    failures = {run.identity: unusable[run.data.store] for run in runs if run.data.store in unusable}
    ready = {run.identity: run for run in runs if run.identity not in failures}
    taken: list[PlannedRun] = []
    with tqdm(total=len(runs), initial=len(failures), desc="runs", unit="run", disable=None) as progress:

        def note(ended: Ended) -> None:
            if ended.problem is not None:
                failures[ended.identity] = ended.problem
            progress.set_postfix(failed=len(failures), refresh=False)
            progress.update()

        for ended in launch(list(ready.values()), launcher):
            if ended.busy:
                taken.append(ready[ended.identity])
            else:
                note(ended)
        if taken:
            tqdm.write(f"waiting for {len(taken)} runs that other processes are at", file=sys.stderr)
        for run in taken:
            while (ended := train_one(run)).busy:
                time.sleep(PAUSE)
            note(ended)
    return failures


def _prepare(needed: dict[Path, DataSource]) -> dict[Path, str]:
    """Make the stores that are not there, or cannot be opened; why one could not be made, by its folder."""
    problems: dict[Path, str] = {}
    for folder, data in needed.items():
        if not folder.exists():
            tqdm.write(f"preparing {data.config.name} ({data.origin})", file=sys.stderr)
        try:
            open_or_prepare(data)
        except Exception as error:  # noqa: BLE001  # the runs of other data sets go on and the end says so
            problems[folder] = f"{data.config.name} cannot be prepared: {type(error).__name__}: {error}"
    return problems
