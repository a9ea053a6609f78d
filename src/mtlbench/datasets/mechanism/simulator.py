"""Writes a world as two CSV files, rows to train on and rows to test on, with their true probabilities."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mtlbench.datasets.draws import TEST, TRAIN, Integers
from mtlbench.datasets.mechanism.worlds import MECHANISMS, SOURCE_SHARES, Mechanism, World
from mtlbench.datasets.planted import Components, LabelModel, fit_label_model
from mtlbench.datasets.simulated_files import check_settings, joined, text_lines, truth_file, write_mark

PARTS = {TRAIN: "train.csv", TEST: "test.csv"}
PIECE_ROWS = 1 << 16
PILOT = 1 << 20
"""First row of the piece to which the label model is fitted; it is in no file."""


@dataclass(frozen=True, kw_only=True)
class MechanismPopulation:
    """Rows of a world, and how their labels depend on them.

    Attributes:
        mechanism: its name.
        planted: False removes only the mechanism.
        rows: to train on.
        test_rows: to validate and test on.
        seed: of everything: the world.
        rate: share of positive rows of each task; where sources shift it, of the test rows.
        ceiling: AUC of the true probabilities; where sources shift it, of the test rows.
        structure: False makes labels independent of every input, at the same rates.
    """

    mechanism: str
    planted: bool
    rows: int
    test_rows: int
    seed: int
    rate: float
    ceiling: float
    structure: bool

    def __post_init__(self) -> None:
        check_settings(
            "mechanism", self, rows=(100, PILOT), test_rows=(100, PILOT), seed=(0, 2**31), rate=(0.01, 0.5),
            ceiling=(0.55, 0.95),
        )  # fmt: skip

    @property
    def kind(self) -> Mechanism:
        return MECHANISMS[self.mechanism]

    def ids(self, part: int, first: int, count: int) -> dict[str, Integers]:
        """Ids of the rows ``first``, ``first + 1``, ... of a part, by field, and their source if they have one."""
        kind = self.kind
        random = np.random.default_rng([self.seed, 1, part, first])
        ids = {name: values.at(random.random(count)) for name, values in kind.vocabularies.items()}
        if kind.history:
            ids["history"] = kind.vocabularies["item"].at(random.random((count, kind.history)))
        if kind.shifting:
            last = len(SOURCE_SHARES) - 1
            ids["source"] = random.choice(last + 1, count, p=SOURCE_SHARES) if part == TRAIN else np.full(count, last)
            if self.planted:
                for name in kind.shifting:
                    ids[name] = self._popular(name)[ids["source"], ids[name]]
        return ids

    def components(self, ids: dict[str, Integers]) -> Components:
        return {"log_odds": self.kind.log_odds(self.world, ids)}

    @cached_property
    def labels(self) -> LabelModel:
        """Fitted to rows like those of the test part."""
        kind = self.kind
        return fit_label_model(
            [self.components(self.ids(TEST, PILOT, PIECE_ROWS))],
            shares={"log_odds": 1.0},
            rates=(self.rate,) * kind.tasks,
            ceilings=(self.ceiling,) * kind.tasks,
            relatedness=None,
            structure=self.structure,
        )

    def draw(self, part: int, first: int, ids: dict[str, Integers]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
        """Labels ``[R, T]`` of rows, and their true probabilities."""
        return self.labels.draw(self.components(ids), np.random.default_rng([self.seed, 2, part, first]))

    @cached_property
    def world(self) -> World:
        return World(fields=self.kind.vocabularies, planted=self.planted, seed=self.seed)

    def _popular(self, name: str) -> Integers:
        """The value at each popularity rank in each source, ``[sources, values]``."""
        random = np.random.default_rng([self.seed, 3, list(self.kind.fields).index(name)])
        return np.stack([random.permutation(self.kind.fields[name]) for _ in SOURCE_SHARES])


def simulate(folder: Path, population: MechanismPopulation, *, version: int) -> None:
    """Write the files, their true probabilities (those of the headers are NaN), and ``simulated.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = population.kind.tasks
    for part, name in PARTS.items():
        rows = population.rows if part == TRAIN else population.test_rows
        with (folder / name).open("wb") as file, truth_file(folder / name, tasks, header=True) as write_truth:
            for first in range(0, rows, PIECE_ROWS):
                ids = population.ids(part, first, min(PIECE_ROWS, rows - first))
                labels, chances = population.draw(part, first, ids)
                columns = {name: _cells(values) for name, values in ids.items()}
                columns |= {f"task_{task + 1}": pa.array(labels[:, task].astype(np.int8)) for task in range(tasks)}
                if first == 0:
                    file.write(",".join(columns).encode() + b"\n")
                file.write(text_lines(columns.values()))
                write_truth(chances)
    write_mark(folder, "mechanism", version, population)


def _cells(values: Integers) -> pa.Array:
    """Ids as a column; the entries of a history are one cell, separated by spaces."""
    if values.ndim == 1:
        return pa.array(values)
    return joined(*(pa.array(entry).cast(pa.string()) for entry in values.T), " ")
