"""Writes a stand-in for private data: one CSV file of users, items and two labels, with a planted structure.

A user's segment, city and age, and an item's category and owner, are functions of their numbers. Log-odds of either
label are a sum of what segment, age, category, owner and item do by themselves, and of a product of a factor of the
segment and one of the category; both are ``sqrt(r) shared + sqrt(1 - r) own`` of standard normals, so that r
(relatedness) is the correlation of the two labels' causes. If labels are chained, the second one's log-odds are those
after the first one.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mtlbench.data.split import splitmix64
from mtlbench.datasets.calibrate import intercept, sigmoid
from mtlbench.datasets.unpublished.dataset import OFFER, PROFILE, Unpublished

SPREAD = 1.0
"""Standard deviation of a label's log-odds."""
STEEPNESS = 2.0
"""Items and users by popularity: rank ``floor(size * u ** STEEPNESS)`` of a uniform u."""
RANK = 1
MAIN = {"segment": 0.5, "age": 0.4, "category": 0.6, "owner": 0.3, "item": 0.1}
"""Deviations of what a value does by itself, beside 1 for segment and category together."""
PIECE_ROWS = 1 << 16
CALIBRATION_ROWS = 1 << 18
TASKS = 2

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Knobs:
    """What to simulate.

    Attributes:
        rows: of the file; users and items become fewer with them, down to a twentieth for items.
        seed: of everything.
        relatedness: correlation of the causes of the two labels, 0 to 1.
        structure: False makes the labels independent of every input, at the same rates.
    """

    rows: int
    seed: int
    relatedness: float
    structure: bool


