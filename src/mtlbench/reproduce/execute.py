"""Carries out the runs of a plan; a data set or a run that fails stops no other."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from mtlbench.experiment.data import DataSource, open_or_prepare
from mtlbench.experiment.run import Outcome
from mtlbench.reproduce.launch import Ended, launch, train_one
from mtlbench.reproduce.launcher import Launcher
from mtlbench.reproduce.plan import PlannedRun

PAUSE = 2.0
"""Seconds between two looks at a run that another process is at."""


def execute(
    runs: Sequence[PlannedRun], launcher: Launcher, show: Callable[[PlannedRun, Outcome], None] | None = None
) -> dict[str, str]:
    """Train every run; each leaves its journal and result where it would by itself.

    Runs that are finished come first, here. Data sets are prepared next, here and once, however the others are spread
    then. A run that another process is at is left to it and looked at again at the end. An interruption ends everything
    at once; what is finished is kept, and a run that was under way goes on from its checkpoint the next time.

    Args:
        runs: each identity once.
        launcher: where those that are not finished are carried out.
        show: is called with each run that ended well, as it ends.

    Returns:
        The reason why a run failed, by identity.
    """
    every = {run.identity: run for run in runs}
    failures: dict[str, str] = {}
    with tqdm(total=len(runs), desc="runs", unit="run", disable=None) as progress:
        for ended in _ends(every, launcher):
            run = every[ended.identity]
            if ended.problem is not None:
                failures[run.identity] = ended.problem
                tqdm.write(f"failed: {run.title} ({run.identity}): {ended.problem}", file=sys.stderr)
            elif ended.outcome is not None and show is not None:
                show(run, ended.outcome)
            progress.set_postfix(failed=len(failures), refresh=False)
            progress.update()
    return failures


def _ends(runs: Mapping[str, PlannedRun], launcher: Launcher) -> Iterator[Ended]:
    """How each run ended, as it ends."""
    finished = [run for run in runs.values() if run.finished and not run.config.run.fresh]
    others = [run for run in runs.values() if not run.finished or run.config.run.fresh]
    taken: list[str] = []
    for ended in chain(map(train_one, finished), _launched(others, launcher)):
        if ended.busy:
            taken.append(ended.identity)
        else:
            yield ended
    if taken:
        tqdm.write(f"waiting for {len(taken)} runs that other processes are at", file=sys.stderr)
    for identity in taken:
        while (ended := train_one(runs[identity])).busy:
            time.sleep(PAUSE)
        yield ended


def _launched(runs: Sequence[PlannedRun], launcher: Launcher) -> Iterator[Ended]:
    unusable = _prepare({run.data.store: run.data for run in runs})
    for run in runs:
        if problem := unusable.get(run.data.store):
            yield Ended(identity=run.identity, problem=problem)
    yield from launch([run for run in runs if run.data.store not in unusable], launcher)


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
