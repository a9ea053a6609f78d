"""A child process that talks to MLflow, so that training never waits for MLflow without a deadline.

A thread would not suffice. Importing MLflow and writing its database hold the interpreter lock for seconds, which
delays training steps and distorts their timing; a call that hangs inside a driver can only be ended by killing its
process; and output and crashes of MLflow stay outside the training process.
"""

import atexit
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar, cast

from mtlbench.tracking.connect import TrackingError
from mtlbench.tracking.credentials import KEPT
from mtlbench.tracking.files import DamagedFileError

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

START = """import sys
sys.path[:] = sys.argv[3:]
from mtlbench.tracking.worker import serve
serve(int(sys.argv[1]), int(sys.argv[2]))
"""
"""Program of the child process, which uses the import path of its parent."""

_idle: list["Worker"] = []
"""Idle workers that have imported MLflow, for the next run of this process."""


class NoAnswerError(TrackingError):
    """A call exceeded its time limit or its process ended; the process no longer exists."""


class Worker:
    """The parent's handle of the child process. Calls are queued, and answered in order."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        self.passwords = os.environ.get(KEPT)  # the child inherits them
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, str(theirs.fileno()), str(os.getpid()), *sys.path],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # some of MLflow's messages contain the password of the URI
            start_new_session=True,  # only the parent receives Ctrl-C
        )
        theirs.close()
        self.pending = 0

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def submit(self, function: Callable[Parameters, Any], *args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        """Queue a call of an importable function with small arguments."""
        self.pending += 1
        try:
            self._connection.send((function, args, kwargs))
        except OSError:  # the process has ended, which `answer` reports
            return

    def answer(self, seconds: float) -> Any:
        """The return value of the oldest call; re-raises its exception.

        Raises:
            NoAnswerError: no answer within the given seconds, or the process ended.
        """
        if not self.answered(seconds):
            raise NoAnswerError(f"no answer within {seconds:.0f} s")
        try:
            ok, value = self._connection.recv()
        except (EOFError, OSError) as error:
            raise NoAnswerError(f"the process that talks to MLflow ended ({self._process.wait()})") from error
        self.pending -= 1
        if not ok:
            raise value
        return value

    def answered(self, seconds: float = 0.0) -> bool:
        """Whether an answer, or the end of the process, arrives within the given seconds."""
        try:
            return self._connection.poll(max(seconds, 0.0))
        except OSError:  # a reset connection
            return True

    def end(self) -> None:
        """Kill the process. Data already sent is kept, and sending again resumes from there."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


def take() -> Worker:
    """An idle worker, or a new one."""
    while _idle:
        worker = _idle.pop()
        if worker.alive and worker.passwords == os.environ.get(KEPT):
            return worker
        worker.end()
    return Worker()


def give_back(worker: Worker) -> None:
    """Return a worker to the idle ones, or kill it if it is still busy."""
    if worker.pending or not worker.alive:
        worker.end()
    else:
        _idle.append(worker)


def call(
    seconds: float, function: Callable[Parameters, Answer], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Answer:
    """Call a function in a worker and wait for it.

    Raises:
        NoAnswerError: the call did not end within the given seconds, or its process ended.
    """
    worker = take()
    try:
        worker.submit(function, *args, **kwargs)
        return cast(Answer, worker.answer(seconds))
    finally:
        give_back(worker)


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()


def serve(descriptor: int, parent: int) -> None:
    """Main loop of the child: answer calls until the parent closes the connection or ends."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        _answer_calls(Connection(descriptor))
    except (EOFError, OSError):
        os._exit(0)  # without waiting for MLflow's threads


def _answer_calls(connection: Connection) -> None:
    while True:
        function, args, kwargs = connection.recv()
        try:
            answer = (True, function(*args, **kwargs))
        except (TrackingError, DamagedFileError) as error:
            answer = (False, type(error)(str(error)))
        except Exception as error:  # noqa: BLE001  # any error is passed to the parent
            answer = (False, TrackingError(f"{type(error).__name__}: {error}"))
        connection.send(answer)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