@dataclass(frozen=True, kw_only=True)
class World:
    """Who there is; tables of a few values per item are its only memory."""

    dataset: Unpublished
    knobs: Knobs

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many values each field can take."""
        share = min(1.0, self.knobs.rows / self.dataset.rows)
        fewer = {"user": max(100, round(self.dataset.users * share)), self.dataset.item: self._items(share)}
        return {**self.dataset.sizes, **fewer}

    def _items(self, share: float) -> int:
        return max(200, round(self.dataset.items * max(share, 0.05)))

    def rows(self, first: int, count: int) -> dict[str, Integers]:
        """Inputs of the rows ``first``, ``first + 1``, ... of a piece, by field: int64 ``[R]`` each."""
        random = np.random.Generator(np.random.PCG64([self.knobs.seed, 1, first]))
        user, item = (
            np.floor(self.sizes[name] * random.random(count) ** STEEPNESS).astype(np.int64)
            for name in ("user", self.dataset.item)
        )
        return {
            "user": user,
            **{name: self._fact(name, user) for name in PROFILE},
            self.dataset.item: item,
            **{name: self._fact(name, item) for name in OFFER},
        }

    def score(self, inputs: Mapping[str, Integers]) -> Floats:
        """Log-odds before scaling: float64 ``[R, TASKS]``."""
        values = {**inputs, "item": inputs[self.dataset.item]}
        main = sum(MAIN[name] * self._factors(name)[values[name], :, 0] for name in MAIN)
        wish, offer = self._factors("segment")[inputs["segment"]], self._factors("category")[inputs["category"]]
        return main + (wish * offer).sum(axis=2) / np.sqrt(RANK)

    def _fact(self, name: str, number: Integers) -> Integers:
        purpose = sum(byte << at for at, byte in enumerate(name.encode()))
        draw = splitmix64(number.astype(np.uint64), self.knobs.seed + purpose)
        return (draw % np.uint64(self.dataset.sizes[name])).astype(np.int64)

    def _factors(self, name: str) -> Floats:
        """Float64 ``[values, TASKS, RANK]``: the first of them is also what a value does by itself."""
        return self._tables[name]

    @cached_property
    def _tables(self) -> dict[str, Floats]:
        random = np.random.Generator(np.random.PCG64([self.knobs.seed, 0]))
        shared, own = np.sqrt(self.knobs.relatedness), np.sqrt(1 - self.knobs.relatedness)
        sizes = {**self.sizes, "item": self.sizes[self.dataset.item]}
        tables = {}
        for name in MAIN:
            drawn = random.standard_normal((sizes[name], 1 + TASKS, RANK))
            tables[name] = shared * drawn[:, :1] + own * drawn[:, 1:]
        return tables


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """How likely labels are: mean and deviation of the scores, and an intercept per label."""

    mean: Floats
    deviation: Floats
    intercepts: Floats
    chained: bool
    structure: bool

    def probabilities(self, score: Floats) -> Floats:
        """Of the labels, float64 ``[R, TASKS]``."""
        chance = sigmoid(self.structure * SPREAD * (score - self.mean) / self.deviation + self.intercepts)
        return np.stack([chance[:, 0], chance[:, 1] * (chance[:, 0] if self.chained else 1)], axis=1)


def simulate(folder: Path, dataset: Unpublished, knobs: Knobs) -> None:
    """Write the file, its truth (the first row belongs to the header and is NaN), and ``simulated.json``."""
    _check(dataset, knobs)
    world = World(dataset=dataset, knobs=knobs)
    law = calibrated(world)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / dataset.files[0].name
    truth = np.lib.format.open_memmap(
        path.with_name(path.name + ".truth.npy"), mode="w+", dtype=np.float32, shape=(1 + knobs.rows, TASKS)
    )
    truth[0] = np.nan
    with path.open("wb") as file:
        file.write(",".join([*dataset.sizes, *dataset.labels]).encode() + b"\n")
        for first in range(0, knobs.rows, PIECE_ROWS):
            inputs = world.rows(first, min(PIECE_ROWS, knobs.rows - first))
            chance = law.probabilities(world.score(inputs))
            file.write(_lines(inputs, _draw(chance, knobs.seed, first, dataset.chained)))
            truth[1 + first : 1 + first + len(chance)] = chance
    truth.flush()
    marker = {"name": dataset.name, "version": dataset.simulator_version, "knobs": asdict(knobs), "note": dataset.where}
    (folder / "simulated.json").write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def calibrated(world: World) -> Law:
    """The law under which the data set's rates hold, fitted to the first rows (all, where they are few)."""
    pieces = range(0, min(CALIBRATION_ROWS, world.knobs.rows), PIECE_ROWS)
    score = np.concatenate(
        [world.score(world.rows(first, min(PIECE_ROWS, world.knobs.rows - first))) for first in pieces]
    )
    dataset, structure = world.dataset, world.knobs.structure
    mean, deviation = score.mean(axis=0), score.std(axis=0)
    scaled = structure * SPREAD * (score - mean) / deviation
    first = intercept(scaled[:, 0], dataset.rates[0])
    before = sigmoid(scaled[:, 0] + first) if dataset.chained else np.ones(len(score))
    second = intercept(scaled[:, 1], dataset.rates[1] / before.mean(), before)
    intercepts = np.array([first, second])
    return Law(mean=mean, deviation=deviation, intercepts=intercepts, chained=dataset.chained, structure=structure)


def _check(dataset: Unpublished, knobs: Knobs) -> None:
    for knob, low, high in (("rows", 1000, dataset.rows), ("seed", 0, 2**31), ("relatedness", 0, 1)):
        if not low <= (value := getattr(knobs, knob)) <= high:
            raise ValueError(f"{dataset.name} simulator: {knob} is {value}; allowed: {low} to {high}")


def _draw(chance: Floats, seed: int, first: int, chained: bool) -> npt.NDArray[np.int8]:
    """Labels ``[R, TASKS]`` with these probabilities; chained, the second needs the first."""
    uniform = np.random.Generator(np.random.PCG64([seed, 2, first])).random(chance.shape)
    after = chance[:, 1] / chance[:, 0] if chained else chance[:, 1]
    one = uniform[:, 0] < chance[:, 0]
    two = (uniform[:, 1] < after) & (one | (not chained))
    return np.stack([one, two], axis=1).astype(np.int8)


def _lines(inputs: Mapping[str, Integers], labels: npt.NDArray[np.int8]) -> bytes:
    cells = [pa.array(column).cast(pa.string()) for column in (*inputs.values(), *labels.T.copy())]
    lines = pc.call_function("binary_join_element_wise", [*cells, ","])
    return "\n".join([*lines.to_pylist(), ""]).encode()
