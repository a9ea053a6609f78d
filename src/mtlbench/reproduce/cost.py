"""Cost estimate of missing runs in core-hours, from speeds of finished runs on this machine or of the shipped file.

A speed is in training rows per second of one thread. The speeds in ``conf/speed/cpu.csv`` were measured by
``scripts/measure_speeds.py``; the file states the conditions. No speeds on GPUs were measured, so there is no estimate
of GPU-hours.
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
"""Path of the shipped speeds inside a configuration folder."""

COUNTED = ("profile", "model.", "dataset.fields")
"""Prefixes of the overrides that affect speed."""


class SpeedKey(NamedTuple):
    """What a speed depends on: model, data set, and the overrides that affect it, in alphabetical order."""

    model: str
    dataset: str
    settings: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingCost:
    """Maximum cost of runs, if each uses its whole budget.

    Attributes:
        seconds: core-seconds, on the rows at hand.
        full: core-seconds on all published rows, if fewer rows are simulated; otherwise ``None``.
        unknown: models without a measured speed, estimated by the median of the others.
    """

    seconds: float
    full: float | None
    unknown: tuple[str, ...]


def speed_key(config: DictConfig) -> SpeedKey:
    """The speed key of a run."""
    words = sorted(word for word in config.run.overrides if word.startswith(COUNTED))
    return SpeedKey(config.run.choices.model, config.run.choices.dataset, " ".join(words))


def read_speeds(file: Path) -> dict[SpeedKey, float]:
    """The speeds in a file, in rows per second of one thread; empty if there is no such file."""
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(line for line in lines if not line.startswith("#"))
        return {
            SpeedKey(line["model"], line["dataset"], line["settings"]): float(line["rows_per_second"]) for line in table
        }


def measured_speeds(folder: Path) -> dict[str, float]:
    """Median speed of finished runs by model, in rows per second."""
    speeds: dict[str, list[float]] = {}
    for path in folder.glob("*/result.json"):
        try:
            result = read_result(path.parent)
        except DamagedFileError:  # perhaps of an unrelated run; otherwise `check_finished` reports it
            continue
        speeds.setdefault(result.model, []).append(result.rows_per_second)
    return {model: median(rates) for model, rates in speeds.items()}


def cost(
    runs: Sequence[PlannedRun], here: Mapping[str, float], shipped: Mapping[SpeedKey, float]
) -> TrainingCost | None:
    """Maximum cost of runs; ``None`` if no speed is known.

    Args:
        runs: the missing runs.
        here: speeds of finished runs on this machine by model, which take precedence.
        shipped: speeds measured on another machine.
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
