"""What a data set offers to `prepare`: raw files, a way to cut them into shards, and a pure reader of one shard.

A reader gives columns and, beside them, the lines that it refuses; what becomes of those (stop, or set aside and
count) is `prepare`'s business, so that the rule is written once and a reader can be tested by its return value.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from mtlbench.data.layout import ROWS as ROWS  # readers name tables; one import serves them
from mtlbench.schema import Field, Task

LINE = "line"
KEY = "key"
WEIGHT_SUFFIX = ":weight"
ROW_KEY = "row key:"
SAMPLE_WEIGHT = "sample weight:"


class RawError(ValueError):
    """Raw input that cannot be used as it is: says which file, where in it, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFile:
    """One file of a data set as its publisher ships it.

    Attributes:
        name: path inside the raw folder.
        other_names: further names under which the same content is welcome (``x.csv`` beside ``x.csv.gz``).
        table: what it fills, `ROWS` or a dimension table.
        part: the publisher's own division. Rows of a part point only into dimension tables of the same part, or of
            ``all``, to which all files of such a table belong.
        splittable: whether any byte range of whole lines can be read by itself (a compressed file cannot).
        published_rows: row count that the publisher or the literature states, if known.
        published_samples: the same of the samples that are made of its rows, where they are not the rows themselves.
        published_positives: positive rows by label, as far as they are stated.
        sha256: checksum of the published file, if known.
    """

    name: str
    table: str
    part: Literal["train", "valid", "test", "all"]
    splittable: bool = True
    published_rows: int | None = None
    published_samples: int | None = None
    published_positives: Mapping[str, int] = field(default_factory=dict)
    sha256: str | None = None
    other_names: tuple[str, ...] = ()

    def find(self, folder: Path) -> Path | None:
        """The file in ``folder``, if it is there under one of its names and is not empty."""
        candidates = (folder / name for name in (self.name, *self.other_names))
        return next((path for path in candidates if path.is_file() and path.stat().st_size), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """The lines of `path` that begin in the bytes ``[start, stop)``; ``start`` is the beginning of a line."""

    path: Path
    file: RawFile
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A line that a reader refuses: its number within the shard (from 0), the reason, and its bytes."""

    line: int
    reason: str
    text: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Some consecutive lines of a shard, read.

    Attributes:
        columns: one entry per accepted line, in file order. `LINE`: int64, number within the shard, from 0. An id
            field: integers or strings, null where missing; of ``width > 1``: lists of them, and for a weighted field
            ``<name>:weight``, lists of float32 of the same lengths. A number field: floats, null where missing.
            `ROWS` also has one int8 column of 0 and 1 per task, named by its label (finite float64 for a regression
            task), null where the label is missing, and for each dimension table ``key:<table>``. A dimension table has
            its `KEY`. Where something identifies a row to people, ``row key:<column>``, integers or strings that are
            never null. Where rows weigh differently in the losses, float32 ``sample weight:``, 0 or within
            `SAMPLE_WEIGHTS`. Where the data set has them, int64 ``group``, ``source``, ``time``, each either of the
            rows, or of a dimension table and then of the rows that point there.
        lines: how many lines the block covers, rejected and dropped ones included.
        rejected: lines that break the format.
        dropped: lines that are well-formed and left out by a named policy: how many, by name.
    """

    columns: pa.RecordBatch
    lines: int
    rejected: tuple[Rejected, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)


class RawDataset(Protocol):
    """A data set that `prepare` can read.

    Attributes:
        name: lower-case name, as in ``dataset=<name>``.
        version: raised whenever the reader's output changes; part of a run's identity.
        fields: the inputs before any vocabulary is known (``cardinality=0``), in any order.
        tasks: the labels, in order.
        files: the raw files; all are needed.
        where: one sentence that says where the files are to be had.
    """

    name: str

    @property
    def version(self) -> int: ...

    @property
    def fields(self) -> tuple[Field, ...]: ...

    @property
    def tasks(self) -> tuple[Task, ...]: ...

    @property
    def files(self) -> tuple[RawFile, ...]: ...

    @property
    def where(self) -> str: ...

    def read(self, shard: Shard) -> Iterator[Block]:
        """Read a shard from front to back in blocks of bounded size. Pure: no state, no policy, no output."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewritten:
    """What a data set made of raw files whose lines are no rows (a log of events).

    Attributes:
        files: files whose records are rows, or rows of a dimension table, and what they are.
        lines: lines of each raw file, by its `RawFile.name`.
        dropped: lines of each raw file that were left out by a named policy, by `RawFile.name` and policy.
    """

    files: tuple[tuple[RawFile, Path], ...]
    lines: Mapping[str, int]
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class NeedsRewrite(Protocol):
    """A data set whose raw files must be arranged before they can be read shard by shard; `prepare` asks for it.

    Memory stays bounded whatever the size of the raw files. A ``<file>.truth.npy`` beside an arranged file of rows
    holds their true probabilities, as beside a raw file that is one.
    """

    def arrange(
        self,
        sources: Mapping[str, Path],
        folder: Path,
        refuse: Callable[[Path, int, str, bytes], None],
        processes: int,
    ) -> Rewritten:
        """Write files for `RawDataset.read` into ``folder``.

        Args:
            sources: path of each raw file, by `RawFile.name`.
            folder: an empty folder.
            refuse: to be called for every line that cannot be used, in file order: path, line from 0, reason, bytes.
            processes: how many may work.
        """
        ...


class FolderAware(Protocol):
    """A data set whose files are known only when its folder is looked at."""

    def in_folder(self, folder: Path) -> RawDataset:
        """The same, with the ``files`` of a folder.

        Raises:
            RawError: they cannot be used.
        """
        ...


class BinarySource(Protocol):
    """A data set whose files are not text: it says what stands in rows that turn out to be of no use."""

    def quote(self, path: Path, lines: Sequence[int]) -> Iterator[bytes]:
        """What each of some rows of a file says; their numbers count from 0 and ascend."""
        ...


class Describable(Protocol):
    """A data set that a schema describes; `mtlbench show` prints what may stand there."""

    @staticmethod
    def schema_keys() -> str:
        """All keys of a schema, as text."""
        ...


class Simulator(Protocol):
    """A data set that can also write itself, in its own raw format, from a planted structure.

    Beside each file that holds labelled rows stands ``<file name>.truth.npy``: float32 ``[lines, T]``, the true
    probability of every label of every line. ``simulated.json`` in the folder marks all of it as simulated.
    """

    simulator_version: int

    def simulate(self, folder: Path, **knobs: object) -> None: ...
