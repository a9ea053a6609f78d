"""Processes that work for another one hear no Ctrl-C: it is the parent's business."""

import signal
from pathlib import Path

from mtlbench.data.workers import each


def blocked(process: str) -> bool:
    """Whether the kernel holds SIGINT back from a process."""
    (mask,) = [
        line.split()[1]
        for line in Path(f"/proc/{process}/status").read_text().splitlines()
        if line.startswith("SigBlk:")
    ]
    return bool(int(mask, 16) >> (signal.SIGINT - 1) & 1)


def of_self_and_parent(_: int) -> tuple[bool, bool]:
    parent = Path("/proc/self/status").read_text().partition("PPid:")[2].split()[0]
    return blocked("self"), blocked(parent)


def test_no_process_of_a_pool_ever_hears_ctrl_c() -> None:
    """A blocked signal is inherited, so it was blocked when the process, and the fork server above it, began."""
    assert list(each(of_self_and_parent, range(2), 2, "")) == [(True, True)] * 2
    assert not blocked("self")
