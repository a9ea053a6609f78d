"""Writes the publisher's four files for a synthetic country, some pages at a time in constant memory.

A page has ids and numbers of its user and query, and so does each product. The log-odds of a click, and of a conversion
after a click, are a sum of main effects of all of them, and of an interaction of three ids of the page with all ids and
numbers of the product; see `mtlbench.datasets.planted`.

Departure from the published files: ids are drawn from about as many values as the rows at hand show, numbers are
independent of each other, and nothing depends on time or on the country. How many products a page shows, and how many
are clicked and bought, is not published: ten, and the rates of `CLICK_AND_CONVERSION`, are assumptions.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.aliexpress.layout import (
    ITEM_COLUMNS,
    ITEM_IDS,
    ITEM_NUMBERS,
    LABEL,
    PAGE_COLUMNS,
    PAGE_IDS,
    PAGE_NUMBERS,
    SEARCH_ID,
)
from mtlbench.datasets.draws import TEST, TRAIN, Integers, RankedValues, group_sizes
from mtlbench.datasets.planted import Components, Effects, LabelModel, Term, evenly, fit_label_model
from mtlbench.datasets.simulated_files import check_settings, text_lines, truth_file, write_mark

CLICK_AND_CONVERSION = {"sparse": (0.02, 0.04), "demo": (0.2, 0.2)}
"""Rate of clicks, and of conversions among the clicks."""
SPARSE_FROM = 5_000_000
"""Rows from which ``auto`` takes the sparse rates: fewer hold too few conversions (8 per 10,000) to learn from."""
MOST_ROWS = 200_000_000

SIZES = (1, 4, 7, 2, 2, 5, 60, 10, 8, *[2] * 7)
VOCABULARIES = {name: RankedValues(size, 2.0) for name, size in zip((*PAGE_IDS, *ITEM_IDS), SIZES, strict=True)}
ALWAYS_ZERO = ("numerical_58", "numerical_59", "numerical_60")
"""Numbers that are 0 in all rows at hand."""
ZERO = 0.25
"""Share of the other numbers that are 0."""
TERMS = {
    "main": Term(dict.fromkeys((*PAGE_IDS, *PAGE_NUMBERS, *ITEM_IDS, *ITEM_NUMBERS), 1.0)),
    "match": Term(
        dict.fromkeys(("categorical_3", "categorical_7", "categorical_9"), 1.0),
        dict.fromkeys((*ITEM_IDS, *ITEM_NUMBERS), 1.0),
    ),
}
SHARES = {"main": 0.6, "match": 0.4}
CEILINGS = (0.861, 0.861)
"""AUC of the true probabilities of a click, and of a conversion after a click; an assumption."""
ROWS_PER_PAGE = 10.0
PAGES_PER_PIECE = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages:
    """Consecutive pages with their products.

    Attributes:
        first: number of the first page.
        page: ids and numbers of the pages by name, ``[P]`` each.
        item: ids and numbers of the products by name, ``[R]`` each.
        row_page: int64 ``[R]``, which of the pages shows each product.
    """

    first: int
    page: dict[str, npt.NDArray[Any]]
    item: dict[str, npt.NDArray[Any]]
    row_page: Integers


@dataclass(frozen=True, kw_only=True)
class AliExpressPopulation:
    """Pages and products, and how labels depend on them.

    Attributes:
        rows, test_rows: lines of the two item files.
        seed: of everything.
        rates: ``sparse`` (2 % clicks, 4 % of them convert), ``demo`` (20 %, 20 %), or ``auto``, by ``rows``.
        relatedness: correlation of the two tasks' log-odds, 0 to 1.
        structure: False makes the labels independent of every input, at the same rates.
    """

    rows: int
    test_rows: int
    seed: int
    rates: Literal["auto", "sparse", "demo"]
    relatedness: float
    structure: bool

    def __post_init__(self) -> None:
        rows = {"rows": (100, MOST_ROWS), "test_rows": (1, MOST_ROWS)}
        rates = ("auto", *CLICK_AND_CONVERSION)
        check_settings("aliexpress", self, **rows, seed=(0, 2**63), rates=rates, relatedness=(0, 1))

    def pieces(self, part: int) -> list[tuple[int, int, Integers]]:
        """For each piece: part, first page, and products per page."""
        random = np.random.default_rng([self.seed, part, 1 << 33])
        sizes = group_sizes(random, self.rows if part == TRAIN else self.test_rows, ROWS_PER_PAGE)
        firsts = range(0, sizes.size, PAGES_PER_PIECE)
        return [(part, first, sizes[first : first + PAGES_PER_PIECE]) for first in firsts]

    def piece(self, part: int, first: int, sizes: Integers) -> Pages:
        """Pages ``first``, ``first + 1``, ... of a part, with these numbers of products."""
        random = np.random.default_rng([self.seed, part, first])
        row_page = random.permutation(np.repeat(np.arange(sizes.size), sizes))
        return Pages(
            first=first,
            page=_values(random, sizes.size, PAGE_IDS, PAGE_NUMBERS),
            item=_values(random, row_page.size, ITEM_IDS, ITEM_NUMBERS),
            row_page=row_page,
        )

    def components(self, piece: Pages) -> Components:
        page = {name: values[piece.row_page] for name, values in piece.page.items()}
        return self._effects.components(TERMS, page | piece.item)

    @cached_property
    def labels(self) -> LabelModel:
        """Fitted to all training rows if they are few, otherwise to evenly spread pieces of them."""
        rates = self.rates
        if rates == "auto":
            rates = "sparse" if self.rows >= SPARSE_FROM else "demo"
        return fit_label_model(
            (self.components(self.piece(*which)) for which in evenly(self.pieces(TRAIN))),
            shares=SHARES,
            rates=CLICK_AND_CONVERSION[rates],
            ceilings=CEILINGS,
            relatedness=self.relatedness,
            structure=self.structure,
            parents=(None, 0),
        )

    @cached_property
    def _effects(self) -> Effects:
        numbers = (*PAGE_NUMBERS, *ITEM_NUMBERS)
        return Effects(seed=self.seed, tasks=2, vocabularies=VOCABULARIES, numbers=numbers, rank=2)


def simulate(folder: Path, country: str, population: AliExpressPopulation, *, version: int) -> None:
    """Write the four files, the true probabilities of the labelled ones, and ``simulated.json``.

    The result depends only on the population; the country is in the names of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code = country.lower()
    for part, name in ((TRAIN, "train"), (TEST, "test")):
        path = folder / f"{code}_item_{name}.csv"
        pages = folder / f"{code}_user_{name}.csv"
        with path.open("wb") as item_file, pages.open("wb") as page_file, truth_file(path, 2) as write_truth:
            for which in population.pieces(part):
                piece = population.piece(*which)
                random = np.random.default_rng([population.seed, part, piece.first, 1])
                labels, chances = population.labels.draw(population.components(piece), random)
                page = {SEARCH_ID: piece.first + np.arange(len(which[2])), **piece.page}
                label = labels.sum(axis=1)  # 1: clicked, 2: bought as well
                item = {SEARCH_ID: piece.first + piece.row_page, **piece.item, LABEL: label}
                page_file.write(text_lines(page[column] for column in PAGE_COLUMNS))
                item_file.write(text_lines(item[column] for column in ITEM_COLUMNS))
                write_truth(chances)
    write_mark(folder, "aliexpress", version, population, country=country)


def _values(
    random: np.random.Generator, count: int, ids: tuple[str, ...], numbers: tuple[str, ...]
) -> dict[str, npt.NDArray[Any]]:
    values: dict[str, npt.NDArray[Any]] = {}
    for name in ids:
        values[name] = VOCABULARIES[name].at(random.random(count))
    for name in numbers:
        zero = (random.random(count) < ZERO) | (name in ALWAYS_ZERO)
        values[name] = np.where(zero, 0.0, np.round(random.random(count), 6))
    return values
