"""KuaiRand: actions of users of the video app Kuaishou on the short videos they were shown, April and May 2022.

Source: https://kuairand.com/ and https://zenodo.org/records/10439422. Gao et al., "KuaiRand: An Unbiased Sequential
Recommendation Dataset with Randomly Exposed Videos", CIKM 2022, arXiv:2208.08696. Terms: CC BY-SA 4.0; name the source
and the licence with every figure. KuaiRand-Pure, -1K and -27K have the same format.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mtlbench.checks import at_least, each_once, one_of
from mtlbench.datasets.kuairand.folder import EARLY, Logs, Variant, find
from mtlbench.datasets.kuairand.layout import (
    EARLY_DAYS,
    LATE_DAYS,
    SIGNALS,
    FieldSet,
    inputs,
    log_columns,
    table_columns,
)
from mtlbench.ingest.csv import read_table
from mtlbench.ingest.protocol import ROWS, Block, RawFile, Shard
from mtlbench.schema import Field, Task


@dataclass(frozen=True, kw_only=True)
class KuaiRand:
    """A user, a video, a tab and an hour per row, and the user's actions.

    Files, whose names end with ``_pure``, ``_1k`` or ``_27k``, and ``_part1``, ``_part2``, ... where they are split:

    - ``log_standard_4_22_to_5_08``, ``user_features`` and ``video_features_basic`` are required.
    - ``log_standard_4_08_to_4_21`` is optional: it is read if it exists, see ``logs``.
    - ``log_random_4_22_to_5_08``, of videos that were shown at random, is read only if it is to be the test part.
      ``log_standard_4_08_to_4_21`` is then required and the other standard log is not read, so that all training and
      validation rows are earlier than every test row.
    - ``video_features_statistic`` is never read: it counts the signals of the whole period, including those to be
      predicted.

    ``group`` is the user, ``source`` the tab, ``time`` the day, yyyymmdd; a row of a day outside the period that the
    name of its log states is rejected. Users and videos are dimension tables. Never inputs: the signals, the time a
    video was played, the time spent on profile and comments. The duration of a video is in milliseconds.

    Attributes:
        signals: which of the eight 0/1 signals are tasks, in this order (`SIGNALS`).
        given: by task, the earlier task without which it must not be positive; none by default, since a long view is
            defined by the time played, and 250 of 228,329 published rows at hand have one without a click.
        field_set: ``default`` are 11 ids and 3 numbers; ``all`` is every column of users and videos.
        variant: ``pure``, ``1k`` or ``27k``.
        logs: the standard logs to read: ``found`` (those that exist), ``both``, or ``late`` (from 22 April).
        split_rule: name of the split; ``random_log`` makes the random log the test part, others do not read it.
        tag_width: tags kept of a video: at most 3 in KuaiRand-Pure; dropped ones are counted.
        compress: standardise sign(v) ln(1 + |v|) of a number v: one user has two million fans, 134 standard deviations
            above the mean of training rows.
        files: of the folder, set by `in_folder`.

    Duplicate rows are kept, as published: 5,460 of those 228,329 repeat another one exactly.
    """

    signals: tuple[str, ...] = ("click", "long_view", "like")
    given: dict[str, str] | None = None
    field_set: FieldSet = "default"
    variant: Variant = "pure"
    logs: Logs = "found"
    split_rule: str = "by_day"
    tag_width: int = 3
    compress: bool = False
    files: tuple[RawFile, ...] = ()

    name = "kuairand"
    version = 1
    where = (
        "They are at https://zenodo.org/records/10439422 (KuaiRand-Pure, -1K and -27K, CC BY-SA 4.0): unpack the "
        "archive and name the folder of its CSV files with dataset.raw=<folder>; there is no simulator"
    )

    def __post_init__(self) -> None:
        each_once("kuairand: dataset.tasks", self.signals, SIGNALS)
        for task, before in (self.given or {}).items():
            if task not in self.signals or before not in self.signals[: self.signals.index(task)]:
                raise ValueError(
                    f"kuairand: task '{task}' is given '{before}'; both must be among the tasks "
                    f"{', '.join(self.signals)}, the given one before"
                )
        one_of("kuairand: field_set", self.field_set, FieldSet)
        one_of("kuairand: variant", self.variant, Variant)
        one_of("kuairand: logs", self.logs, Logs)
        at_least("kuairand: tag_width", self.tag_width, 2)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(Task(name=name, label=SIGNALS[name], given=(self.given or {}).get(name)) for name in self.signals)

    @property
    def fields(self) -> tuple[Field, ...]:
        return inputs(self.field_set, self.tag_width, self.compress)

    def in_folder(self, folder: Path) -> "KuaiRand":
        """The same, with the files of a folder.

        Raises:
            RawError: a required file, or a part of it, is missing, or it exists twice.
        """
        files = find(folder, self.variant, self.logs, random_log=self.split_rule == "random_log", where=self.where)
        return replace(self, files=files)

    def read(self, shard: Shard) -> Iterator[Block]:
        """The lines of a shard in blocks; see `mtlbench.ingest.protocol.Block`.

        Raises:
            RawError: the header lacks a column, or the file is not a text file of lines.
        """
        table = shard.file.table
        if table != ROWS:
            return read_table(shard, table_columns(table, self.fields), quotes=True)
        days = EARLY_DAYS if shard.file.name.startswith(EARLY) else LATE_DAYS
        return read_table(shard, log_columns(days, self.signals))
