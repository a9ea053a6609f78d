"""Prints errors and warnings as one short message, without a traceback."""

import os
import sys
import textwrap
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

import click

from mtlbench.distributed.job import OtherRankError
from mtlbench.train.interrupt import Interrupted, sigint_noted

TRACEBACK = "MTLBENCH_TRACEBACK"
"""Environment variable: if set, errors keep their traceback."""

REPORTED = (ValueError, click.UsageError, OSError, ArithmeticError, MemoryError)
"""Errors that a user can fix: invalid input, files, servers, a diverged loss, too little memory."""

_shown: set[str] = set()
"""Warnings that this command has printed."""


@dataclass
class ExitStatus:
    """Exit status of a command."""

    code: int = 0


@contextmanager
def explained() -> Generator[ExitStatus]:
    """Turn errors that a user can fix into a message and an exit status; bugs keep their traceback."""
    status = ExitStatus()
    with sigint_noted() as interrupted:
        try:
            yield status
        except Interrupted:
            print("mtlbench: interrupted; the same command (without run.fresh=true) resumes from here", file=sys.stderr)
            status.code = 130
        except OtherRankError:  # the failed rank has printed why
            status.code = 1
        except BrokenPipeError:  # the reader of our output has closed it, as in `mtlbench list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt) or interrupted():
                print("mtlbench: interrupted", file=sys.stderr)
                status.code = 130
            elif os.environ.get(TRACEBACK) or not isinstance(error, REPORTED):
                raise
            else:
                print(f"mtlbench: {text_of(error)}", file=sys.stderr)
                status.code = 2 if isinstance(error, ValueError | click.UsageError) else 1


def quiet_warnings() -> None:
    """Show each warning once per command, as one paragraph; warnings about simulated data stand out."""
    _shown.clear()
    warnings.showwarning = _show


def text_of(error: BaseException) -> str:
    """The message of an error, for the terminal."""
    if isinstance(error, click.UsageError):
        message = error.format_message()
        command = error.ctx.command_path if error.ctx else "mtlbench"
        return f"{message[0].lower()}{message[1:]}{'' if message[-1] in '.?' else '.'} See `{command} --help`"
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror} ({error.filename})"
    if isinstance(error, MemoryError):
        return f"memory ran out: {error}" if str(error) else "memory ran out"
    return str(error) or type(error).__name__


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    stream = file or sys.stderr
    if not category.__module__.startswith("mtlbench"):
        stream.write(warnings.formatwarning(message, category, filename, lineno, line))
        return
    if str(message) in _shown:
        return
    _shown.add(str(message))
    paragraph = textwrap.fill(
        str(message), 100, initial_indent="! ", subsequent_indent="! ", break_on_hyphens=False, break_long_words=False
    )
    bold, plain = ("\033[1;33m", "\033[0m") if stream.isatty() else ("", "")
    stream.write(f"{bold}{paragraph}{plain}\n")
