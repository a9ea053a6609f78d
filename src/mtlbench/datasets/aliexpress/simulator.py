"""Writes the publisher's four files for a made-up country, piece by piece in flat memory, from a planted structure.

A page has ids and numbers of its user and query, a shown product has its own. Either task's score is a sum of main
effects of all of them, and of a match: the page's taste (a sum of factors of three ids) times the product's offer (a
linear map of its numbers and ids), `RANK` factors per task::

    P(click) = sigmoid(SPREAD * s + b)
    P(conversion | click) = sigmoid(SPREAD * (relatedness * s + sqrt(1 - relatedness**2) * t) + c)

The scores s and t have mean 0 and deviation 1 and are uncorrelated, so `relatedness` is the correlation of the two
log-odds; b and c hit the rates.

Departure from the published files: ids are drawn from about as many values as the rows at hand show, numbers are
independent of each other, and nothing depends on time or on the country. How many products a page shows, and how many
are clicked and bought, is published nowhere: ten, and the rates of `CLICK_AND_CONVERSION`, are assumptions.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

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
from mtlbench.datasets.calibrate import intercept, sigmoid

Rates = Literal["auto", "sparse", "demo"]
CLICK_AND_CONVERSION = {"sparse": (0.02, 0.04), "demo": (0.2, 0.2)}
"""Rate of clicks, and of conversions among the clicks."""
SPARSE_FROM = 5_000_000
"""Rows from which ``auto`` takes the sparse rates: fewer hold too few conversions (8 per 10,000) to learn from."""
MOST_ROWS = 200_000_000

TASKS, RANK = 2, 2
SIZES = dict(zip((*PAGE_IDS, *ITEM_IDS), (1, 4, 7, 2, 2, 5, 60, 10, 8, *[2] * 7), strict=True))
"""Values of each id; a rank is ``floor(size * u**2)`` for a uniform u, so the first tenth has a third of the rows."""
TASTE = ("categorical_3", "categorical_7", "categorical_9")
"""Ids of a page whose factors meet those of a product."""
ALWAYS_ZERO = ("numerical_58", "numerical_59", "numerical_60")
"""Numbers that are 0 in all rows at hand."""
ZERO = 0.25
"""Share of the other numbers that are 0."""
SHARES = {"main": 0.6, "match": 0.4}
"""Shares of the variance of a task's score."""
SPREAD = 1.9
"""Standard deviation of a task's log-odds: a best possible AUC of about 0.83 for clicks at a rate of 0.2."""
ROWS_PER_PAGE = 10.0
PAGES_PER_PIECE = 1024
CALIBRATION_PIECES = 16
TRAIN, TEST = 0, 1

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Knobs:
    """What to simulate.

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
    rates: Rates
    relatedness: float
    structure: bool

    def __post_init__(self) -> None:
        if self.rates not in get_args(Rates):
            raise ValueError(f"aliexpress simulator: rates is {self.rates!r}; allowed: {', '.join(get_args(Rates))}")
        for knob, low, high in (
            ("rows", 100, MOST_ROWS),
            ("test_rows", 1, MOST_ROWS),
            ("seed", 0, 2**63),
            ("relatedness", 0, 1),
        ):
            if not low <= (value := getattr(self, knob)) <= high:
                raise ValueError(f"aliexpress simulator: {knob} is {value}; allowed: {low} to {high}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Consecutive pages with their products.

    Attributes:
        page: ids and numbers of the pages by name, ``[P]`` each.
        item: ids and numbers of the products by name, ``[R]`` each.
        row_page: int64 ``[R]``, which of the pages shows each product.
    """

    page: dict[str, npt.NDArray[Any]]
    item: dict[str, npt.NDArray[Any]]
    row_page: Integers


