"""A memory control group of Linux (version 1 or 2) to run a command in: it limits pages and page cache.

A resource limit (`RLIMIT_AS`) is not the same: it counts addresses, including mapped files, and no page cache.
"""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class NoGroupError(OSError):
    """This process cannot make a memory control group; the message says why."""


@dataclass(frozen=True)
class MemoryGroup:
    """A memory control group.

    Attributes:
        folder: of the group.
        peak_file: name of the file with its peak.
    """

    folder: Path
    peak_file: str

    @property
    def enter(self) -> Callable[[], None]:
        """To be called in a new process before its program starts (``preexec_fn`` of `subprocess`)."""
        path = str(self.folder / "cgroup.procs")

        def write() -> None:
            file = os.open(path, os.O_WRONLY)
            os.write(file, b"0")
            os.close(file)

        return write

    @property
    def peak(self) -> int:
        """The most bytes that the group has held at any time, page cache included."""
        return int((self.folder / self.peak_file).read_text())


@contextmanager
def memory_group(limit: int) -> Generator[MemoryGroup]:
    """A group below this process's own, with a limit in bytes; removed when all its processes have ended.

    Raises:
        NoGroupError: no group can be made.
    """
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    first = "memory" in own
    parent = ROOT / ("memory" if first else ".") / own.get("memory" if first else "", "/").lstrip("/")
    files = ("memory.limit_in_bytes", "memory.max_usage_in_bytes") if first else ("memory.max", "memory.peak")
    folder = parent / f"mtlbench-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise NoGroupError(f"no control group can be made in {parent}: {error}") from error
    try:
        try:
            (folder / files[0]).write_text(str(limit))
        except OSError as error:
            raise NoGroupError(f"{parent} does not support memory limits of its groups: {error}") from error
        yield MemoryGroup(folder, files[1])
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a group; one whose last process was just killed is busy for a moment."""
    until = time.monotonic() + 10
    while True:
        try:
            return folder.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
