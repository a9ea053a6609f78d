"""Writes the three WeChat files, as published, from a planted `World`, users by users in flat memory.

Departure from the published files: texts are a few words long, the device follows from the user, no feed is younger
than the first day, and every action depends on user and feed alone, not on the other actions.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.calibrate import intercept, sigmoid
from mtlbench.datasets.wechat.layout import POSITIVES, PUBLISHED_ROWS
from mtlbench.datasets.wechat.population import ACTIONS, SHARES, USERS_PER_PIECE, Piece, World
from mtlbench.datasets.wechat.writer import (
    ACTION_HEADER,
    EMBEDDING_HEADER,
    FEED_HEADER,
    action_lines,
    embedding_lines,
    feed_lines,
)

Rates = Literal["auto", "official", "demo"]
OFFICIAL = np.array(list(POSITIVES.values())) / PUBLISHED_ROWS
DEMO = np.full(ACTIONS, 0.2)
OFFICIAL_FROM = 3_000_000
"""Rows from which ``auto`` takes the published rates: fewer hold too few of the rare actions to learn from."""
SPREAD = 2.0
"""Standard deviation of an action's log-odds: a best possible AUC of about 0.83 at a rate of 0.2."""
CALIBRATION_PIECES = 16

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, slots=True)
class Knobs:
    """What to simulate.

    Attributes:
        rows: of user_action.csv.
        seed: of everything.
        rates: ``official`` (the published ones), ``demo`` (20 % of every action), or ``auto``, by ``rows``.
        relatedness: correlation of what any two actions depend on, 0 to 1.
        drift: radians by which tastes turn from day to day; training on early days tells the less of late ones.
        structure: False makes the labels independent of every input, at the same rates.
    """

    rows: int
    seed: int
    rates: Rates
    relatedness: float
    drift: float
    structure: bool

    def __post_init__(self) -> None:
        if self.rates not in get_args(Rates):
            raise ValueError(f"wechat simulator: rates is {self.rates!r}; allowed: {', '.join(get_args(Rates))}")
        for knob, low, high in (
            ("rows", 1000, PUBLISHED_ROWS),
            ("seed", 0, 2**63),
            ("relatedness", 0, 1),
            ("drift", 0, 1),
        ):
            if not low <= (value := getattr(self, knob)) <= high:
                raise ValueError(f"wechat simulator: {knob} is {value}; allowed: {low} to {high}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """How likely actions are: means and deviations of the parts of the log-odds, and an intercept per action."""

    scales: dict[str, tuple[Floats, Floats]]
    structure: bool
    intercepts: Floats

    def probabilities(self, piece: Piece) -> Floats:
        """Of every action, in the order of `POSITIVES`: float64 ``[R, ACTIONS]``."""
        return sigmoid(self.log_odds(piece.parts) + self.intercepts)

    def log_odds(self, parts: dict[str, Floats]) -> Floats:
        """Without the intercepts."""
        score = np.zeros_like(parts["taste"])
        for name, share in SHARES.items() if self.structure else ():
            mean, deviation = self.scales[name]
            score += SPREAD * np.sqrt(share) * (parts[name] - mean) / deviation
        return score


def simulate(folder: Path, knobs: Knobs, *, actions: tuple[str, ...], version: int) -> None:
    """Write the files, the true probabilities of the chosen actions, and ``simulated.json``.

    The mean probabilities are the rates, exactly up to 350,000 rows, nearly beyond; the labels add the noise of their
    draw. The first row of the truth belongs to the header of the file and is NaN.

    Args:
        folder: is made if it does not exist.
        knobs: what to write.
        actions: columns of the truth. The files hold all seven whatever they are.
        version: of the simulator, written down.
    """
    world = World(rows=knobs.rows, seed=knobs.seed, relatedness=knobs.relatedness, drift=knobs.drift)
    official = knobs.rates == "official" or (knobs.rates == "auto" and knobs.rows >= OFFICIAL_FROM)
    law = calibrated(world, OFFICIAL if official else DEMO, knobs.structure)
    folder.mkdir(parents=True, exist_ok=True)
    _write_actions(folder / "user_action.csv", world, law, [list(POSITIVES).index(action) for action in actions])
    for name, header, lines in (
        ("feed_info.csv", FEED_HEADER, feed_lines(world)),
        ("feed_embeddings.csv", EMBEDDING_HEADER, embedding_lines(world)),
    ):
        with (folder / name).open("w", encoding="ascii", newline="") as file:
            file.write(header + "\n")
            file.writelines(lines)
    marker = {"name": "wechat", "version": version, "actions": actions, "knobs": asdict(knobs)}
    (folder / "simulated.json").write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def calibrated(world: World, rates: Floats, structure: bool) -> Law:
    """The law under which rows have these rates, fitted to all of them where they are few, else to an even sample."""
    firsts = range(0, len(world.sizes), USERS_PER_PIECE)
    sample = [world.piece(first).parts for first in firsts[:: max(1, len(firsts) // CALIBRATION_PIECES)]]
    parts = {name: np.concatenate([piece[name] for piece in sample]) for name in SHARES}
    scales = {name: (part.mean(axis=0), part.std(axis=0)) for name, part in parts.items()}
    score = Law(scales=scales, structure=structure, intercepts=np.zeros(ACTIONS)).log_odds(parts)
    intercepts = np.array([intercept(odds, rate) for odds, rate in zip(score.T, rates, strict=True)])
    return Law(scales=scales, structure=structure, intercepts=intercepts)


def _write_actions(path: Path, world: World, law: Law, chosen: list[int]) -> None:
    truth = np.lib.format.open_memmap(
        path.with_name(path.name + ".truth.npy"), mode="w+", dtype=np.float32, shape=(1 + world.rows, len(chosen))
    )
    truth[0] = np.nan
    end = 1
    with path.open("wb") as file:
        file.write(ACTION_HEADER.encode() + b"\n")
        for first in range(0, len(world.sizes), USERS_PER_PIECE):
            piece = world.piece(first)
            chance = law.probabilities(piece)
            random = np.random.Generator(np.random.PCG64([world.seed, first, 3]))
            drawn = random.random(chance.shape) < chance
            labels = {action: drawn[:, at] for at, action in enumerate(POSITIVES)}
            file.write(action_lines(world, piece, labels))
            truth[end : end + len(chance)] = chance[:, chosen]
            end += len(chance)
    truth.flush()
