"""Makes labelled samples, and user features before each window, from the events of a bucket of users."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mtlbench.datasets.ijcai15.bucket_log import Scattered
from mtlbench.datasets.ijcai15.history import Events, Past, runs_of_equal
from mtlbench.datasets.ijcai15.layout import ACTIONS, EVENT, FAVOURITE, MISSING, MONTH_DAYS, PURCHASE, Integers
from mtlbench.datasets.ijcai15.windows import OUTSIDE, Windows
from mtlbench.ingest.encode import truth_path
from mtlbench.ingest.protocol import KEY, WEIGHT_SUFFIX, RawError

Sample = Literal["pair", "pair_day"]
Bools = npt.NDArray[np.bool_]

USER, BEHAVIOUR = "user", "behaviour"
"""Dimension tables: one row per user, one per user and window."""
HISTORIES = {
    "item_id": "item_history",
    "cat_id": "cat_history",
    "seller_id": "seller_history",
    "brand_id": "brand_history",
}
"""Columns that describe a candidate, and the bag of a user's past values of each."""
COUNTS = ("past_clicks", "past_carts", "past_purchases", "past_favourites")
"""In the order of `ACTIONS`."""
LABELS = {"favourite": FAVOURITE, "purchase": PURCHASE}
WINDOW_BITS = 9
"""A key of `BEHAVIOUR` is the user's index shifted by this many bits, plus the window: there are at most 365."""
BLOCK_ROWS = 1 << 14


@dataclass(frozen=True, kw_only=True, slots=True)
class Gather:
    """Writes the samples of a bucket, and a row of `BEHAVIOUR` for each user and window with a sample.

    Attributes:
        shards: the scattered log.
        user_ids: of all users, ascending.
        windows: windows of the samples.
        sample: what one sample is.
        truth: float32 ``[lines, T]``, true probabilities of the labels to which each line contributes, if simulated.
        folder: for the files.
    """

    shards: tuple[Scattered, ...]
    user_ids: Integers
    windows: Windows
    sample: Sample
    truth: Path | None
    folder: Path

    def __call__(self, bucket: int) -> tuple[int, int]:
        """Number of samples of the bucket, and of events after the last window."""
        events = Events.of(self._events(bucket), self.user_ids)
        window = self.windows.of(events.columns["day"])
        first, labels = _samples(events, window, self.sample)
        pasts = {column: Past.of(events, column) for column in HISTORIES}
        samples = self._sample_rows(events.columns[first], window[first], labels)
        _write(self.folder / samples_name(bucket), iter([samples]))
        _write(
            self.folder / behaviour_name(bucket),
            (
                self._behaviour_rows(events, pasts, np.unique(events.who[first[window[first] == number]]), number)
                for number in range(self.windows.count)
            ),
        )
        if self.truth is not None:
            self._write_truth(self.truth, bucket, events.columns[first])
        return len(first), int((events.columns["day"] > self.windows.last).sum())

    def _events(self, bucket: int) -> np.ndarray:
        """The bucket's events in the order of the log, with lines counted from the first one after the header."""
        parts, lines = [np.empty(0, EVENT)], 0
        for shard in self.shards:
            part = shard.bucket(bucket)
            part["line"] = part["line"] + np.int64(lines - shard.header)
            parts.append(part)
            lines += shard.lines - shard.header
        return np.concatenate(parts)

    def _sample_rows(self, first: np.ndarray, window: Integers, labels: Mapping[str, Bools]) -> pa.RecordBatch:
        """Samples, described by the first event of each."""
        columns = {name: pa.array(first[name], mask=first[name] == MISSING) for name in HISTORIES}
        columns[f"{KEY}:{USER}"] = pa.array(self.user_ids[first["user"]])
        columns[f"{KEY}:{BEHAVIOUR}"] = pa.array(_behaviour_key(first["user"], window))
        return pa.record_batch(columns | {name: pa.array(label.astype(np.int8)) for name, label in labels.items()})

    def _behaviour_rows(self, events: Events, pasts: Mapping[str, Past], who: Integers, window: int) -> pa.RecordBatch:
        """Features of some users before a window; no event of the window or later is used."""
        day = self.windows.start(window)
        moment = np.full(len(who), window, np.int64)
        index = events.users[who]
        among = np.zeros(len(events.users), bool)
        among[who] = True
        columns = {KEY: pa.array(_behaviour_key(index, moment))}
        columns |= {"group": pa.array(self.user_ids[index]), "time": pa.array(moment)}
        for column, past in pasts.items():
            whose, value, count = past.before(day, among)
            entries = np.bincount(whose, minlength=len(among))[who]
            ends = np.concatenate(([0], np.cumsum(entries))).astype(np.int32)
            weight = np.log1p(count).astype(np.float32)
            columns[HISTORIES[column]] = pa.ListArray.from_arrays(ends, value)
            columns[HISTORIES[column] + WEIGHT_SUFFIX] = pa.ListArray.from_arrays(ends, weight)
        earlier = events.columns["day"] < day
        for name, action in zip(COUNTS, ACTIONS, strict=True):
            whose = events.who[earlier & (events.columns["action"] == action)]
            counts = np.bincount(whose, minlength=len(events.users))[who]
            columns[name] = pa.array(np.log1p(counts).astype(np.float32))
        return pa.record_batch(columns)

    def _write_truth(self, truth: Path, bucket: int, first: np.ndarray) -> None:
        chances = np.load(truth, mmap_mode="r")[first["line"]]
        if (unknown := np.isnan(chances).any(axis=1)).any():
            day = MONTH_DAYS[first["day"][unknown][0] - 1]
            raise RawError(
                f"{truth} has no true probability for an event on {day}: the log was simulated with other windows. "
                "Simulate it with these dataset.windows, dataset.window_days and dataset.last_day, or delete that file"
            )
        np.save(truth_path(self.folder / samples_name(bucket)), chances)


def samples_name(bucket: int) -> str:
    return f"samples-{bucket:04}.arrow"


def behaviour_name(bucket: int) -> str:
    return f"behaviour-{bucket:04}.arrow"


def _samples(events: Events, window: Integers, sample: Sample) -> tuple[Integers, dict[str, Bools]]:
    """Position of the first event of each sample, by user, window (or day) and item; and its labels."""
    inside = np.flatnonzero(window != OUTSIDE)
    moment = window if sample == "pair" else events.columns["day"]
    item = events.columns["item_id"]
    order = inside[np.lexsort((item[inside], moment[inside], events.who[inside]))]
    begin = runs_of_equal(events.who[order], moment[order], item[order])
    action = events.columns["action"][order]
    labels = {name: np.logical_or.reduceat(action == positive, begin) for name, positive in LABELS.items()}
    return order[begin], labels


def _behaviour_key(index: Integers, window: Integers) -> npt.NDArray[np.int64]:
    return index.astype(np.int64) << WINDOW_BITS | window


def _write(path: Path, batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches)
    with pa.ipc.new_file(str(path), first.schema) as file:
        for batch in chain([first], batches):
            file.write_table(pa.Table.from_batches([batch]), max_chunksize=BLOCK_ROWS)
