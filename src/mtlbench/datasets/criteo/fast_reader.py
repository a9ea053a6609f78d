"""Many lines of Criteo's ``train.txt`` at once, with numpy on the bytes.

All tabs and newlines are found in one pass, then digits are read place by place in all values of a kind at once. Every
rule of `reference_reader` is checked, for the whole piece at once: any doubt gives None, and the caller reads line by
line.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.criteo.reference_reader import COLUMNS, LONGEST_NUMBER, NUMBERS

TAB, NEWLINE, MINUS, ZERO = b"\t\n-0"
DIGITS = 8
"""Of a category."""

NIBBLES = np.full(256, 16, np.uint8)
NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """What L lines hold, by columns.

    Attributes:
        click: int8 ``[L]``.
        numbers, no_number: int32 and bool ``[13, L]``; the value is 0 where there is none.
        categories, no_category: uint32 and bool ``[26, L]``, likewise.
    """

    click: npt.NDArray[np.int8]
    numbers: npt.NDArray[np.int32]
    no_number: npt.NDArray[np.bool_]
    categories: npt.NDArray[np.uint32]
    no_category: npt.NDArray[np.bool_]


class _DoubtError(Exception):
    """Something in the piece is not as expected."""


def read_lines(text: bytes) -> Lines | None:
    """Read whole lines, each ended by a newline; None unless every one of them is good."""
    try:
        return _read(text)
    except _DoubtError:
        return None


def _read(text: bytes) -> Lines:
    # Behind the text stands what the last, empty values are read into; it is masked afterwards.
    padded = np.frombuffer(text + bytes(DIGITS), np.uint8)
    stop = np.flatnonzero(padded[: len(text)] <= NEWLINE)
    _must(stop.size > 0 and stop.size % len(COLUMNS) == 0 and stop[-1] == len(text) - 1)
    start = np.concatenate(([0], stop[:-1] + 1))
    kinds = padded[stop].reshape(-1, len(COLUMNS))
    _must((kinds[:, -1] == NEWLINE).all() and (kinds[:, :-1] == TAB).all())
    # One row per column of the file, so that what becomes a column lies together.
    start = np.ascontiguousarray(start.reshape(-1, len(COLUMNS)).T)
    length = np.ascontiguousarray(stop.reshape(-1, len(COLUMNS)).T) - start
    label = padded[start[0]] - ZERO
    _must((length[0] == 1).all() and (label <= 1).all())
    whole, hashed = slice(1, len(NUMBERS) + 1), slice(len(NUMBERS) + 1, None)
    return Lines(
        click=label.astype(np.int8),
        numbers=_whole_numbers(padded, start[whole], length[whole]),
        no_number=length[whole] == 0,
        categories=_categories(padded, start[hashed], length[hashed]),
        no_category=length[hashed] == 0,
    )


def _whole_numbers(padded: npt.NDArray[np.uint8], start: Places, length: Places) -> npt.NDArray[np.int32]:
    negative = (padded[start] == MINUS) & (length > 0)
    digits = length - negative
    _must((digits <= LONGEST_NUMBER).all() and not (negative & (digits == 0)).any())
    result = np.zeros(start.shape, np.int32)
    last = start + length - 1
    for place in range(int(digits.max())):
        there = np.flatnonzero(digits > place)  # ever fewer: most numbers are short
        digit = padded[last.flat[there] - place] - ZERO
        _must((digit <= 9).all())
        result.flat[there] += digit * np.int32(10**place)
    return np.where(negative, -result, result)


def _categories(padded: npt.NDArray[np.uint8], start: Places, length: Places) -> npt.NDArray[np.uint32]:
    empty = length == 0
    _must((empty | (length == DIGITS)).all())
    words = np.ndarray((padded.size - DIGITS + 1,), "<u8", padded, 0, (1,))  # eight bytes from every byte on
    nibbles = NIBBLES[words[start].view(np.uint8).reshape(*start.shape, DIGITS)]
    nibbles[empty] = 0
    _must((nibbles < 16).all())
    pairs = nibbles[..., 0::2] << 4 | nibbles[..., 1::2]
    return pairs.view(">u4")[..., 0].astype(np.uint32)


def _must(good: bool | np.bool_) -> None:
    if not good:
        raise _DoubtError
