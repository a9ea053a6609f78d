"""Peak resident memory of one run, in a process that may execute several."""

import contextlib
import sys
from pathlib import Path

import psutil

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Reset the peak; if the system does not allow that, earlier runs of the process are included."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            _RESET.write_text("5")  # proc(5): resets the peak in /proc/self/status


def peak_mb() -> float:
    """Peak resident memory since `forget_peak`, in MiB; if unknown, the current resident memory."""
    if sys.platform == "linux":
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        if "VmHWM" in lines:
            return int(lines["VmHWM"].split()[0]) / 1024
    return psutil.Process().memory_info().rss / 2**20
