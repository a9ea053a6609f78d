"""Processes that work for another one hear no Ctrl-C: it is the parent's business."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mtlbench.ingest import workers
from mtlbench.ingest.workers import parallel_map


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
    assert list(parallel_map(of_self_and_parent, range(2), 2, "")) == [(True, True)] * 2
    assert not blocked("self")


def test_ctrl_c_waits_until_processes_are_started():
    """It may reach a thread that does not block it; the handler then runs here, in the middle of a start."""
    go, inside = threading.Event(), []

    def press() -> None:
        go.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    other = threading.Thread(target=press)  # before the signal is blocked, which threads inherit
    other.start()

    def start() -> None:
        with workers._sigint_blocked():
            go.set()
            other.join()
            time.sleep(0.05)
            inside.append(True)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert inside


def test_what_parses_files_loads_no_scipy() -> None:
    """Every process of a pool would wait for it; simulators load it when they draw."""
    code = (
        "import importlib, pkgutil, sys, mtlbench.datasets as all\n"
        "for found in pkgutil.iter_modules(all.__path__, 'mtlbench.datasets.'):\n"
        "    if found.ispkg: importlib.import_module(found.name + '.dataset')\n"
        "print(*{'scipy', 'torch', 'sklearn'} & set(sys.modules), sum('.dataset' in name for name in sys.modules))"
    )
    *loaded, readers = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == []
    assert int(readers) > 5
