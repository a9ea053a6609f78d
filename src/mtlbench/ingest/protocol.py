"""Protocols of a data set for `prepare`: raw files, how to split them into shards, and a pure reader of a shard.

A reader returns columns and the lines that it rejects. `prepare` decides what to do with rejected lines (stop, or
quarantine and count), so that the policy is in one place and a reader can be tested by its return value.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from mtlbench.data.layout import ROWS as ROWS  # re-exported for readers
from mtlbench.schema import Field, Task

LINE = "line"
KEY = "key"
WEIGHT_SUFFIX = ":weight"
ROW_KEY = "row key:"
SAMPLE_WEIGHT = "sample weight:"


class RawError(ValueError):
    """Invalid raw input; the message has the file, the place in it, and the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFile:
    """A raw file of a data set, as published.

    Attributes:
        name: path inside the raw folder.
        other_names: alternative names of the same content (``x.csv`` for ``x.csv.gz``).
        table: its table, `ROWS` or a dimension table.
        part: the publisher's part. Rows of a part refer only to dimension tables of the same part, or of ``all``, to
            which then all files of the table belong.
        splittable: whether any byte range of whole lines can be read separately (not so for a compressed file).
        published_rows: number of rows according to the publisher or the literature, if known.
        published_samples: likewise the number of samples, if these are not the rows themselves.
        published_positives: number of positive rows by label, if known.
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
        """The file in ``folder`` under any of its names, if it exists and is not empty."""
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
    """A rejected line: its number within the shard (from 0), the reason, and its bytes."""

    line: int
    reason: str
    text: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """The content of consecutive lines of a shard.

    Attributes:
        columns: one entry per accepted line, in file order. `LINE`: int64, number within the shard, from 0. An id
            field: integers or strings, null if missing; with ``width > 1``, lists of them, and for a weighted field
            ``<name>:weight``, lists of float32 of the same lengths. A number field: floats, null if missing.
            `ROWS` also has one int8 column of 0 and 1 per task, named by its label (finite float64 for a regression
            task), null if the label is missing, and ``key:<table>`` for each dimension table. A dimension table has
            `KEY`. If rows have a key, ``row key:<column>``: integers or strings, never null. If rows have weights in
            the losses, float32 ``sample weight:``, 0 or within `SAMPLE_WEIGHTS`. If the data set has them, int64
            ``group``, ``source``, ``time``, each a column either of the rows or of a dimension table, from which the
            rows inherit it.
        lines: number of lines in the block, including rejected and dropped ones.
        rejected: lines that violate the format.
        dropped: numbers of well-formed lines excluded by a policy, by name.
    """

    columns: pa.RecordBatch
    lines: int
    rejected: tuple[Rejected, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)


class RawDataset(Protocol):
    """A data set that `prepare` can read.

    Attributes:
        name: lower-case name, as in ``dataset=<name>``.
        version: increased whenever the reader's output changes; part of a run's identity.
        fields: the input fields, without vocabularies (``cardinality=0``), in any order.
        tasks: the tasks, in order.
        files: the raw files; all are required.
        where: a sentence that says where to get the files.
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
    """Files rewritten from raw files whose lines are not rows (such as a log of events).

    Attributes:
        files: files whose records are rows, or rows of a dimension table, with their paths.
        lines: number of lines of each raw file, by `RawFile.name`.
        dropped: number of lines of each raw file excluded by a policy, by `RawFile.name` and policy.
    """

    files: tuple[tuple[RawFile, Path], ...]
    lines: Mapping[str, int]
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class NeedsRewrite(Protocol):
    """A data set whose raw files `prepare` must have rewritten before they can be read shard by shard.

    Memory is bounded, whatever the size of the raw files. A ``<file>.truth.npy`` beside a rewritten file of rows has
    their true probabilities, as beside a raw file.
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
            refuse: must be called for every invalid line, in file order: path, line from 0, reason, bytes.
            processes: maximum number of processes.
        """
        ...


class FolderAware(Protocol):
    """A data set whose list of files depends on the content of its folder."""

    def in_folder(self, folder: Path) -> RawDataset:
        """The data set with the ``files`` of a folder.

        Raises:
            RawError: the files are invalid.
        """
        ...


class BinarySource(Protocol):
    """A data set whose files are not text, and which can quote rows for messages about rejected ones."""

    def quote(self, path: Path, lines: Sequence[int]) -> Iterator[bytes]:
        """The content of the given rows of a file as text; row numbers are from 0 and ascending."""
        ...


class Describable(Protocol):
    """A data set described by a schema, whose keys are printed by `mtlbench show`."""

    @staticmethod
    def schema_keys() -> str:
        """All keys of a schema, as text."""
        ...


class Simulator(Protocol):
    """A data set that can also simulate data in its raw format, from a planted structure.

    For each file with labelled rows it writes ``<file name>.truth.npy``: float32 ``[lines, T]``, the true probability
    of every label of every line. ``simulated.json`` marks the folder as simulated.
    """

    simulator_version: int

    def simulate(self, folder: Path, **knobs: object) -> None: ...
