"""Cell types of text columns, each with a scalar parser (the definition) and a vectorised one."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LARGEST_ID = 2**63 - 1
DIGITS = re.compile(r"[0-9]+", re.ASCII)
WHOLE = re.compile(r"([0-9]+)\.0+", re.ASCII)
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)


class CellType(Protocol):
    """A cell type.

    Attributes:
        expected: the allowed content, for the end of an error message.
        type: Arrow type of the column.
    """

    @property
    def expected(self) -> str: ...

    @property
    def type(self) -> pa.DataType: ...

    def read(self, text: str) -> Any:
        """The value of one cell.

        Raises:
            ValueError: the content is not allowed.
        """
        ...

    def read_all(self, texts: pa.Array) -> pa.Array | None:
        """The values of strings, equal to those of `read`; ``None`` unless all strings are certainly valid."""
        ...


@dataclass(frozen=True)
class OneOf:
    """One of a few integers, in canonical form.

    Attributes:
        values: the allowed integers.
        type: Arrow type of the column.
        missing: further integers that mean an unknown value: null.
    """

    values: tuple[int, ...]
    type: pa.DataType = field(default_factory=pa.int64)
    missing: tuple[int, ...] = ()

    @property
    def expected(self) -> str:
        return f"one of {', '.join(map(str, self.values + self.missing))}"

    def read(self, text: str) -> int | None:
        return self._meanings[list(map(str, self.values + self.missing)).index(text)]

    def read_all(self, texts: pa.Array) -> pa.Array | None:
        allowed = pa.array(map(str, self.values + self.missing), pa.string())
        indices = pc.call_function("index_in", [texts], pc.SetLookupOptions(value_set=allowed))
        return None if indices.null_count else pa.array(self._meanings, self.type).take(indices)

    @property
    def _meanings(self) -> tuple[int | None, ...]:
        return self.values + (None,) * len(self.missing)


@dataclass(frozen=True)
class Text:
    """Any text.

    Attributes:
        optional: whether the cell may be empty, which means null.
    """

    optional: bool = False

    type = pa.string()

    @property
    def expected(self) -> str:
        return "text" + (", or nothing" if self.optional else "")

    def read(self, text: str) -> str | None:
        if not text and not self.optional:
            raise ValueError
        return text or None

    def read_all(self, texts: pa.Array) -> pa.Array | None:
        if self.optional:
            return _null_where_empty(texts)
        return None if _equal(texts, "").true_count else texts


@dataclass(frozen=True)
class Id:
    """A non-negative integer.

    Attributes:
        optional: whether the cell may be empty, which means null.
        decimal: whether it may be written as a decimal number (``4.0``), as pandas does if a column has gaps.
    """

    optional: bool = False
    decimal: bool = False

    type = pa.int64()

    @property
    def expected(self) -> str:
        zeros = " with or without '.0' behind them" if self.decimal else ""
        return f"digits{zeros}, at most {LARGEST_ID}" + (", or nothing" if self.optional else "")

    def read(self, text: str) -> int | None:
        if self.optional and not text:
            return None
        if self.decimal and (whole := WHOLE.fullmatch(text)):
            text = whole[1]
        if not DIGITS.fullmatch(text) or len(text.lstrip("0")) > len(str(LARGEST_ID)) or int(text) > LARGEST_ID:
            raise ValueError
        return int(text)

    def read_all(self, texts: pa.Array) -> pa.Array | None:
        if self.optional:
            texts = _null_where_empty(texts)
        if self.decimal:
            options = pc.ReplaceSubstringOptions(f"^{WHOLE.pattern}$", r"\1")
            texts = pc.call_function("replace_substring_regex", [texts], options)
        return _whole_numbers(texts)


@dataclass(frozen=True)
class Number:
    """A finite decimal number, stored as float32.

    Attributes:
        optional: whether the cell may be empty, which means null.
    """

    optional: bool = False

    type = pa.float32()

    @property
    def expected(self) -> str:
        return "a finite decimal number" + (", or nothing" if self.optional else "")

    def read(self, text: str) -> float | None:
        if self.optional and not text:
            return None
        if not DECIMAL.fullmatch(text):
            raise ValueError
        with np.errstate(over="ignore"):
            value = float(np.float32(float(text)))
        if not math.isfinite(value):
            raise ValueError
        return value

    def read_all(self, texts: pa.Array) -> pa.Array | None:
        empty = _equal(texts, "").to_numpy(zero_copy_only=False) if self.optional else np.zeros(len(texts), bool)
        try:
            exact = _null_where_empty(texts).cast(pa.float64()) if self.optional else texts.cast(pa.float64())
        except pa.ArrowInvalid:
            return None
        with np.errstate(over="ignore"):
            values = exact.to_numpy(zero_copy_only=False).astype(np.float32)
        return pa.array(values, mask=empty) if np.isfinite(values[~empty]).all() else None


@dataclass(frozen=True)
class ListOf:
    """A list of cells of one type with a separator between them; an empty cell is an empty list.

    Attributes:
        cell: cell type of the entries.
        separator: a single character.
        length: required number of entries; ``None`` for any number.
        trailing: whether separators may follow the last entry.
    """

    cell: Id | Number
    separator: str
    length: int | None = None
    trailing: bool = False

    @property
    def expected(self) -> str:
        count = "" if self.length is None else f"{self.length} "
        return f"{count}entries with {self.separator!r} between them, each {self.cell.expected}"

    @property
    def type(self) -> pa.DataType:
        return pa.list_(self.cell.type)

    def read(self, text: str) -> list[Any]:
        if self.trailing:
            text = text.rstrip(self.separator)
        entries = [self.cell.read(entry) for entry in text.split(self.separator)] if text else []
        if self.length not in (None, len(entries)):
            raise ValueError
        return entries

    def read_all(self, texts: pa.Array) -> pa.Array | None:
        if self.trailing:
            texts = pc.call_function("ascii_rtrim", [texts], pc.TrimOptions(self.separator))
        counts, entries = _split(texts, self.separator)
        if self.length is not None and (counts != self.length).any():
            return None
        values = self.cell.read_all(entries)
        return None if values is None else _lists(counts, values)


@dataclass(frozen=True)
class Weighted:
    """The ids, or the weights, of ``id weight;id weight;...``; an empty cell is an empty list.

    Attributes:
        part: ids or weights; both are validated.
    """

    part: int

    @property
    def expected(self) -> str:
        return (
            f"entries with ';' between them, each an id ({Id().expected}), a space and a weight "
            f"({Number().expected}, not negative)"
        )

    @property
    def type(self) -> pa.DataType:
        return pa.list_((Id().type, Number().type)[self.part])

    def read(self, text: str) -> list[Any]:
        pairs = [self._pair(entry) for entry in text.split(";")] if text else []
        return [pair[self.part] for pair in pairs]

    def read_all(self, texts: pa.Array) -> pa.Array | None:
        counts, entries = _split(texts, ";")
        pairs, tokens = _split(entries, " ")
        if (pairs != 2).any():
            return None
        ids, weights = Id().read_all(tokens[::2]), Number().read_all(tokens[1::2])
        if ids is None or weights is None or (weights.to_numpy() < 0).any():
            return None
        return _lists(counts, (ids, weights)[self.part])

    @staticmethod
    def _pair(entry: str) -> tuple[int | None, float]:
        identifier, weight = entry.split(" ")
        pair = Id().read(identifier), Number().read(weight)
        if pair[1] is None or pair[1] < 0:
            raise ValueError
        return pair[0], pair[1]


def _whole_numbers(texts: pa.Array) -> pa.Array | None:
    """Strings of digits as int64; null stays null."""
    if pc.call_function("all", [pc.call_function("ascii_is_decimal", [texts])]).as_py() is False:
        return None
    try:
        return texts.cast(pa.int64())
    except pa.ArrowInvalid:  # too large
        return None


def _split(texts: pa.Array, separator: str) -> tuple[np.ndarray, pa.Array]:
    """The number of entries of each string (0 if it is empty), and all entries."""
    lists = pc.call_function("split_pattern", [texts], pc.SplitPatternOptions(separator))
    counts = lists.value_lengths().to_numpy().astype(np.int64)
    empty = _equal(texts, "")
    if not empty.true_count:
        return counts, lists.flatten()
    counts[empty.to_numpy(zero_copy_only=False)] = 0
    return counts, lists.filter(pc.call_function("invert", [empty])).flatten()


def _lists(counts: np.ndarray, values: pa.Array) -> pa.Array:
    ends = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return pa.ListArray.from_arrays(ends, values)


def _null_where_empty(texts: pa.Array) -> pa.Array:
    return pc.call_function("if_else", [_equal(texts, ""), pa.scalar(None, pa.string()), texts])


def _equal(texts: pa.Array, text: str) -> pa.Array:
    return pc.call_function("equal", [texts, pa.scalar(text, texts.type)])
