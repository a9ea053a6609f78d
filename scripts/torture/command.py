"""Runs `mtlbench` commands in forks of a process that has imported everything, or as new processes.

A new process spends seconds importing torch and MLflow. A fork of a parent that has imported them but run nothing is in
the same state after milliseconds, which makes hundreds of injected faults affordable on one core.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "MPLBACKEND": "Agg", "TQDM_DISABLE": "1"}
POLL = 0.01
"""Seconds between two looks at a running process."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that has ended.

    Attributes:
        words: its arguments.
        code: exit status, negative for a signal; ``None`` where it exceeded its time and was killed.
        out, err: standard output and error.
        seconds: by the clock.
    """

    words: tuple[str, ...]
    code: int | None
    out: str
    err: str
    seconds: float


class Started:
    """A running command, leader of its own process group."""

    def __init__(self, process: int, words: Sequence[str], outputs: tuple[Path, Path]) -> None:
        self.process = process
        self.words = tuple(words)
        self._outputs = outputs
        self._began = time.monotonic()
        self._status: int | None = None

    def alive(self) -> bool:
        if self._status is None:
            process, status = os.waitpid(self.process, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if process else None
        return self._status is None

    def signal(self, number: signal.Signals, *, group: bool = True) -> bool:
        """Send a signal to the process group (as a terminal does) or to the process; whether it was still running."""
        if not self.alive():
            return False
        (os.killpg if group else os.kill)(self.process, number)
        return True

    def wait(self, seconds: float) -> Ran:
        """Wait for the end; a process that takes longer is killed with its group."""
        until = time.monotonic() + seconds
        while (late := time.monotonic() < until) and self.alive():
            time.sleep(POLL)
        code = self._status if late or not self.alive() else None
        took = time.monotonic() - self._began
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process, signal.SIGKILL)  # also what a killed leader has left behind
        while self.alive():
            time.sleep(POLL)
        out, err = (path.read_text(errors="replace") for path in self._outputs)
        return Ran(words=self.words, code=code, out=out, err=err, seconds=took)


def start(
    folder: Path,
    words: Sequence[str],
    *,
    shell: bool = False,
    environment: Mapping[str, str] | None = None,
    outputs: Path | None = None,
    modules: Path | None = None,
    main: Callable[[list[str]], int] | None = None,
) -> Started:
    """Start ``mtlbench <words>`` in a folder.

    Args:
        folder: working directory.
        words: arguments of the command line.
        shell: a new interpreter instead of a fork.
        environment: variables set beside `ENVIRONMENT`.
        outputs: folder for the files of standard output and error; default: beside `folder`.
        modules: file to which a fork writes the names of the modules that it has imported.
        main: what a fork calls with the words; default: the command line of `mtlbench`.
    """
    outputs = outputs or folder.parent / "outputs"
    outputs.mkdir(parents=True, exist_ok=True)
    files = tuple(outputs / f"{time.monotonic_ns()}.{name}" for name in ("out", "err"))
    for file in files:
        file.touch()  # a child may be killed before it has opened them
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        _child(folder, list(words), ENVIRONMENT | dict(environment or {}), files, main, shell, modules)
    return Started(process, words, (files[0], files[1]))


def run(folder: Path, words: Sequence[str], seconds: float = 120, **options: object) -> Ran:
    """Run a command to its end."""
    return start(folder, words, **options).wait(seconds)  # pyright: ignore[reportArgumentType]


def warm_up(modules: Path) -> None:
    """Import what a command imported (see `start`), so that later forks need not."""
    for name in json.loads(modules.read_text()):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the objects of modules stay in memory shared with the forks
    assert threading.active_count() == 1, f"a fork would lack threads of the parent: {threading.enumerate()}"


def _child(
    folder: Path,
    words: list[str],
    environment: dict[str, str],
    files: Sequence[Path],
    main: Callable[[list[str]], int] | None,
    shell: bool,
    modules: Path | None,
) -> NoReturn:
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's own handler cleans up what is the parent's
        for number, file in enumerate(files, start=1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        os.chdir(folder)
        os.environ.update(environment)
        if shell:
            os.execv(sys.executable, [sys.executable, "-m", "mtlbench", *words])
        sys.argv = ["mtlbench", *words]
        if main is None:
            from mtlbench.cli import main
        code = main(words)
        if modules is not None:
            modules.write_text(json.dumps(sorted(sys.modules)))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001
        traceback.print_exc()  # as the interpreter does
    finally:  # what an interpreter does at its end; the parent's clean-up is none of the child's business
        with contextlib.suppress(BaseException):
            threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
            atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
