"""Run folders as a training leaves them, for tests that do not train."""

from dataclasses import replace
from pathlib import Path

import yaml

from mtlbench.result import Parameters, Result
from mtlbench.tracking.folder import CONFIG, RunInfo, begin, write_result, write_status
from mtlbench.tracking.journal import Journal

FACTS = RunInfo(identity="", model="mmoe", dataset="census", seed=0, data="d", origin="simulated", commit="c")


RESULT = Result(
    identity="",
    code="c",
    model="mmoe",
    dataset="census",
    origin="simulated",
    data="d",
    seed=0,
    metrics={"test/income/auc": 0.7},
    undefined={},
    epochs=1,
    steps=9,
    best_step={"model": 9},
    best_valid={"model": 0.7},
    parameters=Parameters(embedding=5, dense=6),
    rows_per_second=1000.0,
    peak_memory_mb=100.0,
    seconds=1.0,
    finished="2026-01-01T00:00:00+0000",
)


def ended_run(runs: Path, identity: str) -> Path:
    """A finished run with three lines in its journal."""
    folder = runs / identity
    begin(folder, replace(FACTS, identity=identity))
    (folder / CONFIG).write_text(yaml.safe_dump({"model": {"experts": 8}, "dataset": {"name": "census"}}))
    for step in (3, 6, 9):
        Journal(folder).append(step=step, epoch=1, values={"train/income/loss": 1 / step})
    write_result(folder, replace(RESULT, identity=identity))
    write_status(folder, "finished")
    return folder
