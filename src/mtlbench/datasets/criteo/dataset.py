"""Criteo display advertising: 45.8 million displayed advertisements of seven days, each clicked or not.

Source: Criteo / Kaggle "Display Advertising Challenge", 2014, https://www.kaggle.com/c/criteo-display-ad-challenge,
mirrored at https://ailab.criteo.com/ressources (``dac.tar.gz``, md5 df9b1b3766d9ff91d5ca3eb3d23bed27; the ``train.txt``
in it has md5 4dcfe6c4b7783585d4ae3c714994f26a). Terms: no licence text of this data set was found; other data sets of
Criteo are CC BY-NC-SA 4.0, which says nothing about this one. Take it to be for research, and do not redistribute it.

Positives and negatives are sampled at different rates, so 25.6 % of the rows are clicks. The columns have no published
meaning: I1 to I13 are "mostly counts", C1 to C26 are values hashed to 32 bits. The challenge's ``test.txt`` has no
labels and is not used.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from mtlbench.checks import one_of
from mtlbench.datasets.criteo import fast_reader, reference_reader
from mtlbench.datasets.criteo.fast_reader import CriteoLines
from mtlbench.datasets.criteo.reference_reader import CATEGORIES, LONGEST_NUMBER, NUMBERS, CriteoLine
from mtlbench.datasets.criteo.simulator import CriteoPopulation, simulate
from mtlbench.ingest.lines import read_blocks, read_one_by_one
from mtlbench.ingest.protocol import LINE, ROWS, Block, RawFile, Shard
from mtlbench.schema import Field, Task

Numbers = Literal["log2_bucket", "standardise"]

SMALL = 2
"""The largest number that is not put into a bucket."""

BUCKETS = range(2, int(math.log(10**LONGEST_NUMBER) ** 2) + 1)
EDGES = np.array([math.ceil(math.exp(math.sqrt(bucket))) for bucket in BUCKETS], np.int32)
"""The smallest number of every bucket; integers, so that no rounding of a logarithm moves a number between buckets."""


@dataclass(frozen=True, kw_only=True)
class Criteo:
    """The training file of the Criteo challenge: 13 numbers and 26 categories, any of them missing, and the click.

    A category is an id field of its 32-bit hash. Numbers are read in one of two ways. ``log2_bucket``: id fields of the
    buckets of Juan et al. ("3 Idiots' Approach", the winners of the challenge), floor(ln(v)^2) for v above 2; smaller
    numbers are separate values, and so is "missing". ``standardise``: number fields, in which a missing number is the
    mean of training rows.

    Attributes:
        numbers: ``log2_bucket`` (so called in the literature; the logarithm is natural and squared) or
            ``standardise``.
        compress: with ``standardise``: sign(v) ln(1 + |v|) instead of v, whose tails are long (up to 23 million).

    Departure: FuxiCTR's preparation of the same buckets puts 1 into the bucket of 3 and 4, 2 into that of 5, and
    missing into that of 0; Juan et al. separate them, and so does this (a number v up to 2 has the id v - 3). DLRM
    reads negative numbers, which only I2 has, as 0; here they keep their sign.
    """

    numbers: Numbers = "log2_bucket"
    compress: bool = True

    name = "criteo"
    simulator_version = 2
    where = (
        "train.txt is in dac.tar.gz, available at https://ailab.criteo.com/ressources or "
        "https://www.kaggle.com/c/criteo-display-ad-challenge; "
        "or set dataset.source=simulated for synthetic data"
    )
    tasks = (Task(name="click", label="click"),)
    files = (
        RawFile(
            name="train.txt",
            table=ROWS,
            part="train",
            published_rows=45_840_617,
            published_positives={"click": 11_745_438},
        ),
    )

    def __post_init__(self) -> None:
        one_of("criteo: numbers", self.numbers, Numbers)

    @property
    def version(self) -> int:
        """2 where fields compress numbers, so that rows to be scored are compressed too; in 1 the reader did it."""
        return 2 if self.numbers == "standardise" and self.compress else 1

    @property
    def fields(self) -> tuple[Field, ...]:
        if self.numbers == "log2_bucket":
            return tuple(Field(name=name) for name in (*NUMBERS, *CATEGORIES))
        numbers = (Field(name=name, kind="number", compress=self.compress) for name in NUMBERS)
        return (*numbers, *(Field(name=name) for name in CATEGORIES))

    def read(self, shard: Shard) -> Iterator[Block]:
        """The lines of a shard in blocks; see `mtlbench.ingest.protocol.Block`.

        Raises:
            RawError: the file is not a text file of lines.
        """
        yield from read_blocks(shard, self._at_once, self._one_by_one)

    def simulate(self, folder: Path, *, rows: int = 100_000, seed: int = 0, structure: bool = True) -> None:
        """Write a synthetic data set in the publisher's format; see `mtlbench.datasets.criteo.simulator`."""
        population = CriteoPopulation(rows=rows, seed=seed, structure=structure)
        simulate(Path(folder), population, version=self.simulator_version)

    def _at_once(self, text: bytes, first: int) -> Block | None:
        lines = fast_reader.read_lines(text)
        if lines is None:
            return None
        count = len(lines.click)
        return Block(columns=self._columns(lines, np.arange(first, first + count)), lines=count)

    def _one_by_one(self, text: bytes, first: int) -> Block:
        good, numbers, rejected = read_one_by_one(text, first, reference_reader.read_line)
        columns = self._columns(_by_columns(good), np.array(numbers, np.int64))
        return Block(columns=columns, lines=len(good) + len(rejected), rejected=rejected)

    def _columns(self, lines: CriteoLines, number: np.ndarray) -> pa.RecordBatch:
        """The record batch of these lines with their numbers within the shard."""
        columns = {LINE: pa.array(number, pa.int64()), "click": pa.array(lines.click)}
        values = self._number_values(lines.numbers)
        columns |= {name: pa.array(values[at], mask=lines.no_number[at]) for at, name in enumerate(NUMBERS)}
        columns |= {
            name: pa.array(lines.categories[at], mask=lines.no_category[at]) for at, name in enumerate(CATEGORIES)
        }
        return pa.record_batch(columns)

    def _number_values(self, numbers: np.ndarray) -> np.ndarray:
        if self.numbers == "log2_bucket":
            return squared_log_bucket(numbers)
        return numbers.astype(np.float64)  # a float32 holds integers of only up to seven digits


