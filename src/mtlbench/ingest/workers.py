"""Parallel map over processes, with results in the order of jobs.

The process that asks works too, from the first moment; its helpers join when they have imported what the work needs.
They are started as ``python -c``: `multiprocessing` would import the main module in each of them, and a script without
``if __name__ == "__main__"`` would begin anew there, and wait for the store that its parent is preparing.
"""

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import Any, Generic, Self, TypeVar

import pyarrow as pa
from tqdm import tqdm

Job = TypeVar("Job")
Result = TypeVar("Result")

START = """import sys
sys.path[:] = sys.argv[1:]
from mtlbench.ingest.workers import serve
serve()
"""
"""Program of a helper, which uses the import path of its parent."""

_work: Callable[[Any], Any] | None = None


class Workers:
    """This process and its helpers, which are started when a map first needs them and end with the context.

    Examples:
        >>> with Workers(2) as workers:
        ...     list(workers.map(abs, [-1, -2, -3], "distances"))
        [1, 2, 3]
    """

    def __init__(self, processes: int) -> None:
        """
        Args:
            processes: number of processes, this one included.
        """
        self._most = processes - 1
        self._helpers: list[_Helper] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def map(self, work: Callable[[Job], Result], jobs: Sequence[Job], title: str) -> Generator[Result, None, None]:
        """``work(job)`` for every job, in order, with a progress bar after two seconds.

        Args:
            work: a picklable function or object, sent to each helper once, so that its caches persist there. If it is
                defined in the main module, which helpers do not import, this process works alone.
            jobs: small picklable descriptions of the jobs.
            title: title of the progress bar.

        Raises:
            OSError: a helper was killed, usually because memory ran out.
        """
        turns = _Turns[Job, Result](jobs)
        with tqdm(total=len(jobs), desc=title, disable=None, delay=2, leave=False) as progress:
            try:
                self._ask_for_help(work, turns, len(jobs))
                while turns.results:
                    result = turns.results.popleft()
                    while not result.done() and turns.take(work):
                        pass
                    yield result.result()
                    progress.update()
            except BaseException:  # also if the caller wants no further results: helpers are busy with some
                turns.stop()
                self._end()
                raise

    def _ask_for_help(self, work: Callable[[Job], Result], turns: "_Turns[Job, Result]", jobs: int) -> None:
        """Let helpers take jobs, each in a thread that waits for its answers."""
        wanted = min(self._most, jobs - 1)
        if wanted < 1 or _in_joblib():
            return
        pickled = pickle.dumps(work)
        if b"__main__" in pickled:
            return
        self._helpers += [_Helper() for _ in range(wanted - len(self._helpers))]
        for helper in self._helpers[:wanted]:
            threading.Thread(target=_help, args=(helper, pickled, turns), daemon=True).start()

    def _end(self) -> None:
        while self._helpers:
            self._helpers.pop().end()


def parallel_map(
    work: Callable[[Job], Result], jobs: Sequence[Job], processes: int, title: str
) -> Generator[Result, None, None]:
    """`Workers.map` of workers that end with it."""
    with Workers(processes) as workers:
        yield from workers.map(work, jobs, title)


def cores() -> int:
    """Number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_joblib() -> bool:
    """Whether this is a process of joblib's pool, which shares the cores with the others."""
    return multiprocessing.get_start_method(allow_none=True) not in (None, *multiprocessing.get_all_start_methods())


class _Turns(Generic[Job, Result]):
    """Jobs, each of which is done by whoever takes it first."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = deque((job, Future[Result]()) for job in jobs)
        self.results = deque(result for _, result in self._waiting)

    def take(self, do: Callable[[Job], Result]) -> bool:
        """Do the next job, if there is one."""
        try:
            job, result = self._waiting.popleft()
        except IndexError:
            return False
        try:
            result.set_result(do(job))
        except Exception as error:  # noqa: BLE001  # raised where the result is read
            result.set_exception(error)
        return True

    def stop(self) -> None:
        self._waiting.clear()


class _Helper:
    """The parent's handle of a helper. Its calls wait for each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # only the parent receives Ctrl-C
        )

    def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """The return value of ``function(argument)``; re-raises its exception.

        Raises:
            OSError: the process was killed.
        """
        call = pickle.dumps((function, argument))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            try:
                pickle.dump(call, self._process.stdin)
                self._process.stdin.flush()
                good, value = pickle.load(self._process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                raise OSError(
                    "one of several processes was killed, most likely because memory ran out: use fewer processes"
                ) from error
        if not good:
            raise value
        return value

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # a call that it did not read
                pipe.close()


def _help(helper: _Helper, pickled: bytes, turns: _Turns[Any, Any]) -> None:
    """Let a helper take jobs as long as there are some, once it has the work."""
    do = partial(helper.call, _do)
    try:
        helper.call(_begin, pickled)
    except Exception as error:  # noqa: BLE001  # raised where the next result is read
        do = partial(_fail, error)
    while turns.take(do):
        pass


def _fail(error: Exception, _: object) -> None:
    raise error


def serve() -> None:
    """Main loop of a helper: carries out calls until its parent ends it, or ends itself."""
    import_module("mtlbench.allowed")  # finds readers in configuration folders
    pa.set_cpu_count(1)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a reader prints is no answer
    calls = SimpleQueue[bytes]()
    threading.Thread(target=_listen, args=(calls,), daemon=True).start()
    while True:
        answers.write(_answer(calls.get()))
        answers.flush()


def _listen(calls: "SimpleQueue[bytes]") -> None:
    with suppress(EOFError):
        while True:
            calls.put(pickle.load(sys.stdin.buffer))
    os._exit(1)  # the parent was killed; nobody reads what is being done


def _answer(call: bytes) -> bytes:
    try:
        function, argument = pickle.loads(call)
        return pickle.dumps((True, function(argument)))
    except Exception as error:  # noqa: BLE001  # raised in the parent
        error.add_note(f"in a helper:\n{traceback.format_exc()}")
        return pickle.dumps((False, _sendable(error)))


def _sendable(error: Exception) -> Exception:
    """The error, or what it says if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # whatever its own code raises
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _begin(pickled: bytes) -> None:
    global _work  # noqa: PLW0603  # the only way to share an object with all jobs of a map
    _work = pickle.loads(pickled)


def _do(job: Any) -> Any:
    assert _work is not None
    return _work(job)
