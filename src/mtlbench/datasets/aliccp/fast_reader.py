"""Vectorised reader of Ali-CCP lines: numpy finds the separators, Arrow converts the tokens between them.

It gives the same result as `reference_reader` on every text that it accepts. It accepts a text only if every line is
certainly good; the caller gives any other text to `reference_reader`, which gives the reasons.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mtlbench.datasets.aliccp.layout import AFTER_FIELD, AFTER_ID, ALL, BETWEEN_TRIPLES, BY_CODE, COMMAS

COMMA, NEWLINE, POINT, ZERO = b",\n.0"
SEPARATORS = bytes([COMMA, NEWLINE, AFTER_FIELD, AFTER_ID, BETWEEN_TRIPLES])
DIGITS = b"0123456789"
ONE = b"1.0"
LONGEST_INTEGER, LONGEST_KEY = 18, 16
"""Digits, including leading zeros: the most that `reference_reader` accepts of an integer, and the number of a key."""

HISTORY = np.frombuffer(b"_14", np.uint8)
CODES = {table: np.full(2000, -1, np.int8) for table in COMMAS}
"""By table and number of a field code, plus 1000 with the suffix `HISTORY`: its index in `ALL`, or -1."""
for position, name in enumerate(ALL):
    CODES[BY_CODE[name].table][int(name[:3]) + 1000 * name.endswith("_14")] = position
SINGLE = np.array([not BY_CODE[name].bag for name in ALL])

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int8]


@dataclass(frozen=True, kw_only=True, slots=True)
class AliCCPLines:
    """Parsed lines as columns: one entry per line, and one per triple in file order.

    Attributes:
        click, conversion: int8 ``[lines]``; empty for a common file.
        key: int64 ``[lines]``.
        line: int64 ``[triples]``, the index of the triple's line.
        code: int8 ``[triples]``, the index of the triple's field in `ALL`.
        ids: int32 ``[triples]``.
        values: float32 ``[triples]``.
    """

    click: npt.NDArray[np.int8]
    conversion: npt.NDArray[np.int8]
    key: npt.NDArray[np.int64]
    line: npt.NDArray[np.int64]
    code: npt.NDArray[np.int8]
    ids: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]


class _FallbackError(Exception):
    """Some line may be bad; the reference reader decides."""


def read_lines(text: bytes, table: str) -> AliCCPLines | None:
    """Read whole lines, each ended by a newline; ``None`` unless every one of them is certainly good."""
    try:
        return _read(text, table)
    except (_FallbackError, pa.ArrowInvalid):  # Arrow: a token is not a number, or too large
        return None


def _read(text: bytes, table: str) -> AliCCPLines:
    data = np.frombuffer(text, np.uint8)
    header = _header(data, table)
    first, field_end, id_end, value_end = _triples(data, header)
    counts = np.diff(np.append(first, value_end.size))
    start = np.concatenate(([0], value_end[:-1] + 1))
    start[first] = header[:, -2] + 1

    click, conversion, keys = _columns(data, header, counts)
    # Letters occur only in keys, as lower-case hexadecimal digits: no number is 'nan', '0x1f' or '1e5'.
    letters = text.translate(None, DIGITS + b"._" + SEPARATORS)
    _require(letters == keys.translate(None, DIGITS) and not letters.translate(None, b"abcdef"))
    _require((id_end - field_end).max() <= LONGEST_INTEGER + 1)
    _require(not (data[id_end + 1] == POINT).any() and not (data[value_end - 1] == POINT).any())  # not '.5', '5.'
    (ids,) = _tokens(data, (field_end + 1, id_end))
    line = np.repeat(np.arange(counts.size), counts)
    code = _codes(data, start, field_end, table)
    _require_single(line, code, counts.size)
    return AliCCPLines(
        click=click,
        conversion=conversion,
        key=np.frombuffer(bytes.fromhex(keys.decode()), ">i8").astype(np.int64),
        line=line,
        code=code,
        ids=ids.cast(pa.int32()).to_numpy(),
        values=_values(data, id_end + 1, value_end),
    )


def _header(data: Bytes, table: str) -> Integers:
    """Positions of the commas and the newline of every line, ``[lines, commas + 1]``."""
    separators = np.flatnonzero((data == COMMA) | (data == NEWLINE))
    columns = COMMAS[table] + 1
    _require(separators.size > 0 and separators.size % columns == 0 and separators[-1] == data.size - 1)
    header = separators.reshape(-1, columns)
    _require((data[header[:, :-1]] == COMMA).all() and (data[header[:, -1]] == NEWLINE).all())
    return header


def _triples(data: Bytes, header: Integers) -> tuple[Integers, Integers, Integers, Integers]:
    """Index of the first triple of every line ``[lines]``; positions after field, id and value ``[triples]``."""
    ends = np.flatnonzero((data <= AFTER_ID) | (data == NEWLINE))
    _require(ends.size % 3 == 0)
    ends = ends.reshape(-1, 3)
    after_field, after_id, after_value = data[ends].T
    _require((after_field == AFTER_FIELD).all() and (after_id == AFTER_ID).all())
    last = after_value == NEWLINE
    _require((last | (after_value == BETWEEN_TRIPLES)).all())
    first = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    _require(first.size == len(header) and (ends[first, 0] > header[:, -2]).all())
    field_end, id_end, value_end = np.ascontiguousarray(ends.T)
    return first, field_end, id_end, value_end


def _columns(data: Bytes, header: Integers, counts: Integers) -> tuple[Labels, Labels, bytes]:
    """Click and conversion of every line, both empty for a common file, and the digits of all keys."""
    stop = header[:, :-1].T
    start = np.vstack([np.concatenate(([0], header[:-1, -1] + 1)), stop[:-1] + 1])
    length = stop - start
    *sample, count = _tokens(data, *((start[at], stop[at]) for at in ((0, -1) if len(stop) > 2 else (-1,))))
    _require(length[-1].max() <= LONGEST_INTEGER and (count.cast(pa.int64()).to_numpy() == counts).all())
    _require((length[-2] == LONGEST_KEY).all())
    keys = data[start[-2][:, None] + np.arange(LONGEST_KEY)].tobytes()
    if not sample:
        return np.empty(0, np.int8), np.empty(0, np.int8), keys
    _require(length[0].max() <= LONGEST_INTEGER)
    sample[0].cast(pa.int64())  # digits, or ArrowInvalid
    click, conversion = labels = data[start[1:3]] - ZERO
    _require((length[1:3] == 1).all() and (labels <= 1).all())
    return click.view(np.int8), conversion.view(np.int8), keys


def _tokens(data: Bytes, *edges: tuple[Integers, Integers]) -> list[pa.StringArray]:
    """The texts from start to stop, for each pair of edges; all edges together are the offsets of one array."""
    offsets = np.stack([edge for pair in edges for edge in pair], axis=1, dtype=np.int32, casting="same_kind")
    pieces = pa.StringArray.from_buffers(offsets.size - 1, pa.py_buffer(offsets), pa.py_buffer(data))
    return [pieces.take(pa.array(np.arange(2 * at, offsets.size, 2 * len(edges)))) for at in range(len(edges))]


def _codes(data: Bytes, start: Integers, stop: Integers, table: str) -> npt.NDArray[np.int8]:
    """Index in `ALL` of every field code: three digits, followed by `HISTORY` for a history."""
    length = stop - start
    history = np.flatnonzero(length == 3 + HISTORY.size)
    _require(np.count_nonzero(length == 3) + history.size == length.size)
    _require((data[start[history][:, None] + np.arange(3, 3 + HISTORY.size)] == HISTORY).all())
    hundreds, tens, ones = (data[start + at] - ZERO for at in range(3))
    _require(max(hundreds.max(), tens.max(), ones.max()) <= 9)
    number = hundreds * np.int16(100) + tens * 10 + ones
    number[history] += 1000
    code = CODES[table][number]
    _require((code >= 0).all())
    return code


def _require_single(line: Integers, code: npt.NDArray[np.int8], lines: int) -> None:
    """Require that no line has two triples of a single-valued field."""
    single = np.flatnonzero(SINGLE[code])
    seen = np.zeros(lines * len(ALL), bool)
    seen[line[single] * len(ALL) + code[single]] = True
    _require(np.count_nonzero(seen) == single.size)


def _values(data: Bytes, start: Integers, stop: Integers) -> npt.NDArray[np.float32]:
    """Values, rounded to float64 and then to float32, as by the reference reader. Most of them are ``1.0``."""
    one = stop - start == len(ONE)
    for at, byte in enumerate(ONE):
        one &= data.take(start + at, mode="clip") == byte
    values = np.ones(start.size, np.float32)
    if (others := np.flatnonzero(~one)).size:
        (numbers,) = _tokens(data, (start[others], stop[others]))
        with np.errstate(over="ignore"):
            values[others] = numbers.cast(pa.float64()).to_numpy()
        _require(np.isfinite(values).all())
    return values


def _require(good: bool | np.bool_) -> None:
    if not good:
        raise _FallbackError
