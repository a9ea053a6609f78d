"""Partitions the log, one shard at a time, into buckets: a bucket holds all events of some of the users.

Buckets are ranges of a hash of the user, so rows written bucket by bucket are in the order of that hash,
whatever the number of buckets.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mtlbench.data.split import splitmix64
from mtlbench.datasets.ijcai15.layout import EVENT, LOG_COLUMNS, MISSING, USERS, Integers
from mtlbench.datasets.ijcai15.users import texts
from mtlbench.ingest.csv import HEADER, read_table
from mtlbench.ingest.protocol import LINE, Rejected, Shard


@dataclass(frozen=True, kw_only=True, slots=True)
class Scattered:
    """A shard of the log, read and written.

    Attributes:
        path: its `EVENT` by bucket, within a bucket in file order; lines count from the shard's first one.
        ends: int64 ``[buckets]``, where each bucket's events end.
        lines: how many it has, including a header.
        header: whether it has one.
        rejected: lines that cannot be used.
        days: first and last day of its events; ``None`` if there are none.
    """

    path: Path
    ends: npt.NDArray[np.int64]
    lines: int
    header: bool
    rejected: tuple[Rejected, ...]
    days: tuple[int, int] | None

    def bucket(self, number: int) -> np.ndarray:
        """The events of a bucket."""
        first = int(self.ends[number - 1]) if number else 0
        return np.fromfile(self.path, EVENT, int(self.ends[number]) - first, offset=first * EVENT.itemsize)


@dataclass(frozen=True, slots=True)
class BucketWriter:
    """Reads a shard of the log and writes it by bucket.

    Attributes:
        users: all known users, ascending; a line of another user is rejected.
        buckets: how many.
    """

    users: Integers
    buckets: int

    def __call__(self, job: tuple[Shard, Path]) -> Scattered:
        shard, path = job
        parts, rejected, lines, header = [np.empty(0, EVENT)], [], 0, False
        for block in read_table(shard, LOG_COLUMNS):
            parts.append(self._events(block.columns))
            rejected += block.rejected
            lines += block.lines
            header |= HEADER in block.dropped
        events = np.concatenate(parts)
        known = events["user"] != MISSING
        rejected += [
            Rejected(line=line, reason=f"its user_id is not in {USERS}", text=text)
            for line, text in texts(shard, events["line"][~known]).items()
        ]
        events = events[known]
        bucket = buckets_of(self.users, self.buckets)[events["user"]]
        events[np.argsort(bucket, kind="stable")].tofile(path)
        return Scattered(
            path=path,
            ends=np.cumsum(np.bincount(bucket, minlength=self.buckets)),
            lines=lines,
            header=header,
            rejected=tuple(sorted(rejected, key=lambda line: line.line)),
            days=(int(events["day"].min()), int(events["day"].max())) if len(events) else None,
        )

    def _events(self, columns: pa.RecordBatch) -> np.ndarray:
        """`EVENT` of every line; the user is `MISSING` where it is unknown."""
        events = np.empty(columns.num_rows, EVENT)
        for name in EVENT.names or ():
            if name not in ("user", "line"):
                events[name] = columns[name].fill_null(MISSING).to_numpy(zero_copy_only=False)
        events["line"] = columns[LINE].to_numpy()
        user = columns["user_id"].to_numpy()
        index = np.minimum(np.searchsorted(self.users, user), len(self.users) - 1)
        events["user"] = np.where(self.users[index] == user, index, MISSING)
        return events


def buckets_of(users: Integers, buckets: int) -> npt.NDArray[np.uint16]:
    """The bucket of every user: equal ranges of the upper half of `rank_of`."""
    return ((rank_of(users) >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)).astype(np.uint16)


def rank_of(users: Integers) -> npt.NDArray[np.uint64]:
    """A hash by which users are ordered."""
    return splitmix64(users.astype(np.uint64), 0)
