"""A file of matrices: one uncompressed Arrow record batch, written in place by several processes, read without a copy.

Arrow writes a whole batch at once, but rows are encoded piecewise in several processes. So the file is first created as
a sparse file, with holes for the values (instantly, whatever its size), and each piece is then written to its position.
Nothing is written twice, and a full disk raises an ordinary `OSError`, where a memory mapping would crash.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike


@dataclass(frozen=True, slots=True)
class MatrixColumn:
    """A matrix of a file: its type and the number of values per row; width 0 is a plain column, one value per row."""

    dtype: DTypeLike
    width: int = 0

    @property
    def row_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * max(self.width, 1)


@dataclass(frozen=True, slots=True)
class MatrixFile:
    """A created file with the offset of each matrix, so that any process can write rows."""

    path: Path
    columns: Mapping[str, MatrixColumn]
    offsets: Mapping[str, int]

    def write(self, name: str, first_row: int, rows: np.ndarray) -> None:
        """Write ``rows`` (``[n, width]`` or ``[n]``) at ``first_row`` of the matrix ``name``."""
        column = self.columns[name]
        assert rows.dtype == column.dtype, f"{self.path.name}: '{name}' is {column.dtype}, not {rows.dtype}"
        assert rows.nbytes == len(rows) * column.row_bytes, f"{self.path.name}: '{name}' is not {rows.shape[1:]} wide"
        if not len(rows):  # nothing to seek to in an empty file
            return
        with self.path.open("r+b") as file:
            file.seek(self.offsets[name] + first_row * column.row_bytes)
            rows.tofile(file)


def create(path: Path, rows: int, columns: Mapping[str, MatrixColumn]) -> MatrixFile:
    """Create a file of ``rows`` rows whose matrices are all zero and take no disk space yet."""
    with zeros_on_disk(max(column.row_bytes for column in columns.values()) * rows) as zeros, path.open("wb") as file:
        batch = pa.record_batch({name: _column(zeros, column, rows) for name, column in columns.items()})
        with pa.ipc.new_file(pa.PythonFile(_SkipBuffers(file), "w"), batch.schema) as writer:
            writer.write_batch(batch)
    with pa.memory_map(str(path)) as file:
        start = file.read_buffer().address
        file.seek(0)
        batch = pa.ipc.open_file(file).get_batch(0)
        offsets = {name: _values(batch[name]).buffers()[1].address - start for name in columns}
        return MatrixFile(path, dict(columns), offsets)


def read(path: Path) -> dict[str, np.ndarray]:
    """The matrices of a file, memory-mapped and read-only: ``[rows, width]``, or ``[rows]`` for a plain column."""
    batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    matrices: dict[str, np.ndarray] = {}
    for name in batch.schema.names:
        values = np.from_dlpack(_values(batch[name]))  # no copy; `to_numpy` would import pandas, 0.4 s per run
        kind = batch[name].type
        matrices[name] = values.reshape(-1, kind.list_size) if pa.types.is_fixed_size_list(kind) else values
    return matrices


@contextmanager
def zeros_on_disk(size: int) -> Generator[np.ndarray]:
    """``size`` zero bytes that take neither memory nor disk space until they are read."""
    with TemporaryFile() as file:
        file.truncate(max(size, 1))
        yield np.memmap(file, mode="r", dtype=np.uint8)


def _column(zeros: np.ndarray, column: MatrixColumn, rows: int) -> pa.Array:
    values = pa.array(zeros[: rows * column.row_bytes].view(column.dtype))
    return pa.FixedSizeListArray.from_arrays(values, column.width) if column.width else values


def _values(column: pa.Array) -> pa.Array:
    return column.values if pa.types.is_fixed_size_list(column.type) else column


class _SkipBuffers:
    """A file object that seeks over the buffers of a batch instead of writing them, and writes everything else."""

    closed = False

    def __init__(self, file: BufferedWriter | IO[bytes]) -> None:
        self.file = file

    def write(self, data: bytes | pa.Buffer) -> int:
        if isinstance(data, bytes):
            return self.file.write(data)
        self.file.seek(data.size, 1)
        return data.size

    def tell(self) -> int:
        return self.file.tell()

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        pass
