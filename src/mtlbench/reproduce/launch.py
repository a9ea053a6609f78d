"""Executes runs in this process, in several processes (joblib), or as jobs of a cluster (submitit).

Hydra's launchers are not used: they take lists of overrides, not whole configurations, report nothing before the last
run has ended, and stop at the first failure.
"""

import io
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from mtlbench.experiment.console import show_progress
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.run import BusyError, Outcome, train
from mtlbench.ingest.workers import cores
from mtlbench.reproduce.launcher import Launcher
from mtlbench.reproduce.plan import PlannedRun
from mtlbench.train.interrupt import Interrupted

_log = logging.getLogger(__name__)

EXPECTED = (ValueError, OSError, ArithmeticError, MemoryError)
"""Errors that a user can fix; any other is a bug, and keeps its traceback."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The end of an attempt at a run: an outcome, or a problem; ``busy`` if another process is training the run."""

    identity: str
    outcome: Outcome | None = None
    problem: str | None = None
    busy: bool = False


def launch(runs: Sequence[PlannedRun], launcher: Launcher) -> Iterator[Ended]:
    """Attempt every run; yields results in the order of completion.

    Raises:
        ConfigError: the launcher's packages are not installed.
    """
    if launcher.kind == "basic" or not runs:
        return map(train_one, runs)
    if launcher.kind == "joblib":
        return _in_processes(runs, launcher.options["n_jobs"])
    return _as_jobs(runs, launcher)


def train_one(run: PlannedRun) -> Ended:
    """Train or resume a run in this process; an error does not stop other runs."""
    return _attempt(run.identity, run.title, run.own_config)


def _attempt(identity: str, title: str, config: DictConfig) -> Ended:
    _log.info(title, extra={"run": identity})
    try:
        return Ended(identity=identity, outcome=train(config))
    except BusyError as error:
        return Ended(identity=identity, problem=str(error), busy=True)
    except Exception as error:  # noqa: BLE001  # other runs continue; reported at the end
        if not isinstance(error, EXPECTED):
            traceback.print_exc()
        return Ended(identity=identity, problem=f"{type(error).__name__}: {error}")


def _in_processes(runs: Sequence[PlannedRun], processes: int) -> Iterator[Ended]:
    try:
        from joblib import Parallel, delayed
    except ImportError as error:
        raise ConfigError("several processes need the extra 'parallel': pip install 'mtlbench[parallel]'") from error
    # joblib restarts a process whose memory has grown, with a warning
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)
    processes = min(processes if processes > 0 else cores(), len(runs))
    remaining = {run.identity: run for run in runs}
    while processes > 1:
        _share_cores(remaining.values(), processes)
        pool: Any = Parallel(n_jobs=processes, batch_size=1, return_as="generator_unordered")  # pyright: ignore[reportArgumentType]
        jobs = (
            delayed(_attempt_apart)(run.identity, run.title, run.own_config, os.getpid())
            for run in list(remaining.values())
        )
        try:
            for ended in pool(jobs):
                assert isinstance(ended, Ended)
                del remaining[ended.identity]
                yield ended
            return
        except BrokenProcessPool:  # the affected run is unknown, and all running ones are lost
            processes //= 2
            tqdm.write(
                "a process was killed, most likely because memory ran out; its runs continue in "
                + (f"{processes} processes" if processes > 1 else "this one, one after another"),
                file=sys.stderr,
            )
    yield from map(train_one, remaining.values())


