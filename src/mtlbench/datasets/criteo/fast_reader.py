"""Vectorised reader of Criteo's ``train.txt``, with numpy on the bytes.

Tabs and newlines are found in one pass, then digits are read position by position in all values of a kind at once.
It gives the same result as `reference_reader` on every text that it accepts. It accepts a text only if every line is
certainly good; the caller gives any other text to `reference_reader`, which gives the reasons.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.criteo.reference_reader import COLUMNS, LONGEST_NUMBER, NUMBERS

TAB, NEWLINE, MINUS, ZERO = b"\t\n-0"
DIGITS = 8
"""Of a category."""

HEXADECIMAL = np.frombuffer(b"0123456789abcdef", np.uint8).astype(np.uint16)
BYTES = np.full(1 << 16, 256, np.uint16)
"""By pair of characters, the second in the high byte: the byte that it writes in hexadecimal, or 256."""
BYTES[HEXADECIMAL[:, None] | HEXADECIMAL << 8] = np.arange(256).reshape(16, 16)

Integers = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, slots=True)
class CriteoLines:
    """What L lines hold, as columns.

    Attributes:
        click: int8 ``[L]``.
        numbers, no_number: int32 and bool ``[13, L]``; missing values are 0.
        categories, no_category: uint32 and bool ``[26, L]``; the same.
    """

    click: npt.NDArray[np.int8]
    numbers: npt.NDArray[np.int32]
    no_number: npt.NDArray[np.bool_]
    categories: npt.NDArray[np.uint32]
    no_category: npt.NDArray[np.bool_]


class _FallbackError(Exception):
    """Some line may be bad; the reference reader decides."""


def read_lines(text: bytes) -> CriteoLines | None:
    """Read whole lines, each ended by a newline; None unless every one of them is certainly good."""
    try:
        return _read(text)
    except _FallbackError:
        return None


def _read(text: bytes) -> CriteoLines:
    # Where the last values are empty, the padding is read instead, and masked afterwards.
    padded = np.frombuffer(text + bytes(DIGITS), np.uint8)
    stop = np.flatnonzero(padded[: len(text)] <= NEWLINE)
    _require(stop.size > 0 and stop.size % len(COLUMNS) == 0 and stop[-1] == len(text) - 1)
    start = np.concatenate(([0], stop[:-1] + 1))
    kinds = padded[stop].reshape(-1, len(COLUMNS))
    _require((kinds[:, -1] == NEWLINE).all() and (kinds[:, :-1] == TAB).all())
    # One row per column of the file, so that the values of a column are contiguous.
    start = np.ascontiguousarray(start.reshape(-1, len(COLUMNS)).T)
    length = np.ascontiguousarray(stop.reshape(-1, len(COLUMNS)).T) - start
    label = padded[start[0]] - ZERO
    _require((length[0] == 1).all() and (label <= 1).all())
    whole, hashed = slice(1, len(NUMBERS) + 1), slice(len(NUMBERS) + 1, None)
    return CriteoLines(
        click=label.astype(np.int8),
        numbers=_whole_numbers(padded, start[whole], length[whole]),
        no_number=length[whole] == 0,
        categories=_categories(padded, start[hashed], length[hashed]),
        no_category=length[hashed] == 0,
    )


def _whole_numbers(padded: npt.NDArray[np.uint8], start: Integers, length: Integers) -> npt.NDArray[np.int32]:
    negative = (padded[start] == MINUS) & (length > 0)
    digits = length - negative
    _require((digits <= LONGEST_NUMBER).all() and not (negative & (digits == 0)).any())
    result = np.zeros(start.shape, np.int32)
    last = start + length - 1
    for position in range(int(digits.max())):
        there = np.flatnonzero(digits > position)  # ever fewer: most numbers are short
        digit = padded[last.flat[there] - position] - ZERO
        _require((digit <= 9).all())
        result.flat[there] += digit * np.int32(10**position)
    return np.where(negative, -result, result)


def _categories(padded: npt.NDArray[np.uint8], start: Integers, length: Integers) -> npt.NDArray[np.uint32]:
    empty = length == 0
    _require((empty | (length == DIGITS)).all())
    words = np.ndarray((padded.size - DIGITS + 1,), "<u8", padded, 0, (1,))  # eight bytes from every byte on
    found = BYTES[words[start].view("<u2").reshape(*start.shape, DIGITS // 2)]
    found[empty] = 0
    _require((found < 256).all())
    return found.astype(np.uint8).view(">u4")[..., 0].astype(np.uint32)


def _require(good: bool | np.bool_) -> None:
    if not good:
        raise _FallbackError
