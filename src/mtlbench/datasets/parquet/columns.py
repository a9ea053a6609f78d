"""Converts columns of a file to what the protocol requires: which types are accepted, and which values rejected."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from mtlbench.data import bags
from mtlbench.data.numbers import LARGEST, SAMPLE_WEIGHTS
from mtlbench.data.vocabulary import is_integer_type, is_string_type
from mtlbench.datasets.parquet.delimited import parse, parse_whole, split

Use = Literal["id", "number", "weight", "sample weight", "label", "target", "key", "group", "source", "time"]
Problems = list[tuple[np.ndarray, str]]
"""Masks of rows, and what is wrong with them."""

WELCOME: dict[Use, tuple[str, ...]] = {
    "id": ("whole numbers", "text", "null"),
    "number": ("whole numbers", "decimal numbers", "null"),
    "weight": ("whole numbers", "decimal numbers"),
    "sample weight": ("whole numbers", "decimal numbers"),
    "label": ("whole numbers", "decimal numbers", "null"),
    "target": ("whole numbers", "decimal numbers", "null"),
    "key": ("whole numbers", "text"),
    "group": ("whole numbers",),
    "source": ("whole numbers",),
    "time": ("whole numbers", "dates"),
}
"""Families of types that a column of each use may have; booleans are whole numbers."""

NUMBERED = "Text can be numbered in a new column, in pandas rows['number'] = rows['{}'].factorize()[0]"
"""What to do if groups or sources are text."""

NUMERIC = ("number", "weight", "sample weight", "label", "target")


@dataclass(frozen=True, kw_only=True, slots=True)
class ParquetColumn:
    """A column of a block.

    Attributes:
        name: in the block.
        source: in the file.
        use: what it is for; a ``label`` is 0 or 1, a ``target`` the number of a regression task.
        width: of a field; above 1 the file holds lists.
        vocabulary: columns that name the same one must all be text or all be whole numbers; ids and keys have one.
        text: whether ids are text, even if they look like numbers.
        separator: between the entries of a list in a cell of a text file.
    """

    name: str
    source: str
    use: Use
    width: int = 1
    vocabulary: str | None = None
    text: bool = False
    separator: str | None = None

    @property
    def expected(self) -> str:
        families = " or ".join(family for family in WELCOME[self.use] if family != "null")
        return f"lists of {families}" if self.width > 1 else families

    @property
    def parsed(self) -> bool:
        """Whether cells of a text file are parsed one by one: not if they are ids whose type is inferred."""
        return (self.width == 1 or self.separator is not None) and (self.text or self.use not in ("id", "key"))

    def takes(self, kind: pa.DataType) -> bool:
        """Whether a column of the file may have this type."""
        if pa.types.is_null(kind):
            return "null" in WELCOME[self.use]
        if self.width > 1:
            return bags.is_list(kind) and family(kind.value_type) in WELCOME[self.use]
        return family(kind) in WELCOME[self.use]

    def convert(self, values: pa.Array, text: bool) -> tuple[pa.Array, Problems]:
        """The values in the block's type, and the invalid ones, whose values in the result mean nothing."""
        if self.width == 1:
            return self._entries(values, text)
        if self.separator is not None and pa.types.is_string(values.type):  # cells of a text file
            values = split(values, self.separator)
        if not bags.is_list(values.type):  # all are missing
            values = pa.nulls(len(values), pa.list_(pa.null()))
        values = values.cast(pa.list_(values.type.value_type))
        lengths = bags.lengths(values)
        entries, problems = self._entries(values.flatten(), text)
        if self.use == "id":
            problems.append((entries.is_null().to_numpy(zero_copy_only=False), f"column '{self.source}' is null"))
        problems = [(_rows_of(wrong, lengths), f"an entry of {what}") for wrong, what in problems]
        if self.use == "number":
            given = values.is_valid().to_numpy(zero_copy_only=False)
            problems.append(
                (given & (lengths != self.width), f"column '{self.source}' does not have {self.width} entries")
            )
        ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        mask = values.is_null() if self.use == "number" else None
        return pa.ListArray.from_arrays(ends, entries, mask=mask), [(bad, what) for bad, what in problems if bad.any()]

    def _entries(self, values: pa.Array, text: bool) -> tuple[pa.Array, Problems]:
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        missing = values.is_null().to_numpy(zero_copy_only=False)
        unread: Problems = []
        if pa.types.is_string(values.type) and not text:  # cells of a text file
            values, unread = self._cells(values)
        if self.use in NUMERIC:
            converted, problems = self._numbers(values, values.is_null().to_numpy(zero_copy_only=False))
        elif text:
            converted, problems = self._texts(values)
        else:
            converted, problems = self._whole(values)
        if self.use not in ("id", "number", "label", "target"):
            problems.append((missing, f"column '{self.source}' is null"))
        return converted, [(wrong, what) for wrong, what in (*unread, *problems) if wrong.any()]

    def _cells(self, values: pa.Array) -> tuple[pa.Array, Problems]:
        if self.use in NUMERIC:
            numbers, wrong = parse(values, pa.float64())
            return numbers, [(wrong, f"column '{self.source}' is not a number")]
        whole, wrong = parse_whole(values)
        hint = {
            "id": " as in the lines before; if ids are text, set ids: text for the field",
            "key": " as in the lines before; if such keys follow, write the rows as Parquet",
            "group": f", as a group must be. {NUMBERED.format(self.source)}",
            "source": f", as a source must be. {NUMBERED.format(self.source)}",
            "time": " or date",
        }
        return whole, [(wrong, f"column '{self.source}' is not a whole number{hint.get(self.use, '')}")]

    def _numbers(self, values: pa.Array, missing: np.ndarray) -> tuple[pa.Array, Problems]:
        exact = values.cast(pa.float64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
        if self.use == "number":
            return pa.array(exact, mask=missing), [(~np.isfinite(exact), f"column '{self.source}' is not finite")]
        if self.use in ("label", "target"):  # some tools write missing labels as NaN
            missing = missing | np.isnan(exact)
            exact = np.where(missing, 0, exact)
        if self.use == "target":
            wrong = np.isinf(exact)
            return pa.array(np.where(wrong, 0, exact), mask=missing), [(wrong, f"label '{self.source}' is not finite")]
        if self.use == "label":
            other = (exact != 0) & (exact != 1)
            return pa.array((exact == 1).astype(np.int8), mask=missing), [
                (other, f"label '{self.source}' is neither 0 nor 1")
            ]
        if self.use == "sample weight":
            least, most = SAMPLE_WEIGHTS
            wrong = ~((exact == 0) | ((exact >= least) & (exact <= most)))
            problem = f"sample weight '{self.source}' is neither 0 nor a number from {least:.4g} to {most:.4g}"
            return pa.array(np.where(wrong, 0, exact).astype(np.float32)), [(wrong & ~missing, problem)]
        most = LARGEST / self.width  # so that the sum of a bag's weights is finite
        wrong = ~((exact >= 0) & (exact <= most))
        problem = f"column '{self.source}' is negative, not finite or above {most:.6g}"
        return pa.array(np.where(wrong, 0, exact).astype(np.float32)), [(wrong, problem)]

    def _whole(self, values: pa.Array) -> tuple[pa.Array, Problems]:
        if pa.types.is_date32(values.type):  # days since 1970
            return values.cast(pa.int32()).cast(pa.int64()), []
        if values.type == pa.bool_():
            values = values.cast(pa.int8())
        if values.type != pa.uint64():
            return values.cast(pa.int64()), []
        large = values.fill_null(0).to_numpy() > np.iinfo(np.int64).max
        return values.cast(pa.int64(), safe=False), [(large, f"column '{self.source}' is above {2**63 - 1}")]

    def _texts(self, values: pa.Array) -> tuple[pa.Array, Problems]:
        try:
            values.validate(full=True)
        except pa.ArrowInvalid:
            content = values.cast(pa.large_binary()).to_pylist()
            wrong = [not _is_text(value) for value in content]
            good = [None if bad else value for bad, value in zip(wrong, content, strict=True)]
            what = f"column '{self.source}' is not UTF-8 text"
            return pa.array(good, pa.large_binary()).cast(pa.string()), [(np.array(wrong), what)]
        return values.cast(pa.string()), []


def family(kind: pa.DataType) -> str:
    """The everyday name of a type."""
    if is_integer_type(kind):
        return "whole numbers"
    if is_string_type(kind):
        return "text"
    if pa.types.is_dictionary(kind):
        return family(kind.value_type)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "decimal numbers"
    if pa.types.is_date32(kind):
        return "dates"
    return str(kind)


def _rows_of(wrong: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Which lists of these lengths hold an invalid entry."""
    rows = np.zeros(len(lengths), bool)
    rows[np.repeat(np.arange(len(lengths)), lengths)[wrong]] = True
    return rows


def _is_text(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True
