"""What missing runs cost: core-hours by the speeds of finished runs here, else by those that mtlbench ships.

A model's speed is in training rows per second of one thread. Those of ``conf/speed/cpu.csv`` were measured by
``scripts/measure_speeds.py``; the file states the conditions. No GPU was ever at hand, so nothing is said of GPU-hours.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

from omegaconf import DictConfig

from mtlbench.reproduce.plan import SMALLEST, PlannedRun, published_rows
from mtlbench.tracking.files import DamagedFileError
from mtlbench.tracking.folder import read_result

SPEEDS = "speed/cpu.csv"
"""The measured speeds, below a folder of configurations."""

COUNTED = ("profile", "model.", "dataset.fields")
"""Beginnings of the overrides that a speed depends on."""


class SpeedKey(NamedTuple):
    """What a speed was measured on: model, data set, and the overrides that count, in alphabetical order."""

    model: str
    dataset: str
    settings: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingCost:
    """What runs cost at most, if each takes its whole budget.

    Attributes:
        seconds: of one core, on the rows at hand.
        full: the same with all published rows in place of fewer simulated ones; ``None`` where the two are one.
        unknown: models without a measured speed, which count as fast as the median of the others.
    """

    seconds: float
    full: float | None
    unknown: tuple[str, ...]


def speed_key(config: DictConfig) -> SpeedKey:
    """What the speed of a run depends on."""
    words = sorted(word for word in config.run.overrides if word.startswith(COUNTED))
    return SpeedKey(config.run.choices.model, config.run.choices.dataset, " ".join(words))


def read_speeds(file: Path) -> dict[SpeedKey, float]:
    """Rows per second of one thread; none where there is no such file."""
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(line for line in lines if not line.startswith("#"))
        return {
            SpeedKey(line["model"], line["dataset"], line["settings"]): float(line["rows_per_second"]) for line in table
        }


def measured_speeds(folder: Path) -> dict[str, float]:
    """Rows per second of finished runs by model, the median over them."""
    speeds: dict[str, list[float]] = {}
    for path in folder.glob("*/result.json"):
        try:
            result = read_result(path.parent)
        except DamagedFileError:  # of a run that need not be one of these; where it is, `check_finished` says so
            continue
        speeds.setdefault(result.model, []).append(result.rows_per_second)
    return {model: median(several) for model, several in speeds.items()}


def cost(
    runs: Sequence[PlannedRun], here: Mapping[str, float], shipped: Mapping[SpeedKey, float]
) -> TrainingCost | None:
    """What runs take at most; ``None`` if no speed is known.

    Args:
        runs: the missing ones.
        here: speeds of finished runs by model, which come first: they are of this machine.
        shipped: speeds that were measured elsewhere.
    """
    every = [*here.values()] or [*shipped.values()]
    if not every:
        return None
    usual = median(every)
    by_model: dict[str, list[float]] = {}
    for key, measured in shipped.items():
        by_model.setdefault(key.model, []).append(measured)
    unknown: dict[str, None] = {}

    @cache
    def speed(key: SpeedKey) -> float:
        if key.model in here:
            return here[key.model]
        if key in shipped:
            return shipped[key]
        if key.model in by_model:
            return median(by_model[key.model])
        unknown.setdefault(key.model)
        return usual

    seconds = full = 0.0
    for run in runs:
        rows, all_rows = run.rows or SMALLEST, published_rows(run.data)
        rate = speed(speed_key(run.config))
        seconds += run.rows_at_most(rows) / rate
        full += run.rows_at_most(max(rows, all_rows if run.data.origin == "simulated" else 0)) / rate
    return TrainingCost(seconds=seconds, full=full if full > seconds else None, unknown=tuple(unknown))
