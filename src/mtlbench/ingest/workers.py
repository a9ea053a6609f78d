"""Parallel map over processes, with results in the order of jobs."""

import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from tqdm import tqdm

Job = TypeVar("Job")
Result = TypeVar("Result")

# pandas, because Arrow imports it to create an array, which would otherwise happen in every process of every pool.
PRELOAD = ["mtlbench.ingest.parse", "mtlbench.ingest.encode", "mtlbench.ingest.checksums", "pandas"]

_work: Callable[[Any], Any] | None = None


def parallel_map(
    work: Callable[[Job], Result], jobs: Sequence[Job], processes: int, title: str
) -> Generator[Result, None, None]:
    """``work(job)`` for every job, in order, with a progress bar after two seconds.

    Args:
        work: a picklable function or object, sent to each process once, so that its caches persist there.
        jobs: small picklable descriptions of the jobs.
        processes: number of processes; 1 runs in this process.
        title: title of the progress bar.

    Raises:
        OSError: a process was killed, usually because memory ran out.
    """
    with tqdm(total=len(jobs), desc=title, disable=None, delay=2, leave=False) as progress:
        if processes == 1 or len(jobs) < 2 or _cannot_fork():
            for job in jobs:
                yield work(job)
                progress.update()
            return
        pool = ProcessPoolExecutor(
            min(processes, len(jobs)), _context(work), initializer=_init_worker, initargs=(work,)
        )
        try:
            with _sigint_blocked():
                results = pool.map(_do, jobs)
            for result in results:
                yield result
                progress.update()
        except BrokenProcessPool as error:
            raise OSError(
                f"{title}: one of {processes} processes was killed, most likely because "
                "memory ran out: use fewer processes. A script that calls this needs if __name__ == '__main__'"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """Number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context(work: object) -> multiprocessing.context.BaseContext:
    # A plain fork would copy a process that may have threads (torch, Arrow); a fork server has none.
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    dataset = getattr(work, "dataset", None)
    context.set_forkserver_preload(PRELOAD if dataset is None else [*PRELOAD, type(dataset).__module__])
    return context


@contextmanager
def _sigint_blocked() -> Generator[None]:
    """Block SIGINT while processes (and the fork server) are started, so that only the parent handles Ctrl-C.

    Children inherit the blocked signal before their first import. This process handles a signal that arrives meanwhile
    afterwards: it may be delivered to another thread, which does not block it, and a parent that exits in the middle of
    starting a child would leave it without the semaphores of its queues.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield  # Windows, or not the main thread, where Python does not handle signals
        return
    resource_tracker.ensure_running()  # starting it unblocks the signal
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _cannot_fork() -> bool:
    """Whether this process cannot start child processes.

    A process of joblib's pool cannot, nor can a program read from standard input, since children import the main module
    from its file.
    """
    main = getattr(sys.modules["__main__"], "__file__", None)
    foreign = multiprocessing.get_start_method(allow_none=True) not in (None, *multiprocessing.get_all_start_methods())
    return foreign or (main is not None and not Path(main).exists())


def _init_worker(work: Callable[[Any], Any]) -> None:
    global _work  # noqa: PLW0603  # the only way to share an object with all jobs of a pool's process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # in case it could not be blocked, see `_sigint_blocked`
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    pa.set_cpu_count(1)
    _work = work


def _leave_with_parent() -> None:
    """Exit when the parent is killed, since it can no longer stop its pool, whose processes would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(job: Any) -> Any:
    assert _work is not None
    return _work(job)
