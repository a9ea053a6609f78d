"""Writes a synthetic ``train.txt`` of Criteo, with clicks drawn from known probabilities.

The log-odds of a click are a sum of main effects of all columns, and of interactions of the numbers and the first half
of the categories with the second half; see `mtlbench.datasets.planted`. A number enters by its logarithm. Vocabularies
grow with the square root of the rows, up to the published sizes. Rows are drawn `CHUNK` at a time, each chunk from its
own seed, so memory does not grow with them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtlbench.datasets.criteo.reference_reader import CATEGORIES, NUMBERS
from mtlbench.datasets.draws import Integers, RankedValues
from mtlbench.datasets.planted import Components, Effects, LabelModel, Term, fit_label_model
from mtlbench.datasets.simulated_files import check_settings, hexadecimal, text_lines, truth_file, write_mark

CHUNK = 1 << 16
PILOT = 1 << 20
"""Number of the chunk to which the label model is fitted; it is not written to the file."""

PUBLISHED_ROWS = 45_840_617
RATE = 0.2562
SKEW = 5.0
"""Of the popularity of categories: the most frequent one of 20,000 has a seventh of the rows."""
CEILING = 0.866
"""AUC of the true probabilities, an assumption."""
TERMS = {
    "main": Term(dict.fromkeys((*NUMBERS, *CATEGORIES), 1.0)),
    "pairs": Term(dict.fromkeys((*NUMBERS, *CATEGORIES[:13]), 1.0), dict.fromkeys(CATEGORIES[13:], 1.0)),
}
SHARES = {"main": 0.85, "pairs": 0.15}

FEWEST = 20
"""Smallest size of a vocabulary, unless the published one is smaller."""

DISTINCT = (
    1460, 558, 413_422, 248_541, 305, 21, 12_190, 633, 3, 54_710, 5348, 409_747, 3180, 27, 12_498, 365_809, 10, 4932,
    2094, 4, 397_979, 18, 15, 88_606, 96, 64_071,
)  # fmt: skip
"""Distinct values of C1 to C26 in Criteo_x1, which holds all rows (BARS, FinalMLP_criteo_x1, less two special ids)."""

LARGEST = (5775, 257_675, 65_535, 969, 23_159_456, 431_037, 56_311, 6047, 29_019, 46, 231, 4008, 7393)
"""Published maxima of I1 to I13 (PaddleRec)."""

LOG_MEAN = (0.4, 1.9, 2.2, 1.6, 7.2, 3.5, 1.3, 2.0, 3.6, 0.0, 0.6, -0.7, 1.8)
LOG_DEVIATION = (1.2, 2.2, 1.3, 1.0, 2.9, 1.9, 1.6, 1.2, 1.7, 0.5, 0.9, 0.8, 1.1)
"""Of I1 to I13, about as in the first 10,000 published lines."""

NEGATIVE = {"I2": 0.0975}
"""Share of negative values; mostly -1, never below -3."""

MISSING = (
    (("I1", "I10"), 0.448), (("I3",), 0.204), (("I4", "I13"), 0.198), (("I5",), 0.049), (("I6",), 0.251),
    (("I7", "I9", "I11"), 0.049), (("I8",), 0.001), (("I12",), 0.774),
    (("C3", "C4", "C12", "C16", "C21", "C24"), 0.036), (("C6",), 0.133), (("C19", "C20", "C25", "C26"), 0.45),
    (("C22",), 0.818),
)  # fmt: skip
"""Columns that are missing together, and how often, as in the first 10,000 published lines. I2 never is."""


@dataclass(frozen=True, kw_only=True)
class CriteoPopulation:
    """The columns of the file, and how clicks depend on them.

    Attributes:
        rows: of the file; vocabularies grow with them.
        seed: of everything.
        structure: False makes clicks independent of every input, at the same rate.
    """

    rows: int
    seed: int
    structure: bool

    def __post_init__(self) -> None:
        check_settings("criteo", self, rows=(1, 2**40), seed=(0, 2**63))

    @cached_property
    def vocabularies(self) -> dict[str, RankedValues]:
        growth = min(1.0, (self.rows / PUBLISHED_ROWS) ** 0.5)
        sizes = (max(round(published * growth), min(published, FEWEST)) for published in DISTINCT)
        return {name: RankedValues(size, SKEW) for name, size in zip(CATEGORIES, sizes, strict=True)}

    def chunk(self, number: int, rows: int) -> dict[str, pa.Array]:
        """The columns of the rows of a chunk: int64, null where missing; categories count from 0."""
        random = np.random.default_rng([self.seed, number, 0])
        values = {name: _numbers(random, name, rows) for name in NUMBERS}
        values |= {name: vocabulary.at(random.random(rows)) for name, vocabulary in self.vocabularies.items()}
        missing = {name: np.zeros(rows, bool) for name in values}
        for names, rate in MISSING:
            missing |= dict.fromkeys(names, random.random(rows) < rate)
        return {name: pa.array(values[name], mask=missing[name]) for name in values}

    def components(self, chunk: dict[str, pa.Array]) -> Components:
        inputs = {name: chunk[name].fill_null(-1).to_numpy() for name in CATEGORIES}
        for name, mean, deviation in zip(NUMBERS, LOG_MEAN, LOG_DEVIATION, strict=True):
            logarithm = np.log1p(chunk[name].cast(pa.float64()).fill_null(np.nan).to_numpy().clip(0))
            inputs[name] = np.nan_to_num((logarithm - mean) / deviation).clip(-2, 2)
        return self._effects.components(TERMS, inputs)

    @cached_property
    def labels(self) -> LabelModel:
        pilot = self.components(self.chunk(PILOT, CHUNK))
        return fit_label_model([pilot], shares=SHARES, rates=(RATE,), ceilings=(CEILING,), structure=self.structure)

    @cached_property
    def _effects(self) -> Effects:
        return Effects(seed=self.seed, tasks=1, vocabularies=self.vocabularies, numbers=NUMBERS)


def simulate(folder: Path, population: CriteoPopulation, *, version: int) -> None:
    """Write ``train.txt``, its true probabilities, and ``simulated.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "train.txt"
    with path.open("wb") as file, truth_file(path, 1) as write_truth:
        for number, first in enumerate(range(0, population.rows, CHUNK)):
            chunk = population.chunk(number, min(CHUNK, population.rows - first))
            random = np.random.default_rng([population.seed, number, 2])
            clicks, chances = population.labels.draw(population.components(chunk), random)
            chunk |= {name: category_hash(name, chunk[name]) for name in CATEGORIES}
            file.write(text_lines([clicks[:, 0].astype(np.int8), *chunk.values()], "\t"))
            write_truth(chances)
    write_mark(folder, "criteo", version, population)


def category_hash(column: str, numbers: pa.Array) -> pa.Array:
    """The 32-bit hashes of categories as eight digits; no two categories of a column share one."""
    start = 0x85EBCA6B * (CATEGORIES.index(column) + 1) % 2**32
    mixed = numbers.fill_null(0).to_numpy().astype(np.uint32) * np.uint32(0x9E3779B1) + np.uint32(start)
    mixed = (mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x7FEB352D)
    digits = hexadecimal(mixed ^ (mixed >> np.uint32(15)))
    return pc.call_function("if_else", [numbers.is_valid(), digits, pa.scalar(None, pa.string())])


def _numbers(random: np.random.Generator, name: str, rows: int) -> Integers:
    at = NUMBERS.index(name)
    drawn = np.exp(random.normal(LOG_MEAN[at], LOG_DEVIATION[at], rows))
    values = np.minimum(drawn, LARGEST[at]).astype(np.int64)
    below = random.choice([-1, -2, -3], rows, p=[0.9, 0.09, 0.01])
    return np.where(random.random(rows) < NEGATIVE.get(name, 0), below, values)
