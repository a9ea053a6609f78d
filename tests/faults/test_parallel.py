"""`reproduce` over processes: interrupted or killed, it leaves no process behind, and the same command ends it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from faults.command import start

pytest.importorskip("joblib")

TABLE = [
    "reproduce", "census_mmoe", "--rows", "OMoE,MMoE", "--seeds", "1", "--processes", "2", "dataset.source=simulated",
    "dataset.simulator.rows=4000", "trainer.batch_size=32", "trainer.epochs=10", "trainer.patience=null",
    "trainer.checkpoint_minutes=0.02", "profile.bottom_layers=[8]", "tracker=none",
]  # fmt: skip


def interrupt_all(process: subprocess.Popen[str]) -> None:
    """What Ctrl-C in a terminal does."""
    os.killpg(process.pid, signal.SIGINT)


def interrupt_one(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGINT)


def kill_one(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)


@pytest.mark.long
@pytest.mark.parametrize("stop", [interrupt_all, interrupt_one, kill_one])
def test_no_process_is_left_and_the_same_command_ends_it(tmp_path: Path, stop: Callable[..., None]) -> None:
    process = start(tmp_path, TABLE)
    while process.poll() is None and len(list(tmp_path.glob("runs/*/last.pt"))) < 2:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2, "the runs are no processes of their own: this shows nothing"
    stop(process)
    process.communicate(timeout=120)
    assert process.returncode == (130 if stop is not kill_one else -signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=120)
    assert not alive
    assert not list(tmp_path.glob("runs/*/result.json")), "the runs were over already: this shows nothing"
    begun = {path: json.loads(path.read_text())["attempt"] for path in tmp_path.glob("runs/*/run.json")}
    process = start(tmp_path, TABLE)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 2
    assert {path: json.loads(path.read_text())["attempt"] for path in tmp_path.glob("runs/*/run.json")} == begun
