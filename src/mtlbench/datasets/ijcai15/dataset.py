"""IJCAI-15 (Tmall): actions of users on items until the Double 11 sale; which items they will favourite or buy.

Source: Tianchi data set 42, https://tianchi.aliyun.com/dataset/42 (registration needed), of the competition on repeat
buyers at IJCAI 2015; not the IJCAI-16 data set, also called Tmall. Terms: no licence is known; take the data to
be for research under the platform's terms, and do not redistribute them. The publisher calls the users a biased sample.
``user_log_format1.csv`` has 54,925,330 lines, ``user_info_format1.csv`` 424,170.

Tasks: Ding et al., "MSSM: A Multiple-level Sparse Sharing Model for Efficient Multi-Task Learning", SIGIR 2021,
section 3.1.1, "Favorite and Purchase": 1,862,193 samples of 219,973 users and 219,182 items.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from mtlbench.checks import at_least, one_of
from mtlbench.datasets.ijcai15.bucket_log import BucketWriter, Scattered
from mtlbench.datasets.ijcai15.layout import LOG, USERS, day_of_year
from mtlbench.datasets.ijcai15.population import LAST, IJCAI15Population
from mtlbench.datasets.ijcai15.samples import (
    BEHAVIOUR,
    COUNTS,
    HISTORIES,
    LABELS,
    USER,
    Gather,
    Sample,
    behaviour_name,
    samples_name,
)
from mtlbench.datasets.ijcai15.simulator import simulate
from mtlbench.datasets.ijcai15.users import read_users
from mtlbench.datasets.ijcai15.windows import Windows
from mtlbench.ingest.encode import truth_path
from mtlbench.ingest.parse import cut_file
from mtlbench.ingest.protocol import LINE, ROWS, Block, RawError, RawFile, Rewritten, Shard
from mtlbench.ingest.workers import parallel_map
from mtlbench.schema import Field, Task

Refuse = Callable[[Path, int, str, bytes], None]
AFTERWARDS = "after the last window"
MSSM_SAMPLES = 1_862_193
"""Of Ding et al., section 3.1.1; windows are chosen to give about as many."""
EVENTS = "events"


@dataclass(frozen=True, kw_only=True)
class IJCAI15:
    """Samples from the log: pairs of a user and an item, labelled in windows of days, with features from before.

    A pair is a sample of a window if the user did anything with the item in it. The pair is a positive of ``favourite``
    if one of these actions is a favourite, and of ``purchase`` if one is a purchase; other pairs are the negatives. The
    actions of a window are labels and never inputs: the features of a user come from actions strictly before the window
    begins, one row per user and window of the table ``behaviour``. It has bags of the items, categories, sellers and
    brands of any action, weighted by ln(1 + actions), and ln(1 + actions) of each kind. The item's category, seller and
    brand are those of the pair's first line in the window. `group` is the user, `time` the window, from 0.

    The Double 11 has 19 % of the log's lines and 37 % of its purchases, and is at its end (the log is said to go
    from 511 to 1112). A window that contains it has other label rates than those before, so a split by time across it
    compares two markets; by default the last window ends the day before.

    Args:
        sample: ``pair``: one sample per user, item and window; ``pair_day``: per user, item and day (in both cases,
            user features are from before the window).
        windows: number of consecutive label windows; the configuration's split tests on the last one and validates on
            the one before.
        window_days: length of each.
        last_day: last day of the last one as the log writes it (1110), ``None``: the last day of the log. Later lines
            are dropped and counted.
        history_width: entries kept of each bag: the heaviest, and of equal ones the most recent.

    Departure: MSSM states neither how samples are made nor their inputs, split or label rates; all of this is our
    choice, and its numbers are no target for it. Five windows of three days are chosen because 15 days outside the
    Double 11 give about its number of samples: 44,342,697 lines of 185 days, if all days are alike, are 3.6 million
    lines in 15 days, which at two lines per pair are 1.8 million pairs. Neither the lines per pair nor those per day
    are published.
    """

    sample: Sample = "pair"
    windows: int = 5
    window_days: int = 3
    last_day: int | None = 1110
    history_width: int = 50

    name = "ijcai15"
    version = 1
    simulator_version = 2
    where = (
        "https://tianchi.aliyun.com/dataset/42 (log in): unpack 'data_format1 .zip' (with that space in its name); "
        "or set dataset.source=simulated for synthetic data"
    )

    def __post_init__(self) -> None:
        one_of("ijcai15: sample", self.sample, Sample)
        at_least("ijcai15: windows", self.windows, 1)
        at_least("ijcai15: window_days", self.window_days, 1)
        at_least("ijcai15: history_width", self.history_width, 2)
        if self.last_day is not None and day_of_year(self.last_day) is None:
            raise ValueError(f"ijcai15: last_day is {self.last_day}; allowed: month and day such as 1110, or null")

    @property
    def fields(self) -> tuple[Field, ...]:
        return (
            *(Field(name=name, role="item") for name in HISTORIES),
            *(Field(name=name, table=USER, role="user") for name in ("user_id", "age_range", "gender")),
            *(
                Field(
                    name=history,
                    width=self.history_width,
                    weighted=True,
                    table=BEHAVIOUR,
                    vocabulary=candidate,
                    role="history",
                    target=candidate,
                )
                for candidate, history in HISTORIES.items()
            ),
            *(Field(name=name, kind="number", table=BEHAVIOUR, role="user") for name in COUNTS),
        )

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(Task(name=name, label=name) for name in LABELS)

    @property
    def files(self) -> tuple[RawFile, ...]:
        return (
            RawFile(name=USERS, table=USER, part="train", splittable=False, published_rows=424_170),
            RawFile(name=LOG, table=ROWS, part="train", published_rows=54_925_330, published_samples=MSSM_SAMPLES),
        )

    def arrange(self, sources: Mapping[str, Path], folder: Path, refuse: Refuse, processes: int) -> Rewritten:
        """Samples, users and behaviours from the log; see `mtlbench.ingest.protocol.NeedsRewrite`.

        The log is read once, by shards, into buckets of users about as large as a shard; then each bucket is turned
        into samples. A process has one shard or bucket in memory, whatever the size of the log.

        Raises:
            RawError: a header that does not name the columns, no usable line.
            ValueError: windows that the log does not cover.
        """
        user_file, log_file = self.files
        users, user_lines = read_users(sources[USERS], user_file, refuse)
        if not users.num_rows:
            raise RawError(f"{sources[USERS]} has no line that can be used")
        user_ids = users["user_id"].to_numpy()
        shards = _scatter(sources[LOG], log_file, user_ids, folder, refuse, processes)
        lines = sum(shard.lines - shard.header for shard in shards)
        first, last = _days(sources[LOG], shards)
        windows = self._windows(last)
        windows.require(first, last)
        gather = Gather(
            shards=shards,
            user_ids=user_ids,
            windows=windows,
            sample=self.sample,
            truth=_truth(sources[LOG], lines),
            folder=folder,
        )
        buckets = range(len(shards))
        with closing(parallel_map(gather, buckets, processes, f"samples of {self.name}")) as results:
            samples, late = np.sum(list(results), axis=0).tolist()
        if not samples:
            raise RawError(f"{sources[LOG]} has no line within the windows; change dataset.last_day")
        shutil.rmtree(folder / EVENTS)
        with pa.ipc.new_file(str(folder / "users.arrow"), users.schema) as file:
            file.write_batch(users)
        names = [("users.arrow", USER)]
        names += [(behaviour_name(bucket), BEHAVIOUR) for bucket in buckets]
        names += [(samples_name(bucket), ROWS) for bucket in buckets]
        return Rewritten(
            files=tuple((_arranged(name, table), folder / name) for name, table in names),
            lines={USERS: user_lines, LOG: lines},
            dropped={LOG: {AFTERWARDS: late}},
        )

    def read(self, shard: Shard) -> Iterator[Block]:
        """The rows of an arranged file in blocks; see `mtlbench.ingest.protocol`."""
        first = 0
        with pa.memory_map(str(shard.path)) as file:
            reader = pa.ipc.open_file(file)
            for batch in map(reader.get_batch, range(reader.num_record_batches)):
                lines = pa.array(np.arange(first, first + batch.num_rows))
                yield Block(columns=batch.append_column(LINE, lines), lines=batch.num_rows)
                first += batch.num_rows

    def simulate(
        self,
        folder: Path,
        *,
        rows: int = 100_000,
        seed: int = 0,
        relatedness: float = 0.5,
        structure: bool = True,
        history: float = 20.0,
    ) -> None:
        """Write a synthetic data set in the publisher's format; see `mtlbench.datasets.ijcai15.simulator`."""
        population = IJCAI15Population(
            rows=rows,
            seed=seed,
            relatedness=relatedness,
            structure=structure,
            history=history,
            windows=self._windows(LAST),
        )
        simulate(Path(folder), population, version=self.simulator_version)

    def _windows(self, last: int) -> Windows:
        """The windows, in a log that ends on this day of the year."""
        end = last if self.last_day is None else day_of_year(self.last_day)
        assert end is not None  # see __post_init__
        return Windows(self.windows, self.window_days, end)


