"""Writes the two IJCAI-15 files, as published, from a planted `World`, users by users in flat memory.

Labels: a pair is favourited with probability ``sigmoid(SPREAD * s + b)`` and bought with probability
``sigmoid(SPREAD * (relatedness * s + sqrt(1 - relatedness**2) * t) + c)``. In the first window the scores s and t have
mean 0, standard deviation 1 and correlation 0, and b and c give the rates of `RATES`; from window to window pasts grow,
and all of this moves a little. What a pair becomes in one window is part of the past in the next.

``user_log_format1.csv.truth.npy`` beside the log has a row per line (the header is none): the true probabilities of the
pair that the line is of, NaN outside the windows.

Departure from the published files: a user has fewer lines (`history`), the items of a day are as popular as those of
another, age and gender are uniform, and the true label rates of pairs are unknown; see `RATES`.
"""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mtlbench.datasets.calibrate import intercept
from mtlbench.datasets.ijcai15.layout import (
    CART,
    CLICK,
    EVENT,
    FAVOURITE,
    LOG,
    LOG_COLUMNS,
    MISSING,
    MONTH_DAYS,
    PURCHASE,
    USER_COLUMNS,
    USERS,
    Integers,
)
from mtlbench.datasets.ijcai15.population import FIRST, LAST, PUBLISHED_ROWS, SHARES, Crowd, World
from mtlbench.datasets.ijcai15.windows import OUTSIDE, Windows
from mtlbench.ingest.csv import CsvColumn
from mtlbench.ingest.encode import truth_path

