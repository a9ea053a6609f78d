"""Writes a stand-in for unpublished data: one CSV file of users, items and two labels, with a planted structure.

A user's segment, city and age, and an item's category and owner, are functions of their numbers. The log-odds of a
label are a sum of main effects of segment, age, category, owner and item, and of an interaction of the segment with the
category.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mtlbench.datasets.draws import Integers, RankedValues, hashed_uniform
from mtlbench.datasets.planted import Components, Effects, LabelModel, Term, fit_label_model
from mtlbench.datasets.simulated_files import check_settings, text_lines, truth_file, write_mark
from mtlbench.datasets.unpublished.layout import OFFER, PROFILE, Statistics

SKEW = 2.0
"""Of the popularity of users and items."""
TERMS = {
    "main": Term({"segment": 0.5, "age": 0.4, "category": 0.6, "owner": 0.3, "item": 0.1}),
    "match": Term({"segment": 1.0}, {"category": 1.0}),
}
SHARES = {"main": 0.46, "match": 0.54}
PIECE_ROWS = 1 << 16
CALIBRATION_ROWS = 1 << 18


@dataclass(frozen=True, kw_only=True)
class UnpublishedPopulation:
    """Users and items, their number fitted to the rows, and how labels depend on them.

    Attributes:
        published: statistics of the data set.
        rows: of the file; users and items shrink in proportion, items at most to a twentieth.
        seed: of everything.
        relatedness: correlation of the two labels' log-odds, 0 to 1.
        structure: False makes the labels independent of every input, at the same rates.
    """

    published: Statistics
    rows: int
    seed: int
    relatedness: float
    structure: bool

    def __post_init__(self) -> None:
        published = self.published
        check_settings(published.name, self, rows=(1000, published.rows), seed=(0, 2**31), relatedness=(0, 1))

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many values each field can take, in the order of the file."""
        published = self.published
        share = min(1.0, self.rows / published.rows)
        users, items = max(100, round(published.users * share)), max(200, round(published.items * max(share, 0.05)))
        return {"user": users, **PROFILE, published.item: items, **OFFER}

    def inputs(self, first: int, count: int) -> dict[str, Integers]:
        """Inputs of the rows ``first``, ``first + 1``, ... of a piece, by field: int64 ``[R]`` each."""
        random = np.random.default_rng([self.seed, 1, first])
        inputs: dict[str, Integers] = {}
        for owner, facts in (("user", PROFILE), (self.published.item, OFFER)):
            number = inputs[owner] = RankedValues(self.sizes[owner], SKEW).at(random.random(count))
            for name, size in facts.items():
                inputs[name] = RankedValues(size).at(hashed_uniform(self.seed, name, number))
        return inputs

    def components(self, inputs: Mapping[str, Integers]) -> Components:
        return self._effects.components(TERMS, {**inputs, "item": inputs[self.published.item]})

    @cached_property
    def labels(self) -> LabelModel:
        """The label model, fitted to the first rows (all, if they are few)."""
        published = self.published
        first, second = published.rates
        firsts = range(0, min(CALIBRATION_ROWS, self.rows), PIECE_ROWS)
        return fit_label_model(
            (self.components(self.inputs(first, min(PIECE_ROWS, self.rows - first))) for first in firsts),
            shares=SHARES,
            rates=(first, second / first if published.chained else second),
            ceilings=published.ceilings,
            relatedness=self.relatedness,
            structure=self.structure,
            parents=(None, 0 if published.chained else None),
        )

    @cached_property
    def _effects(self) -> Effects:
        sizes = {**PROFILE, **OFFER, "item": self.sizes[self.published.item]}
        vocabularies = {name: RankedValues(sizes[name], SKEW if name == "item" else 1) for name in TERMS["main"].left}
        return Effects(seed=self.seed, tasks=2, vocabularies=vocabularies)


def simulate(folder: Path, population: UnpublishedPopulation, *, version: int, note: str) -> None:
    """Write the file, its true probabilities (those of the header are NaN), and ``simulated.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    published = population.published
    path = folder / f"{published.name}.csv"
    with path.open("wb") as file, truth_file(path, 2, header=True) as write_truth:
        file.write(",".join([*population.sizes, *published.labels]).encode() + b"\n")
        for first in range(0, population.rows, PIECE_ROWS):
            inputs = population.inputs(first, min(PIECE_ROWS, population.rows - first))
            random = np.random.default_rng([population.seed, 2, first])
            drawn, chances = population.labels.draw(population.components(inputs), random)
            file.write(text_lines([*inputs.values(), *drawn.T.astype(np.int8)]))
            write_truth(chances)
    write_mark(folder, published.name, version, population, note=note)