def squared_log_bucket(numbers: np.ndarray) -> np.ndarray:
    """floor(ln(v)^2), which is 1 or more, for v above 2; v - 3, which is below 0, for the others; int32."""
    return np.where(numbers > SMALL, 1 + np.searchsorted(EDGES, numbers, side="right"), numbers - SMALL - 1).astype(
        np.int32
    )


def _by_columns(lines: list[CriteoLine]) -> CriteoLines:
    numbers, no_number = _matrix([line.numbers for line in lines], len(NUMBERS), np.int32)
    categories, no_category = _matrix([line.categories for line in lines], len(CATEGORIES), np.uint32)
    click = np.array([line.click for line in lines], np.int8)
    return CriteoLines(
        click=click, numbers=numbers, no_number=no_number, categories=categories, no_category=no_category
    )


def _matrix(rows: list[tuple[int | None, ...]], width: int, dtype: type[np.integer]) -> tuple[np.ndarray, np.ndarray]:
    """Values, and which are missing, ``[width, L]``."""
    values = np.array([[value or 0 for value in row] for row in rows], dtype).reshape(-1, width)
    absent = np.array([[value is None for value in row] for row in rows], bool).reshape(-1, width)
    return np.ascontiguousarray(values.T), np.ascontiguousarray(absent.T)
