"""Batch scoring of a file of raw rows, chunk by chunk in constant memory."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from mtlbench.experiment.errors import ConfigError
from mtlbench.export.columns import TYPES, ServedColumn, carried, checked, from_text, unused
from mtlbench.export.scorer import Scorer
from mtlbench.files import atomic

CSV_BLOCK = 4 << 20
"""Block size of reading text, in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """Summary of scoring a file: its number of rows, and its unused columns."""

    rows: int
    unused: tuple[str, ...]


def score_file(scorer: Scorer, rows: Path, to: Path) -> Scored:
    """Write, for every row in order, ``row`` (from 0), the key columns that the file has (`Scorer.key`) and the
    predictions (`Scorer.names`); the write is atomic.

    Args:
        scorer: the scorer of an exported model.
        rows: Parquet file, or UTF-8 CSV with a header. In CSV an empty cell is a missing value (a quoted empty one is
            the empty text) and a list is written as JSON.
        to: Parquet file to write.

    Raises:
        ConfigError: the file does not exist or has another format.
        ColumnError: a column is missing, or a row cannot be scored.
    """
    if not rows.is_file():
        raise ConfigError(f"{rows}: no such file")
    if to.suffix != ".parquet":
        raise ConfigError(f"--to is {to}; allowed: a name ending in .parquet")
    if rows.suffix not in READERS:
        raise ConfigError(f"{rows}: allowed are files ending in {' or '.join(READERS)}")
    names, key, chunks = READERS[rows.suffix](rows, scorer)
    kinds = pa.schema(
        {
            "row": pa.int64(),
            **{column.name: TYPES[column.kind] for column in key},
            **dict.fromkeys(scorer.names, pa.float32()),
        }
    )
    about = {name: str(scorer.facts[name]) for name in ("identity", "origin")}
    done = 0
    with atomic(to, alone=False) as beside, pq.ParquetWriter(beside, kinds.with_metadata(about)) as writer:
        for raw in chunks:
            answer = scorer(raw, done)
            numbers = pa.array(range(done, done + len(answer)), pa.int64())
            keys = [checked(raw[column.name], column, done) for column in key]
            columns = [numbers, *keys, *map(pa.array, answer.T.copy())]
            writer.write_batch(pa.record_batch(columns, schema=writer.schema))
            done += len(answer)
    return Scored(rows=done, unused=names)


Chunks = tuple[tuple[str, ...], list[ServedColumn], Iterator[Mapping[str, pa.Array]]]
"""Unused columns, key columns, and an iterator over chunks of the columns that are read."""


def _wanted(names: list[str], scorer: Scorer) -> tuple[tuple[str, ...], list[ServedColumn], list[ServedColumn]]:
    """Unused columns, key columns, and all columns to read."""
    columns = scorer.inputs.columns
    key = carried(names, columns, scorer.key)
    read = [*columns, *(column for column in key if column not in columns)]
    return unused(names, read), key, read


def _parquet(path: Path, scorer: Scorer) -> Chunks:
    with _reading(path, "Parquet"):
        # Streamed through a small buffer, since a row group may be the whole file.
        file = pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    names = file.schema_arrow.names
    left, key, columns = _wanted(names, scorer)
    sources = {column.name: column.within(names) for column in columns}
    batches = file.iter_batches(batch_size=scorer.rows_at_once, columns=[*dict.fromkeys(sources.values())])
    return (
        left,
        key,
        ({name: batch[held] for name, held in sources.items()} for batch in _each(batches, path, "Parquet")),
    )


def _csv(path: Path, scorer: Scorer) -> Chunks:
    with path.open("rb") as file:
        if not file.readline().strip():
            raise ConfigError(f"{path} has no header: the first line must name the columns")
    reading = pv.ReadOptions(block_size=CSV_BLOCK, use_threads=False)
    with _reading(path, "CSV"):
        names = pv.open_csv(path, read_options=reading).schema.names
    left, key, columns = _wanted(names, scorer)
    sources = {column.name: column.within(names) for column in columns}
    kept = pv.ConvertOptions(
        include_columns=[*dict.fromkeys(sources.values())],
        column_types=dict.fromkeys(sources.values(), pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parsing = pv.ParseOptions(newlines_in_values=True)
    with _reading(path, "CSV"):
        batches = pv.open_csv(path, read_options=reading, parse_options=parsing, convert_options=kept)
    return left, key, _typed(_each(batches, path, "CSV"), columns, sources)


@contextmanager
def _reading(path: Path, kind: str) -> Generator[None]:
    """Name the file in errors of Arrow."""
    try:
        yield
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as {kind}: {error}") from error


def _each(batches: Iterable[pa.RecordBatch], path: Path, kind: str) -> Iterator[pa.RecordBatch]:
    with _reading(path, kind):
        yield from batches


def _typed(
    batches: Iterable[pa.RecordBatch], columns: Sequence[ServedColumn], held: Mapping[str, str]
) -> Iterator[Mapping[str, pa.Array]]:
    first_row = 0
    for batch in batches:
        yield {column.name: from_text(batch[held[column.name]], column, first_row) for column in columns}
        first_row += batch.num_rows


READERS = {".parquet": _parquet, ".csv": _csv}
