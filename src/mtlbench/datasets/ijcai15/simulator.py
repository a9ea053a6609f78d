"""Writes the two IJCAI-15 files, as published, for a synthetic population, some users at a time in constant memory.

Labels follow `mtlbench.datasets.planted`. The first window has the stated rates and ceilings; the pasts grow from
window to window, and both change a little. The actions in one window are part of the past of the next.

``user_log_format1.csv.truth.npy`` has a row per line of the log, without the header: the true probabilities of the
line's pair, NaN outside the windows.

Departure from the published files: a user has fewer lines (`history`), item popularity is the same on all days, age and
gender are uniform, and the true label rates of pairs are unknown; see `RATES`.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from mtlbench.datasets.draws import Floats
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
from mtlbench.datasets.ijcai15.population import FIRST, LAST, SHARES, Crowd, IJCAI15Population
from mtlbench.datasets.ijcai15.windows import OUTSIDE
from mtlbench.datasets.planted import LabelModel, evenly, fit_label_model
from mtlbench.datasets.simulated_files import text_lines, truth_file, write_mark
from mtlbench.ingest.csv import CsvColumn

RATES = np.array((0.12, 0.09))
"""Of favourites and purchases among pairs, an assumption: 6.4 % and 4.7 % of the log's lines outside the Double 11, at
two lines per pair. (Their entropies sum to 0.67; the models of MSSM, better than chance, have log losses of 0.61.)"""
CEILINGS = (0.8595, 0.862)
"""AUC of the true probabilities in the first window, an assumption; over all windows it is lower by .01."""
FURTHER_CLICKS = 0.9
"""Clicks on a pair beyond the first, on average."""
NO_CLICK = 0.1
"""Share of favourites and purchases without a click: the published log, a biased sample, has such pairs."""
CARTS = 76_750 / 48_550_713
"""Share of clicks that put the item into the cart."""
MOST = 0.6
"""Largest chance outside the windows."""


def simulate(folder: Path, population: IJCAI15Population, version: int) -> None:
    """Write both files, the true probabilities of the log's lines, and ``simulated.json``."""
    population.windows.require(FIRST, LAST)
    model = fitted(population)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / LOG).open("wb") as log,
        (folder / USERS).open("wb") as users,
        truth_file(folder / LOG, 2) as write_truth,
    ):
        log.write(_header(LOG_COLUMNS))
        users.write(_header(USER_COLUMNS))
        for first in population.crowds:
            crowd = population.crowd(first)
            events, chance = lived(population, model, crowd)
            shuffled = np.random.default_rng([population.seed, 7, first]).random(len(events))
            order = np.argsort(events["user"] + shuffled)
            log.write(_log_lines(events[order], first))
            users.write(_lines([np.arange(first + 1, first + 1 + len(crowd.age)), crowd.age, crowd.gender]))
            write_truth(chance[order])
    write_mark(folder, "ijcai15", version, population)


def fitted(population: IJCAI15Population) -> LabelModel:
    """The label model, fitted to the first window of all users if they are few, otherwise of evenly spread crowds."""
    crowds = (population.crowd(first) for first in evenly(population.crowds))
    return fit_label_model(
        (population.components(crowd, outside(population, crowd)[0], 0) for crowd in crowds),
        shares=SHARES,
        rates=RATES.tolist(),
        ceilings=CEILINGS,
        relatedness=population.relatedness,
        structure=population.structure,
    )


def lived(population: IJCAI15Population, model: LabelModel, crowd: Crowd) -> tuple[np.ndarray, Floats]:
    """All that a crowd did, window after window: `EVENT` ``[N]``; and the true probabilities, ``[N, 2]``."""
    events, chances = (list(part) for part in zip(outside(population, crowd), strict=True))
    for window in range(population.windows.count):
        components = population.components(crowd, np.concatenate(events), window)
        more, chance = acted(population, crowd, window, model.probabilities(components))
        events.append(more)
        chances.append(chance)
    return np.concatenate(events), np.concatenate(chances)


def outside(population: IJCAI15Population, crowd: Crowd) -> tuple[np.ndarray, Floats]:
    """What a crowd did outside the windows; the true probabilities are NaN, since they are not needed."""
    who = crowd.who[crowd.window == OUTSIDE]
    events, chance = acted(population, crowd, OUTSIDE, (RATES * crowd.eager[who]).clip(0, MOST))
    return events, np.full_like(chance, np.nan)


def acted(population: IJCAI15Population, crowd: Crowd, window: int, chance: Floats) -> tuple[np.ndarray, Floats]:
    """Actions on a window's pairs, given their probabilities of a favourite and of a purchase, ``[r, 2]``."""
    random = np.random.default_rng([population.seed, 6, crowd.first, window + 1])
    pairs = np.flatnonzero(crowd.window == window)
    label = random.random(chance.shape) < chance
    clicks = 1 + random.poisson(FURTHER_CLICKS, len(pairs))
    clicks[label.any(axis=1) & (random.random(len(pairs)) < NO_CLICK)] = 0
    times = np.concatenate((clicks, *label.T))
    which = np.repeat(np.tile(np.arange(len(pairs)), 3), times)
    action = np.repeat(np.repeat((CLICK, FAVOURITE, PURCHASE), len(pairs)), times)
    action[(action == CLICK) & (random.random(len(action)) < CARTS)] = CART
    pair = pairs[which]
    return population.events(crowd.who[pair], crowd.item[pair], crowd.day[pair], action), chance[which]


def _header(columns: tuple[CsvColumn, ...]) -> bytes:
    return ",".join(column.source for column in columns).encode() + b"\n"


def _log_lines(events: np.ndarray, first: int) -> bytes:
    columns = {name: events[name] for name in EVENT.names or ()}
    columns |= {"user_id": events["user"] + first + 1, "day": MONTH_DAYS[events["day"] - 1]}
    return _lines([columns[column.name] for column in LOG_COLUMNS])


def _lines(columns: list[Integers]) -> bytes:
    return text_lines(pa.array(column, mask=column == MISSING) for column in columns)