def simulate(folder: Path, country: str, knobs: Knobs, *, version: int) -> None:
    """Write the four files, the true probabilities beside the labelled ones, and ``simulated.json``.

    The result is a function of the knobs alone.

    Args:
        folder: is made if it does not exist.
        country: whose name the files bear.
        knobs: what to write.
        version: of the simulator, written down.
    """
    rates = knobs.rates
    if rates == "auto":
        rates = "sparse" if knobs.rows >= SPARSE_FROM else "demo"
    law = Law(knobs=knobs, rates=CLICK_AND_CONVERSION[rates])
    folder.mkdir(parents=True, exist_ok=True)
    code = country.lower()
    for part, name, rows in ((TRAIN, "train", knobs.rows), (TEST, "test", knobs.test_rows)):
        items = folder / f"{code}_item_{name}.csv"
        truth = np.lib.format.open_memmap(
            items.with_name(items.name + ".truth.npy"), mode="w+", dtype=np.float32, shape=(rows, TASKS)
        )
        sizes = page_sizes(knobs.seed, part, rows)
        begin = 0
        with items.open("wb") as item_file, (folder / f"{code}_user_{name}.csv").open("wb") as page_file:
            for first in range(0, sizes.size, PAGES_PER_PIECE):
                chances = _write_piece(page_file, item_file, law, part, first, sizes[first : first + PAGES_PER_PIECE])
                truth[begin : begin + len(chances)] = chances
                begin += len(chances)
        truth.flush()
    marker = {"name": "aliexpress", "country": country, "version": version, "knobs": asdict(knobs)}
    (folder / "simulated.json").write_text(json.dumps(marker, indent=2) + "\n")


