"""Runs what a plan lacks, one after another or side by side; a run that fails does not stop the others."""

from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from mtlbench.data.workers import cores
from mtlbench.experiment.errors import ConfigError
from mtlbench.reproduce.plan import PlannedRun


def execute(runs: Sequence[PlannedRun], processes: int) -> dict[str, str]:
    """Train every run; each leaves its journal and result where it would by itself.

    An interruption ends everything at once; what is finished is kept, and a run that was under way goes on from its
    checkpoint the next time.

    Args:
        runs: that are not finished, each identity once.
        processes: 1, or how many to spread them over (extra ``parallel``).

    Returns:
        The reason why a run failed, by identity.
    """
    failures: dict[str, str] = {}
    with tqdm(total=len(runs), desc="runs", unit="run", disable=None) as progress:
        for identity, reason in _results(runs, processes):
            if reason is not None:
                failures[identity] = reason
            progress.set_postfix(failed=len(failures), refresh=False)
            progress.update()
    return failures


def _results(runs: Sequence[PlannedRun], processes: int) -> Iterator[tuple[str, str | None]]:
    if processes == 1 or len(runs) < 2:
        for run in runs:
            yield _carried_out(run.identity, run.config)
        return
    try:
        from joblib import Parallel, delayed
    except ImportError as error:
        raise ConfigError("processes above 1 need the extra 'parallel': pip install 'mtlbench[parallel]'") from error
    for run in runs:
        run.config.run.threads = max(1, cores() // processes)
    pool = Parallel(n_jobs=processes, return_as="generator_unordered")
    yield from pool(delayed(_carried_out)(run.identity, run.config) for run in runs)  # pyright: ignore[reportReturnType]


def _carried_out(identity: str, config: Any) -> tuple[str, str | None]:
    """Train one run; its identity, and why it failed, if it did."""
    from mtlbench.experiment.run import train

    try:
        train(config)
    except Exception as error:  # noqa: BLE001  # whatever it is, the other runs go on and the end says so
        return identity, f"{type(error).__name__}: {error}"
    return identity, None
