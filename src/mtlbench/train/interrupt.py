"""Turns SIGINT and SIGTERM into a flag that the loop checks between batches."""

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from mtlbench.distributed.job import alone, launched

REPEATED = 2.0
"""Seconds within which a repeated signal is ignored: both the terminal and torchrun pass Ctrl-C to a rank."""


class Interrupted(KeyboardInterrupt):
    """Training stopped between two batches because of a signal."""


class Interrupt:
    """Context manager that turns the first SIGINT or SIGTERM into an `Interrupted` at the next `check`.

    A second signal raises KeyboardInterrupt at once. When any rank of a job receives a signal, all ranks stop together.

    Outside the main thread no signal arrives, and `check` never raises.
    """

    def __init__(self) -> None:
        self._asked: float | None = None
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        self._previous = {}

    def check(self) -> None:
        """Raise `Interrupted` if a signal has arrived; with several ranks, all must call this at the same time."""
        interrupted = self._asked is not None
        if not alone():
            from mtlbench.distributed.ranks import (
                any_rank,
            )  # not at the top: the command line imports this module, and must not import torch

            interrupted = any_rank(interrupted)
        if interrupted:
            raise Interrupted

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked is not None and not (launched() and now - self._asked < REPEATED):
            raise KeyboardInterrupt
        self._asked = now if self._asked is None else self._asked


@contextmanager
def sigint_noted() -> Generator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C was pressed.

    A KeyboardInterrupt during an import can get lost: numpy's C extension swallows it, and the import fails later with
    an AttributeError.
    """
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not default or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
