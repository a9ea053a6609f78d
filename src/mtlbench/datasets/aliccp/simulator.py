"""Writes Ali-CCP's four files, byte for byte as published, from a planted `World`, piece by piece in flat memory.

Labels: a click has probability ``sigmoid(SPREAD * s + b)``, a conversion after a click
``sigmoid(SPREAD * (relatedness * s + sqrt(1 - relatedness**2) * t) + c)``; the scores s and t have mean 0 and standard
deviation 1 and are independent, so `relatedness` is the correlation of the two log-odds. b and c hit the rates.

Departure from the published files: behaviour lists are shorter by default (40 triples per common row against 518), the
cross and history ids are the matched entry's number within the field's own range, conversions without a click occur
only on demand, and no field depends on time.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.aliccp.population import KEYS_PER_PIECE, PUBLISHED_ROWS, SPREAD, TEST, TRAIN, World
from mtlbench.datasets.aliccp.writer import common_lines, skeleton_lines
from mtlbench.datasets.calibrate import intercept, sigmoid
from mtlbench.ingest.workers import cores, parallel_map

Rates = Literal["auto", "official", "demo"]
CLICK_AND_CONVERSION = {"official": (1_644_256 / PUBLISHED_ROWS, 8_802 / 1_644_256), "demo": (0.2, 0.2)}
"""Rate of clicks, and of conversions among the clicks. Official: counts of the published training file."""
OFFICIAL_FROM = 5_000_000
"""Rows from which ``auto`` takes the official rates: fewer hold too few conversions (2 per 10,000) to learn from."""
TRIPLES, PAST_ITEMS, SATURATION = 40.0, 12.0, 0.83
"""Twelve past items give 40 distinct categories, shops, brands and nodes on average, and further ones ever fewer: the
number grows as this power of the past items (measured from 20 to 300 triples; holds within a tenth)."""
CALIBRATION_PIECES = 16
MANY_PIECES = 32
"""Pieces (a million rows) from which several processes are worth their start."""

Floats = npt.NDArray[np.float64]
Components = Mapping[str, npt.NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Knobs:
    """What to simulate.

    Attributes:
        rows, test_rows: lines of the two skeleton files.
        seed: of everything.
        rates: ``official`` (3.9 % clicks, 0.54 % of them convert), ``demo`` (20 %, 20 %), or ``auto``, by ``rows``.
        relatedness: correlation of the two tasks' log-odds, 0 to 1.
        structure: False makes the labels independent of every input, at the same rates.
        history: mean number of behaviour triples of a common row, within a tenth (published: about 510).
        behaviour, shift: see `World`.
        contradictions: share of the impressions without a click that are marked as converted all the same.
    """

    rows: int
    test_rows: int
    seed: int
    rates: Rates
    relatedness: float
    structure: bool
    history: float
    contradictions: float
    behaviour: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if self.rates not in get_args(Rates):
            raise ValueError(f"aliccp simulator: rates is {self.rates!r}; allowed: {', '.join(get_args(Rates))}")
        for knob, low, high in (
            ("rows", 100, PUBLISHED_ROWS),
            ("test_rows", 100, PUBLISHED_ROWS),
            ("seed", 0, 2**63),
            ("relatedness", 0, 1),
            ("history", 5, 2000),
            ("contradictions", 0, 1),
            ("behaviour", 0, 0.8),
            ("shift", 0, 1),
        ):
            if not low <= (value := getattr(self, knob)) <= high:
                raise ValueError(f"aliccp simulator: {knob} is {value}; allowed: {low} to {high}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """How labels come about: shares, means and deviations of the components of the scores, and the intercepts."""

    shares: dict[str, float]
    scales: dict[str, tuple[Floats, Floats]]
    relatedness: float
    structure: bool
    intercepts: tuple[float, float] = (0.0, 0.0)

    def log_odds(self, components: Components) -> tuple[Floats, Floats]:
        """Of a click, and of a conversion after a click; float64 ``[R]`` each."""
        score = np.zeros_like(components["main"])
        if self.structure:
            for name, share in self.shares.items():
                mean, deviation = self.scales[name]
                # Few users may share one scenario, which then has no effect.
                score += SPREAD * np.sqrt(share) * (components[name] - mean) / np.where(deviation > 0, deviation, 1)
        click, own = score.T
        conversion = self.relatedness * click + np.sqrt(1 - self.relatedness**2) * own
        return click + self.intercepts[0], conversion + self.intercepts[1]


def simulate(folder: Path, knobs: Knobs, *, version: int) -> None:
    """Write the four files, the true probabilities beside the labelled ones, and ``simulated.json``.

    The result is a function of the knobs alone. The mean probabilities of the training part are the rates, exactly up
    to half a million rows and within 5 % of themselves beyond; the labels add the noise of their draw.

    Args:
        folder: is made if it does not exist.
        knobs: what to write.
        version: of the simulator, written down.
    """
    rates = knobs.rates
    if rates == "auto":
        rates = "official" if knobs.rows >= OFFICIAL_FROM else "demo"
    world = World(
        rows=knobs.rows,
        seed=knobs.seed,
        behaviour=knobs.behaviour,
        shift=knobs.shift,
        past_items=PAST_ITEMS * (knobs.history / TRIPLES) ** (1 / SATURATION),
    )
    law = calibrated(world, CLICK_AND_CONVERSION[rates], knobs.relatedness, knobs.structure)
    folder.mkdir(parents=True, exist_ok=True)
    for part, name, rows in ((TRAIN, "train", knobs.rows), (TEST, "test", knobs.test_rows)):
        _write_part(folder, world, law, part, name, rows, knobs.contradictions)
    marker = {"name": "aliccp", "version": version, "knobs": asdict(knobs)}
    (folder / "simulated.json").write_text(json.dumps(marker, indent=2) + "\n")


def calibrated(world: World, rates: tuple[float, float], relatedness: float, structure: bool) -> Law:
    """The law under which training rows have these rates, and scores of mean 0 and deviation 1.

    It is fitted to all of them where they are few, else to pieces spread evenly over them.
    """
    sizes = world.keys_of(TRAIN, world.rows)
    firsts = range(0, sizes.size, KEYS_PER_PIECE)
    firsts = firsts[:: max(1, len(firsts) // CALIBRATION_PIECES)]
    sample = [world.piece(TRAIN, first, sizes[first : first + KEYS_PER_PIECE]).components for first in firsts]
    components = {name: np.concatenate([piece[name] for piece in sample]) for name in world.shares}
    scales = {name: (part.mean(axis=0), part.std(axis=0)) for name, part in components.items()}
    law = Law(shares=world.shares, scales=scales, relatedness=relatedness, structure=structure)
    click, conversion = law.log_odds(components)
    first = intercept(click, rates[0], np.ones_like(click))
    second = intercept(conversion, rates[1], sigmoid(click + first))
    return replace(law, intercepts=(first, second))


def _write_part(folder: Path, world: World, law: Law, part: int, name: str, rows: int, contradictions: float) -> None:
    skeleton = folder / f"sample_skeleton_{name}.csv"
    truth = np.lib.format.open_memmap(
        skeleton.with_name(skeleton.name + ".truth.npy"), mode="w+", dtype=np.float32, shape=(rows, 2)
    )
    sizes = world.keys_of(part, rows)
    after = np.concatenate(([0], np.cumsum(sizes)))
    jobs = [
        (part, first, sizes[first : first + KEYS_PER_PIECE], int(after[first]))
        for first in range(0, sizes.size, KEYS_PER_PIECE)
    ]
    processes = cores() if len(jobs) >= MANY_PIECES else 1
    with (
        skeleton.open("wb") as impressions,
        (folder / f"common_features_{name}.csv").open("wb") as common,
        closing(parallel_map(_Writer(world, law, contradictions), jobs, processes, f"simulating {name}")) as results,
    ):
        for (_, _, _, begin), (rows_text, common_text, chance) in zip(jobs, results, strict=True):
            impressions.write(rows_text)
            common.write(common_text)
            truth[begin : begin + len(chance)] = chance
    truth.flush()


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes a piece: a part, its first key, the impressions of each key, and the number of the first impression."""

    world: World
    law: Law
    contradictions: float

    def __call__(self, job: tuple[int, int, npt.NDArray[np.integer], int]) -> tuple[bytes, bytes, Floats]:
        """Lines of both files, and the true probabilities ``[R, 2]`` of a click and of a conversion."""
        part, first, sizes, begin = job
        piece = self.world.piece(part, first, sizes)
        random = np.random.Generator(np.random.PCG64([self.world.seed, part, first, 1]))
        click_chance, after_click = (sigmoid(odds) for odds in self.law.log_odds(piece.components))
        click = random.random(click_chance.size) < click_chance
        conversion = random.random(click.size) < np.where(click, after_click, self.contradictions)
        rows = skeleton_lines(self.world, piece, click, conversion, begin, random)
        common = common_lines(self.world, piece, random)
        return rows, common, np.stack([click_chance, click_chance * after_click], axis=1)