RATES = np.array((0.12, 0.09))
"""Of favourites and purchases among pairs, an assumption: 6.4 % and 4.7 % of the log's lines outside the Double 11, at
two lines per pair. (Their entropies sum to 0.67; the models of MSSM, better than chance, have log losses of 0.61.)"""
SPREAD = 1.9
"""Standard deviation of a task's log-odds: a best possible AUC of about 0.84."""
FURTHER_CLICKS = 0.9
"""Clicks on a pair beyond the first, on average."""
NO_CLICK = 0.1
"""Share of favourites and purchases without a click: the published log, a biased sample, has such pairs."""
CARTS = 76_750 / 48_550_713
"""Clicks that put the item into the cart."""
MOST = 0.6
"""Largest chance outside the windows."""
USERS_PER_CROWD = 1024
CALIBRATION_CROWDS = 16

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, slots=True)
class Knobs:
    """What to simulate.

    Attributes:
        rows: samples of all windows.
        seed: of everything.
        relatedness: correlation of the two tasks' log-odds, 0 to 1.
        structure: False makes the labels independent of every input, at the same rates.
        history: pairs of a user before the first window, on average; a pair is two lines.
    """

    rows: int
    seed: int
    relatedness: float
    structure: bool
    history: float

    def __post_init__(self) -> None:
        limits = (("rows", 100, 100 * PUBLISHED_ROWS), ("seed", 0, 2**63), ("relatedness", 0, 1), ("history", 1, 1000))
        for knob, low, high in limits:
            if not low <= (value := getattr(self, knob)) <= high:
                raise ValueError(f"ijcai15 simulator: {knob} is {value}; allowed: {low} to {high}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """How labels come about.

    Attributes:
        scales: mean and deviation of each part of the two sums of which the scores are made.
        mixing: ``[2, 2]``, the scores out of these sums.
        relatedness, structure: as in `Knobs`.
        intercepts: ``[2]``, of the log-odds.
    """

    scales: dict[str, tuple[Floats, Floats]]
    mixing: Floats
    relatedness: float
    structure: bool
    intercepts: Floats

    def sums(self, components: dict[str, Floats]) -> Floats:
        """Sums of the parts by their shares, ``[R, 2]``."""
        scaled = [
            np.sqrt(share) * (components[name] - self.scales[name][0]) / self.scales[name][1]
            for name, share in SHARES.items()
        ]
        return np.sum(scaled, axis=0)

    def log_odds(self, components: dict[str, Floats]) -> Floats:
        """Of a favourite and of a purchase, ``[R, 2]``."""
        favourite, own = SPREAD * self.structure * (self.sums(components) @ self.mixing.T).T
        purchase = self.relatedness * favourite + np.sqrt(1 - self.relatedness**2) * own
        return np.stack([favourite, purchase], axis=1) + self.intercepts


def simulate(folder: Path, knobs: Knobs, windows: Windows, version: int) -> None:
    """Write both files, the truth, and ``simulated.json``: a function of the arguments alone.

    Args:
        folder: is made if it does not exist.
        knobs: what to write.
        windows: in which the samples lie.
        version: of the simulator, written down.
    """
    windows.require(FIRST, LAST)
    world = World(rows=knobs.rows, seed=knobs.seed, history=knobs.history, windows=windows)
    law = calibrated(world, knobs.relatedness, knobs.structure)
    folder.mkdir(parents=True, exist_ok=True)
    pairs = world.pairs_of_users()
    raw_truth = folder / "truth"
    with (
        (folder / LOG).open("wb") as log,
        (folder / USERS).open("wb") as users,
        raw_truth.open("wb") as truth,
    ):
        log.write(_header(LOG_COLUMNS))
        users.write(_header(USER_COLUMNS))
        for first in range(0, len(pairs), USERS_PER_CROWD):
            crowd = world.crowd(first, pairs[first : first + USERS_PER_CROWD])
            events, chance = lived(world, law, crowd)
            shuffled = np.random.default_rng([knobs.seed, 7, first]).random(len(events))
            order = np.argsort(events["user"] + shuffled)
            log.write(_log_lines(events[order], first))
            users.write(_user_lines(crowd))
            chance[order].astype(np.float32).tofile(truth)
    _as_npy(raw_truth, truth_path(folder / LOG))
    facts = {"name": "ijcai15", "version": version, "knobs": asdict(knobs), "windows": asdict(windows)}
    (folder / "simulated.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def calibrated(world: World, relatedness: float, structure: bool) -> Law:
    """The law under which the first window has uncorrelated scores of mean 0 and deviation 1, and rates of `RATES`.

    It is fitted to all users where they are few, else to crowds spread evenly over them.
    """
    pairs = world.pairs_of_users()
    firsts = range(0, len(pairs), USERS_PER_CROWD)
    crowds = [
        world.crowd(first, pairs[first : first + USERS_PER_CROWD])
        for first in firsts[:: max(1, len(firsts) // CALIBRATION_CROWDS)]
    ]
    parts = [world.components(crowd, outside(world, crowd)[0], 0) for crowd in crowds]
    components = {name: np.concatenate([part[name] for part in parts]) for name in SHARES}
    scales = {name: (part.mean(axis=0), part.std(axis=0) + 1e-12) for name, part in components.items()}
    law = Law(scales=scales, mixing=np.eye(2), relatedness=relatedness, structure=structure, intercepts=np.zeros(2))
    # The inverse of a Cholesky factor leaves the first sum alone but for its scale, and takes it out of the second.
    law = replace(law, mixing=np.linalg.inv(np.linalg.cholesky(np.cov(law.sums(components).T))))
    odds = law.log_odds(components)
    return replace(law, intercepts=np.array([intercept(odds[:, task], rate) for task, rate in enumerate(RATES)]))


def lived(world: World, law: Law, crowd: Crowd) -> tuple[np.ndarray, Floats]:
    """All that a crowd did, window after window: `EVENT` ``[N]``; and the true probabilities, ``[N, 2]``."""
    events, chances = (list(part) for part in zip(outside(world, crowd), strict=True))
    for window in range(world.windows.count):
        odds = law.log_odds(world.components(crowd, np.concatenate(events), window))
        more, chance = acted(world, crowd, window, 1 / (1 + np.exp(-odds)))
        events.append(more)
        chances.append(chance)
    return np.concatenate(events), np.concatenate(chances)


def outside(world: World, crowd: Crowd) -> tuple[np.ndarray, Floats]:
    """What a crowd did outside the windows; the true probabilities are NaN, since nothing asks for them."""
    who = crowd.who[crowd.window == OUTSIDE]
    events, chance = acted(world, crowd, OUTSIDE, (RATES * crowd.eager[who]).clip(0, MOST))
    return events, np.full_like(chance, np.nan)


def acted(world: World, crowd: Crowd, window: int, chance: Floats) -> tuple[np.ndarray, Floats]:
    """What comes of a window's pairs, of which these are the chances of a favourite and of a purchase, ``[r, 2]``."""
    random = np.random.default_rng([world.seed, 6, crowd.first, window + 1])
    pairs = np.flatnonzero(crowd.window == window)
    label = random.random(chance.shape) < chance
    clicks = 1 + random.poisson(FURTHER_CLICKS, len(pairs))
    clicks[label.any(axis=1) & (random.random(len(pairs)) < NO_CLICK)] = 0
    times = np.concatenate((clicks, *label.T))
    which = np.repeat(np.tile(np.arange(len(pairs)), 3), times)
    action = np.repeat(np.repeat((CLICK, FAVOURITE, PURCHASE), len(pairs)), times)
    action[(action == CLICK) & (random.random(len(action)) < CARTS)] = CART
    pair = pairs[which]
    return world.events(crowd.who[pair], crowd.item[pair], crowd.day[pair], action), chance[which]


def _header(columns: tuple[CsvColumn, ...]) -> bytes:
    return ",".join(column.source for column in columns).encode() + b"\n"


def _log_lines(events: np.ndarray, first: int) -> bytes:
    columns = {name: events[name] for name in EVENT.names or ()}
    columns |= {"user_id": events["user"] + first + 1, "day": MONTH_DAYS[events["day"] - 1]}
    return _lines([columns[column.name] for column in LOG_COLUMNS])


def _user_lines(crowd: Crowd) -> bytes:
    return _lines([np.arange(crowd.first + 1, crowd.first + 1 + len(crowd.age)), crowd.age, crowd.gender])


def _lines(columns: list[Integers]) -> bytes:
    """Numbers with commas between them and a newline behind; nothing for `MISSING`."""
    texts = [pa.array(column, mask=column == MISSING).cast(pa.string()).fill_null("") for column in columns]
    *others, last = texts
    last = pc.call_function("binary_join_element_wise", [last, "\n", ""])
    joined = pc.call_function("binary_join_element_wise", [*others, last, ","])
    return joined.buffers()[2].to_pybytes()


def _as_npy(raw: Path, path: Path) -> None:
    """Pairs of float32, of which it is only known at the end how many there are, as a NumPy file."""
    facts = {"descr": "<f4", "fortran_order": False, "shape": (raw.stat().st_size // 8, 2)}
    with raw.open("rb") as source, path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, facts)
        shutil.copyfileobj(source, file)
    raw.unlink()