@dataclass(frozen=True, kw_only=True)
class Law:
    """How labels come about.

    Attributes:
        knobs: what to simulate.
        rates: of clicks, and of conversions among them.
    """

    knobs: Knobs
    rates: tuple[float, float]

    def chances(self, piece: Piece) -> tuple[Floats, Floats]:
        """Probability of a click, and of a conversion after a click; float64 ``[R]`` each."""
        click, conversion = self._log_odds(self._components(piece))
        first, second = self._intercepts
        return sigmoid(click + first), sigmoid(conversion + second)

    def _log_odds(self, components: dict[str, Floats]) -> tuple[Floats, Floats]:
        spread = SPREAD if self.knobs.structure else 0.0
        click, own = spread * (self._scores(components) @ self._standard).T
        relatedness = self.knobs.relatedness
        return click, relatedness * click + np.sqrt(1 - relatedness**2) * own

    def _scores(self, components: dict[str, Floats]) -> Floats:
        """Float64 ``[R, TASKS]``: mean 0, deviations near 1."""
        parts = [
            np.sqrt(share) * (components[name] - self._moments[name][0]) / self._moments[name][1]
            for name, share in SHARES.items()
        ]
        return np.sum(parts, axis=0)

    def _components(self, piece: Piece) -> dict[str, Floats]:
        """Parts of the two scores, not yet scaled: float64 ``[R, TASKS]`` each."""
        main = self._sum("main", piece.page)[piece.row_page] + self._sum("main", piece.item)
        taste = self._sum("taste", {name: piece.page[name] for name in TASTE})[piece.row_page]
        return {"main": main[..., 0], "match": (taste * self._sum("offer", piece.item)).sum(axis=2)}

    def _sum(self, what: str, values: dict[str, npt.NDArray[Any]]) -> Floats:
        """Effects of all ids and numbers, summed: float64 ``[N, TASKS, RANK]``."""
        effects = [
            self._effects[what, name][value] if name in SIZES else value[:, None, None] * self._effects[what, name]
            for name, value in values.items()
        ]
        return np.sum(effects, axis=0)

    @cached_property
    def _effects(self) -> dict[tuple[str, str], Floats]:
        """``[values, TASKS, RANK]`` of an id, ``[TASKS, RANK]`` of a number, by what they go into and by name."""
        random = np.random.Generator(np.random.PCG64([self.knobs.seed, 1 << 32]))
        effects: dict[tuple[str, str], Floats] = {}
        for what in ("main", "taste", "offer"):
            for name, size in SIZES.items():
                effects[what, name] = random.standard_normal((size, TASKS, RANK))
                effects[what, name] -= np.einsum("v,vtr->tr", _shares(size), effects[what, name])
            for name in (*PAGE_NUMBERS, *ITEM_NUMBERS):
                effects[what, name] = random.standard_normal((TASKS, RANK))
        return effects

    @cached_property
    def _sample(self) -> dict[str, Floats]:
        """Components of all training rows where they are few, else of pieces spread evenly over them."""
        sizes = page_sizes(self.knobs.seed, TRAIN, self.knobs.rows)
        firsts = range(0, sizes.size, PAGES_PER_PIECE)
        firsts = firsts[:: max(1, len(firsts) // CALIBRATION_PIECES)]
        parts = [
            self._components(draw(self.knobs.seed, TRAIN, first, sizes[first : first + PAGES_PER_PIECE]))
            for first in firsts
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in SHARES}

    @cached_property
    def _moments(self) -> dict[str, tuple[Floats, Floats]]:
        return {name: (part.mean(axis=0), part.std(axis=0)) for name, part in self._sample.items()}

    @cached_property
    def _standard(self) -> Floats:
        """Makes the deviations 1 and the two scores uncorrelated, the first by its length alone: ``[TASKS, TASKS]``."""
        return np.linalg.inv(np.linalg.cholesky(np.cov(self._scores(self._sample).T))).T

    @cached_property
    def _intercepts(self) -> tuple[float, float]:
        click, conversion = self._log_odds(self._sample)
        first = intercept(click, self.rates[0], np.ones_like(click))
        return first, intercept(conversion, self.rates[1], sigmoid(click + first))


def page_sizes(seed: int, part: int, rows: int) -> Integers:
    """Products on each page of a part, which sum to ``rows``: geometric, `ROWS_PER_PAGE` on average."""
    random = np.random.Generator(np.random.PCG64([seed, part, 1 << 33]))
    sizes = random.geometric(1 / ROWS_PER_PAGE, int(rows / ROWS_PER_PAGE * 1.5) + 100)
    after = np.cumsum(sizes)
    last = int(np.searchsorted(after, rows))
    assert last < sizes.size, "more rows than pages could hold"
    sizes[last] -= after[last] - rows
    return sizes[: last + 1]


def draw(seed: int, part: int, first: int, sizes: Integers) -> Piece:
    """Pages ``first``, ``first + 1``, ... of a part, which show so many products each."""
    random = np.random.Generator(np.random.PCG64([seed, part, first]))
    row_page = random.permutation(np.repeat(np.arange(sizes.size), sizes))
    return Piece(
        page=_values(random, sizes.size, PAGE_IDS, PAGE_NUMBERS),
        item=_values(random, row_page.size, ITEM_IDS, ITEM_NUMBERS),
        row_page=row_page,
    )


def _values(
    random: np.random.Generator, count: int, ids: tuple[str, ...], numbers: tuple[str, ...]
) -> dict[str, npt.NDArray[Any]]:
    values: dict[str, npt.NDArray[Any]] = {}
    for name in ids:
        values[name] = np.floor(SIZES[name] * random.random(count) ** 2).astype(np.int64)
    for name in numbers:
        zero = (random.random(count) < ZERO) | (name in ALWAYS_ZERO)
        values[name] = np.where(zero, 0.0, np.round(random.random(count), 6))
    return values


def _shares(size: int) -> Floats:
    """How often each value of an id is drawn."""
    return np.diff(np.sqrt(np.arange(size + 1) / size))


def _write_piece(pages: BinaryIO, items: BinaryIO, law: Law, part: int, first: int, sizes: Integers) -> Floats:
    """Draw the labels, write the lines, and give the true probabilities ``[R, TASKS]`` of a click and a conversion."""
    piece = draw(law.knobs.seed, part, first, sizes)
    click_chance, after_click = law.chances(piece)
    random = np.random.Generator(np.random.PCG64([law.knobs.seed, part, first, 1]))
    click = random.random(click_chance.size) < click_chance
    bought = click & (random.random(click.size) < after_click)
    page_values = {SEARCH_ID: first + np.arange(sizes.size), **piece.page}
    item_values = {SEARCH_ID: first + piece.row_page, **piece.item, LABEL: click.astype(np.int8) + bought}
    for file, values, order in ((pages, page_values, PAGE_COLUMNS), (items, item_values, ITEM_COLUMNS)):
        table = pa.table({name: values[name] for name in order})
        csv.write_csv(table, file, csv.WriteOptions(include_header=False, quoting_style="none"))
    return np.stack([click_chance, click_chance * after_click], axis=1)
