"""A made-up Criteo: the raw format of ``train.txt``, with clicks drawn from known probabilities.

Every value of every category, and the logarithm of every number, push the log-odds of a click up or down::

    score = (1 - INTERACTION) * sum_f effect_f[v_f] / sqrt(F)  +  INTERACTION * left * right
    logit = intercept + STRENGTH * score / deviation of score

with standard normal effects (a missing value has one too), and ``left``, ``right`` two more such sums, over all columns
with effects of their own: a click depends on pairs of values as well. The intercept gives the published click rate.
Without structure every row has just that rate.

Categories are drawn with heavy-tailed popularity from vocabularies that grow with the square root of the rows, up to
the published sizes. Rows are made `CHUNK` at a time, each chunk from its own seed, so memory does not grow with them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mtlbench.datasets.criteo.reference_reader import CATEGORIES, NUMBERS
from mtlbench.datasets.calibrate import intercept, sigmoid

CHUNK = 1 << 16
PILOT = 1 << 20
"""Number of the chunk, of no file, by which the intercept and the deviation are found."""

PUBLISHED_ROWS = 45_840_617
RATE = 0.2562
STRENGTH = 2.0
INTERACTION = 0.3
STEEPNESS = 1.2
"""Popularity of the k-th value: k to the power of minus this."""

FEWEST = 20
"""Values that a vocabulary has at least, if the published one has so many."""

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
"""Share of negative values; -1 mostly, never below -3."""

MISSING = (
    (("I1", "I10"), 0.448), (("I3",), 0.204), (("I4", "I13"), 0.198), (("I5",), 0.049), (("I6",), 0.251),
    (("I7", "I9", "I11"), 0.049), (("I8",), 0.001), (("I12",), 0.774),
    (("C3", "C4", "C12", "C16", "C21", "C24"), 0.036), (("C6",), 0.133), (("C19", "C20", "C25", "C26"), 0.45),
    (("C22",), 0.818),
)  # fmt: skip
"""Columns that are missing together, and how often, as in the first 10,000 published lines. I2 never is."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows: int64 ``values`` and bool ``missing`` by column. Categories count from 0, frequent ones first."""

    values: dict[str, npt.NDArray[np.int64]]
    missing: dict[str, npt.NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(self.values["I1"])


class World:
    """What all chunks share: how popular each value is, and what it does to a click.

    Args:
        rows: of the whole file; vocabularies grow with them.
        seed: of everything.
        structure: whether clicks depend on inputs at all.
    """

    def __init__(self, rows: int, seed: int, structure: bool) -> None:
        self.seed = seed
        random = np.random.default_rng([seed, PILOT, 1])
        growth = min(1.0, (rows / PUBLISHED_ROWS) ** 0.5)
        self.popularity: dict[str, npt.NDArray[np.float64]] = {}  # cumulative
        self.effects: dict[str, npt.NDArray[np.float64]] = {}  # [values and missing, 3]
        for name, published in zip(CATEGORIES, DISTINCT, strict=True):
            distinct = max(round(published * growth), min(published, FEWEST))
            share = np.cumsum(np.arange(1, distinct + 1) ** -STEEPNESS)
            self.popularity[name] = share / share[-1]
            self.effects[name] = random.standard_normal((distinct + 1, 3))
        for name in NUMBERS:
            self.effects[name] = random.standard_normal((2, 3))
        self.deviation, self.intercept = 1.0, 0.0
        score = self._score(self.chunk(PILOT, CHUNK))
        self.deviation = score.std() / STRENGTH if structure else np.inf
        self.intercept = intercept(score / self.deviation, RATE)

    def chunk(self, number: int, rows: int) -> Chunk:
        """The rows of a chunk, without their clicks."""
        random = np.random.default_rng([self.seed, number, 0])
        values = {name: _numbers(random, name, rows) for name in NUMBERS}
        values |= {name: np.searchsorted(self.popularity[name], random.random(rows)) for name in CATEGORIES}
        missing = {name: np.zeros(rows, bool) for name in values}
        for names, rate in MISSING:
            missing |= dict.fromkeys(names, random.random(rows) < rate)
        return Chunk(values, missing)

    def truth(self, chunk: Chunk) -> npt.NDArray[np.float64]:
        """Probability of a click, for every row."""
        return sigmoid(self._score(chunk) / self.deviation + self.intercept)

    def clicks(self, number: int, truth: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """The clicks of a chunk, drawn."""
        return np.random.default_rng([self.seed, number, 2]).random(len(truth)) < truth

    def _score(self, chunk: Chunk) -> npt.NDArray[np.float64]:
        sums = np.zeros((len(chunk), 3))
        for at, name in enumerate(NUMBERS):
            high = (np.log1p(np.maximum(chunk.values[name], 0)) - LOG_MEAN[at]) / LOG_DEVIATION[at]
            effect = self.effects[name]
            sums += np.where(chunk.missing[name][:, None], effect[0], effect[1] * np.clip(high, -2, 2)[:, None])
        for name in CATEGORIES:
            sums += self.effects[name][np.where(chunk.missing[name], -1, chunk.values[name])]
        plain, left, right = (sums / np.sqrt(len(self.effects))).T
        return (1 - INTERACTION) * plain + INTERACTION * left * right


def simulate(folder: Path, *, rows: int, seed: int, structure: bool, version: int) -> None:
    """Write ``train.txt``, its truth, and ``simulated.json``.

    Args:
        folder: is made if need be.
        rows: lines of the file.
        seed: of everything.
        structure: whether clicks depend on inputs at all.
        version: of the simulator, to be written down.
    """
    if rows < 1:
        raise ValueError(f"criteo simulator: rows is {rows}; allowed: 1 or more")
    world = World(rows, seed, structure)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "train.txt"
    truths = np.lib.format.open_memmap(f"{path}.truth.npy", "w+", np.float32, (rows, 1))
    with path.open("wb") as file:
        for number, first in enumerate(range(0, rows, CHUNK)):
            chunk = world.chunk(number, min(CHUNK, rows - first))
            truth = world.truth(chunk)
            truths[first : first + len(chunk), 0] = truth
            file.write(_text(chunk, world.clicks(number, truth)))
    truths.flush()
    facts = {"dataset": "criteo", "simulator_version": version, "rows": rows, "seed": seed, "structure": structure}
    (folder / "simulated.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def hashed(column: str, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """The 32-bit hash of the categories with these numbers; no two categories of a column share one."""
    start = 0x85EBCA6B * (CATEGORIES.index(column) + 1) % 2**32
    mixed = numbers.astype(np.uint32) * np.uint32(0x9E3779B1) + np.uint32(start)
    mixed = (mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x7FEB352D)
    return mixed ^ (mixed >> np.uint32(15))


def _numbers(random: np.random.Generator, name: str, rows: int) -> npt.NDArray[np.int64]:
    at = NUMBERS.index(name)
    drawn = np.exp(random.normal(LOG_MEAN[at], LOG_DEVIATION[at], rows))
    values = np.minimum(drawn, LARGEST[at]).astype(np.int64)
    below = random.choice([-1, -2, -3], rows, p=[0.9, 0.09, 0.01])
    return np.where(random.random(rows) < NEGATIVE.get(name, 0), below, values)


def _text(chunk: Chunk, clicks: npt.NDArray[np.bool_]) -> bytes:
    columns = [pa.array(clicks.astype(np.int8)).cast(pa.string())]
    columns += [pa.array(chunk.values[name], mask=chunk.missing[name]).cast(pa.string()) for name in NUMBERS]
    columns += [_hexadecimal(hashed(name, chunk.values[name]), chunk.missing[name]) for name in CATEGORIES]
    options = pc.JoinOptions(null_handling="replace", null_replacement="")
    lines = pc.call_function("binary_join_element_wise", [*columns, "\t"], options)
    text: bytes = pc.call_function("binary_join_element_wise", [lines, "\n", ""]).buffers()[2].to_pybytes()
    return text


def _hexadecimal(values: npt.NDArray[np.uint32], missing: npt.NDArray[np.bool_]) -> pa.Array:
    """Eight lower-case digits each, null where missing."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    nibbles = values[:, None] >> np.arange(28, -4, -4, dtype=np.uint32) & np.uint32(15)
    ends = np.arange(0, 8 * len(values) + 1, 8, dtype=np.int32)
    text = digits[nibbles]
    plain = pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(text.tobytes()))
    return pc.call_function("if_else", [pa.array(missing), pa.scalar(None, pa.string()), plain])
