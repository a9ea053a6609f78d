"""Training messages on the terminal: this package's loggers, written to standard error above progress bars."""

import logging
import os
import sys

from tqdm import tqdm

LEVEL = "MTLBENCH_LOG"
"""Environment variable with the log level of a command, inherited by its child processes."""


class _Lines(logging.Handler):
    """Writes to the standard error stream that is current at the time of the message."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def show_progress(level: int | None = None, *, named: bool = False) -> None:
    """Show messages of a level and above: warnings, one line per evaluation (info), the losses between them (debug).

    Args:
        level: as in `logging`; ``None`` takes the level of the command that started this process.
        named: whether a line begins with the identity of its run, for processes that write at the same time.
    """
    if level is None:
        level = logging.getLevelNamesMapping().get(os.environ.get(LEVEL, ""), logging.INFO)
    os.environ[LEVEL] = logging.getLevelName(level)
    lines = _Lines()
    lines.setFormatter(logging.Formatter("%(run).8s  %(message)s" if named else None, defaults={"run": ""}))
    log = logging.getLogger("mtlbench")
    log.setLevel(level)
    log.handlers = [*(handler for handler in log.handlers if not isinstance(handler, _Lines)), lines]
