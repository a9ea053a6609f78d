"""Files that all simulators write: delimited lines, the true probabilities, and ``simulated.json``."""

import json
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mtlbench.checks import in_range, one_of
from mtlbench.datasets.draws import Floats
from mtlbench.ingest.encode import truth_path

NULLS_ARE_EMPTY = pc.JoinOptions("replace", "")


def check_settings(simulator: str, settings: Any, **allowed: tuple[float, float] | tuple[str, ...]) -> None:
    """Check a simulator's settings by name: numbers against their bounds, words against the allowed ones.

    Raises:
        ValueError: a value that is not allowed.
    """
    for key, limits in allowed.items():
        name, value, low = f"{simulator} simulator: {key}", getattr(settings, key), limits[0]
        if isinstance(low, str):
            one_of(name, value, limits)
        else:
            in_range(name, value, ge=low, le=limits[1])  # pyright: ignore[reportArgumentType]


def write_mark(folder: Path, name: str, version: int, settings: Any, **more: object) -> None:
    """Write ``simulated.json``, which marks a folder as simulated, with the simulator's version and settings."""
    mark = {"name": name, "version": version, "knobs": asdict(settings), **more}
    (folder / "simulated.json").write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")


@contextmanager
def truth_file(path: Path, tasks: int, *, header: bool = False) -> Generator[Callable[[Floats], None]]:
    """Write the true probabilities of a file's labels next to it, piece by piece.

    Args:
        path: of the labelled file.
        tasks: T.
        header: whether its first line is a header that counts as a line; its probabilities are NaN.

    Yields:
        A function that appends probabilities ``[lines, T]``.
    """
    lines = 0
    with truth_path(path).open("w+b") as file:

        def append(chances: Floats) -> None:
            nonlocal lines
            lines += len(chances)
            file.write(chances.astype("<f4").tobytes())

        def write_shape() -> int:
            shape = {"descr": "<f4", "fortran_order": False, "shape": (lines, tasks)}
            np.lib.format.write_array_header_1_0(file, shape)
            return file.tell()

        begin = write_shape()
        if header:
            append(np.full((1, tasks), np.nan))
        yield append
        file.seek(0)
        # NumPy pads headers so that the length of the first axis can grow in place.
        assert write_shape() == begin


def text_lines(columns: Iterable[npt.NDArray[Any] | pa.Array], separator: str = ",") -> bytes:
    """The rows of some columns as lines, nulls as empty cells, each line ended by a newline."""
    *others, last = (pa.array(column).cast(pa.string()) for column in columns)
    return joined(*others, joined(last, "\n", ""), separator).buffers()[2].to_pybytes()


def hexadecimal(numbers: npt.NDArray[np.uint32] | npt.NDArray[np.uint64]) -> pa.Array:
    """All digits of unsigned numbers, in lower case."""
    count, width = len(numbers), 2 * numbers.itemsize
    text = numbers.astype(numbers.dtype.newbyteorder(">")).tobytes().hex()
    ends = np.arange(0, width * count + 1, width, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(text.encode()))


def joined(*parts: pa.Array | str) -> pa.Array:
    """Strings joined row by row; the last argument is the separator."""
    return pc.call_function("binary_join_element_wise", list(parts), NULLS_ARE_EMPTY)
