"""A table whose runs are killed at random, and whose command is given again, is the table of runs that were not."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from faults.command import start

TABLE = [
    "reproduce", "census_mmoe", "--rows", "Single-Task,OMoE", "--seeds", "1", "dataset.source=simulated",
    "dataset.simulator.rows=3000", "trainer.batch_size=64", "trainer.epochs=2", "trainer.patience=null",
    "trainer.checkpoint_minutes=0.01", "profile.bottom_layers=[8]", "run.threads=1", "tracker=none",
]  # fmt: skip

MEASURED_HERE = ("peak_memory_mb", "rows_per_second", "seconds", "seconds_to_best")
"""What depends on the machine and on the moment."""


def end(process: subprocess.Popen[str]) -> None:
    _, stderr = process.communicate(timeout=900)
    assert process.returncode == 0, stderr


def stored(folder: Path) -> dict[str, Any]:
    table = json.loads((folder / "tables" / "census_mmoe.json").read_text())
    for row in table["rows"]:
        for cost in row["costs"]:
            for name in MEASURED_HERE:
                del cost[name]
    return table


@pytest.mark.long
@pytest.mark.parametrize("kills", [1, 5])
def test_killed_at_random_and_started_again_it_ends_with_the_same_table(tmp_path: Path, kills: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    reference, moments, stopped = start(whole, TABLE), random.Random(0), 0
    for _ in range(kills):
        process = start(killed, TABLE)
        while process.poll() is None and not list(killed.glob("runs/*/last.pt")):
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 2))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            stopped += 1
        process.communicate()
    assert stopped, "no kill came before the end: this shows nothing"
    end(start(killed, TABLE))
    end(reference)
    for ending in ("md", "tex", "csv"):
        one, other = ((folder / "tables" / f"census_mmoe.{ending}").read_bytes() for folder in (whole, killed))
        assert one == other
    assert stored(killed) == stored(whole)