def _share_cores(runs: Iterable[PlannedRun], processes: int) -> None:
    for run in runs:
        if run.config.run.threads == "auto":
            run.config.run.threads = max(1, cores() // processes)


def _attempt_apart(identity: str, title: str, config: DictConfig, parent: int) -> Ended:
    """`_attempt` in a process of a pool: without progress bars, and ending with the parent process."""
    _stop_with(parent)
    show_progress(named=True)
    try:
        with redirect_stderr(_NoTerminal(sys.stderr)):
            return _attempt(identity, title, config)
    except KeyboardInterrupt as error:  # for this process only; if for all, nobody reads this result
        return Ended(identity=identity, problem=str(error) or "interrupted")
    finally:
        if os.getppid() != parent:
            os._exit(1)  # the parent no longer exists


@cache
def _stop_with(parent: int) -> None:
    """Stop the run at a checkpoint once the parent was killed and could not stop its pool."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


class _NoTerminal(io.TextIOBase):
    """A text stream that is not a terminal."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


class _Job:
    """A cluster job; at its time limit it saves a checkpoint, is resubmitted, and resumes."""

    def __call__(self, identity: str, title: str, config: DictConfig) -> Ended:
        show_progress()
        submit_again, ignore = signal.getsignal(signal.SIGUSR2), signal.getsignal(signal.SIGTERM)  # set by submitit
        out_of_time = False

        def stop(number: int, frame: FrameType | None) -> None:
            nonlocal out_of_time
            stop_training = signal.getsignal(signal.SIGTERM)
            out_of_time = stop_training != ignore
            handle: Any = stop_training if out_of_time else submit_again
            handle(number, frame)

        if callable(submit_again):
            signal.signal(signal.SIGUSR2, stop)
        try:
            return _attempt(identity, title, config)
        except Interrupted:
            if out_of_time and callable(submit_again):
                submit_again(signal.SIGUSR2, None)  # exits this process
            raise

    def checkpoint(self, identity: str, title: str, config: DictConfig) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, identity, title, config)


def _as_jobs(runs: Sequence[PlannedRun], launcher: Launcher) -> Iterator[Ended]:
    try:
        import submitit
        from submitit.helpers import as_completed
    except ImportError as error:
        raise ConfigError("jobs of a cluster need the extra 'slurm': pip install 'mtlbench[slurm]'") from error
    local = launcher.kind == "submitit_local"
    constructor = {
        name: value for name, value in launcher.options.items() if name in ("folder", "slurm_max_num_timeout")
    }
    with _refusals_told():
        executor = submitit.AutoExecutor(cluster="local" if local else "slurm", **constructor)
    executor.update_parameters(**{name: value for name, value in launcher.options.items() if name not in constructor})
    at_once = cores() if local else len(runs)  # Slurm has a queue, a single machine does not
    for start in range(0, len(runs), at_once):
        batch = runs[start : start + at_once]
        if local:
            _share_cores(batch, at_once)
        arguments = zip(*((run.identity, run.title, run.own_config) for run in batch), strict=True)
        with _refusals_told():
            jobs = executor.map_array(_Job(), *arguments)
        identities = {job.job_id: run.identity for job, run in zip(jobs, batch, strict=True)}
        try:
            for job in as_completed(jobs, poll_frequency=1 if local else 10):
                yield _end_of(job, identities[job.job_id])
        finally:
            for job in jobs:
                if not job.done():
                    job.cancel(check=False)


@contextmanager
def _refusals_told() -> Generator[None]:
    """Turn an error of ``sbatch``, mostly about job options, into a `ConfigError`.

    Raises:
        ConfigError: submitit could not submit; the message has the last line of ``sbatch``'s output.
    """
    try:
        yield
    except RuntimeError as error:  # submitit raises RuntimeErrors and subclasses when submitting
        output = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"no job could be submitted: {output[-1]}") from error


def _end_of(job: Any, identity: str) -> Ended:
    try:
        return job.result()
    except Exception as error:  # noqa: BLE001  # submitit's error types give no further information: the job left no result
        problem = f"its job ended without a result ({_job_failure(job, str(error))}; log: {job.paths.stderr})"
        return Ended(identity=identity, problem=problem)


def _job_failure(job: Any, text: str) -> str:
    """Why a job ended: the last line of its traceback, or its state in Slurm's accounting."""
    trace = re.search(r"with trace:\n-+\n(.*?)\n-+\n", text, re.DOTALL)
    return trace[1].strip().splitlines()[-1] if trace else f"state {job.state}"
