"""A run that is killed without warning, again and again, ends with the numbers of one that was not."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from faults.command import start
from mtlbench.cli import main

RUN = [
    "train", "model=dephn", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=9000",
    "trainer.batch_size=64", "trainer.epochs=4", "trainer.patience=null", "trainer.log_steps=5",
    "trainer.checkpoint_minutes=0.003", "run.threads=1", "tracker=mlflow", "profile.embedding_width=4",
    "profile.expert_layers=[8]", "profile.experts=2",
]  # fmt: skip


def result(folder: Path) -> dict[str, float]:
    (path,) = folder.glob("runs/*/result.json")
    return json.loads(path.read_text())["metrics"]


def journal(folder: Path) -> list[dict[str, object]]:
    (path,) = folder.glob("runs/*/metrics.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line.pop("time")
        line["values"].pop("train/rows_per_second", None)
    return lines


REMEMBERING = ("balancing=gradnorm", "trainer.conflicts=true")
"""A balancing with weights, moments and first losses to remember."""


@pytest.mark.parametrize(
    ("kills", "overrides"),
    [
        (2, ("dataset.simulator.rows=3000", "tracker=none")),
        pytest.param(10, (), marks=pytest.mark.long),
        pytest.param(4, REMEMBERING, marks=pytest.mark.long),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int, overrides: tuple[str, ...]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    monkeypatch.chdir(whole)
    assert main([*RUN, *overrides]) == 0
    moments = random.Random(0)
    resumed = 0
    for _ in range(kills):
        process = start(killed, [*RUN, *overrides])
        # Half of the kills anywhere, the others after training has begun and checkpoints are being written.
        if moments.random() < 0.7:
            while process.poll() is None and not list(killed.glob("runs/*/last.pt")):
                time.sleep(0.02)
            resumed += 1
        time.sleep(moments.uniform(0.05, 1.5))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    monkeypatch.chdir(killed)
    assert main([*RUN, *overrides]) == 0
    assert resumed, "no kill came after a checkpoint: this shows nothing"
    assert result(killed) == result(whole)
    assert journal(killed) == journal(whole)