def _scatter(
    log: Path, file: RawFile, user_ids: np.ndarray, folder: Path, refuse: Refuse, processes: int
) -> tuple[Scattered, ...]:
    """The log in buckets of users, as many as it has shards."""
    (folder / EVENTS).mkdir()
    cut = cut_file(log, file)
    jobs = [(shard, folder / EVENTS / str(number)) for number, shard in enumerate(cut)]
    shards: list[Scattered] = []
    lines = 0
    with closing(parallel_map(BucketWriter(user_ids, len(cut)), jobs, processes, f"reading {log.name}")) as results:
        for shard in results:
            for bad in shard.rejected:
                refuse(log, lines + bad.line, bad.reason, bad.text)
            lines += shard.lines
            shards.append(replace(shard, rejected=()))
    return tuple(shards)


def _days(log: Path, shards: tuple[Scattered, ...]) -> tuple[int, int]:
    """First and last day of the log."""
    days = [shard.days for shard in shards if shard.days]
    if not days:
        raise RawError(f"{log} has no line that can be used")
    return min(first for first, _ in days), max(last for _, last in days)


def _truth(log: Path, lines: int) -> Path | None:
    """File of the true probabilities of a simulated log."""
    path = truth_path(log)
    if not path.is_file():
        return None
    if (known := np.load(path, mmap_mode="r").shape[0]) != lines:
        raise RawError(f"{path} is for {known:,} lines, {log.name} has {lines:,}: the files do not belong together")
    return path


def _arranged(name: str, table: str) -> RawFile:
    return RawFile(name=name, table=table, part="train", splittable=False)
