"""Executes the runs of a plan; a failed data set or run does not stop the others."""

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
"""Seconds between two checks of a run that another process is training."""


def execute(
    runs: Sequence[PlannedRun], launcher: Launcher, show: Callable[[PlannedRun, Outcome], None] | None = None
) -> dict[str, str]:
    """Train every run; each writes its journal and result to its usual folder.

    Finished runs are reported first. Then data sets are prepared once, in this process, before the launcher starts the
    other runs. A run that another process is training is left to it and checked again at the end. An interruption stops
    everything at once; finished runs are kept, and unfinished ones resume from their checkpoints the next time.

    Args:
        runs: the runs, with distinct identities.
        launcher: executes the unfinished runs.
        show: called with each successful run when it ends.

    Returns:
        The reasons of failed runs, by identity.
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
    """Yield the outcome of each run when it ends."""
    finished = [run for run in runs.values() if run.finished and not run.config.run.fresh]
    unfinished = [run for run in runs.values() if not run.finished or run.config.run.fresh]
    busy: list[str] = []
    for ended in chain(map(train_one, finished), _launched(unfinished, launcher)):
        if ended.busy:
            busy.append(ended.identity)
        else:
            yield ended
    if busy:
        tqdm.write(f"waiting for {len(busy)} runs that other processes are training", file=sys.stderr)
    for identity in busy:
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
    """Prepare stores that are missing or cannot be opened; returns problems by folder."""
    problems: dict[Path, str] = {}
    for folder, data in needed.items():
        if not folder.exists():
            tqdm.write(f"preparing {data.config.name} ({data.origin})", file=sys.stderr)
        try:
            open_or_prepare(data)
        except Exception as error:  # noqa: BLE001  # runs on other data sets continue; reported at the end
            problems[folder] = f"{data.config.name} cannot be prepared: {type(error).__name__}: {error}"
    return problems
