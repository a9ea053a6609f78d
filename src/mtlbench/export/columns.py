"""Raw columns of a request, matched by name and validated by type and row."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from mtlbench.data import bags
from mtlbench.data.numbers import LARGEST
from mtlbench.data.vocabulary import Vocabulary, is_string_type
from mtlbench.datasets.parquet.delimited import parse, parse_integers
from mtlbench.ingest.protocol import WEIGHT_SUFFIX
from mtlbench.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

EXACT = {16: 2**11, 32: 2**24, 64: 2**53}
"""By size of a float in bits: beyond this, not every integer is representable, so that ids could be confused."""

Kind = Literal["integer", "text", "number", "weight"]
TYPES: dict[Kind, pa.DataType] = {
    "integer": pa.int64(),
    "text": pa.string(),
    "number": pa.float64(),
    "weight": pa.float32(),
}


class ColumnError(ValueError):
    """Rows that a model cannot score; the message has the column, the row, the value found and the values allowed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedColumn:
    """A raw input column of a model.

    Attributes:
        name: name of the field; for the weights of a field, ``<name>:weight``.
        kind: kind of its values. A weight is 0 or more and never missing.
        many: whether each row has a list of values.
        length: length of every list, if fixed (a number with several components).
        most: largest allowed weight, as in a reader, so that the sum of a list of weights is finite.
        missing: whether values may be missing, because training rows had enough missing values for a separate id.
        alias: its column in the training files, if named differently; read if there is no column `name`.
        separator: separator of list entries in a cell of a text file, if the training files have one.
    """

    name: str
    kind: Kind
    many: bool = False
    length: int | None = None
    most: float = LARGEST
    missing: bool = True
    alias: str | None = None
    separator: str | None = None

    def within(self, names: Sequence[str]) -> str:
        """The name under which a file has this column: `name`, or else its alias."""
        return self.name if self.alias is None or self.name in names or self.alias not in names else self.alias

    @property
    def called(self) -> str:
        """Its name, for messages, and that in the training files."""
        return f"column '{self.name}'" + ("" if self.alias is None else f" ('{self.alias}' in the training files)")

    @property
    def allowed(self) -> str:
        """The values allowed in a row, as text."""
        weights = f"numbers from 0 to {self.most:.6g}"
        singular = {"integer": "an integer", "text": "text", "number": "a finite number", "weight": weights}
        plural = {"integer": "integers", "text": "texts", "number": "finite numbers", "weight": weights}
        if not self.many:
            return f"{singular[self.kind]}, or empty if missing"
        return f"a list of {f'{self.length} ' if self.length else ''}{plural[self.kind]}, or empty"


def columns_of(
    schema: Schema, vocabularies: Mapping[str, Vocabulary], files: Mapping[str, Mapping[str, str]]
) -> tuple[ServedColumn, ...]:
    """The raw columns of a schema, in its order; ``files`` has further attributes by `ServedColumn.name`."""
    found: list[ServedColumn] = []
    for field in schema.fields:
        many = field.width > 1
        if field.kind == "number":
            found.append(ServedColumn(name=field.name, kind="number", many=many, length=field.width if many else None))
            continue
        values = vocabularies[field.vocabulary_name].values
        kind: Kind = "integer" if pa.types.is_integer(values.type) else "text"
        found.append(ServedColumn(name=field.name, kind=kind, many=many, missing=bool(values.null_count)))
        if field.weighted:
            name, most = field.name + WEIGHT_SUFFIX, LARGEST / field.width
            found.append(ServedColumn(name=name, kind="weight", many=True, most=most, missing=False))
    return tuple(replace(column, **files.get(column.name, {})) for column in found)


def key_of(keys: pa.Schema) -> tuple[ServedColumn, ...]:
    """The columns of the row key, which are optional in a file of rows and are copied to the predictions."""
    return tuple(ServedColumn(name=f.name, kind="integer" if pa.types.is_integer(f.type) else "text") for f in keys)


def carried(names: Sequence[str], columns: Sequence[ServedColumn], key: Sequence[ServedColumn]) -> list[ServedColumn]:
    """The key columns that are present; one that is also an input is read like the input."""
    inputs = {column.name: column for column in columns}
    present = [inputs.get(column.name, column) for column in key if names.count(column.name) == 1]
    return [column for column in present if column.kind in ("integer", "text") and not column.many]


def unused(names: Sequence[str], columns: Sequence[ServedColumn]) -> tuple[str, ...]:
    """The columns present that a model does not use.

    Raises:
        ColumnError: an input column is missing, or a name occurs twice.
    """
    for column in columns:
        if (times := names.count(column.within(names))) != 1:
            close = difflib.get_close_matches(column.name, names, n=1)
            hint = f" (did you mean it by '{close[0]}'?)" if close and not times else ""
            raise ColumnError(
                f"column '{column.within(names)}' occurs {times} times; it must occur once{hint}. Values: "
                f"{column.allowed}. Found: {', '.join(names)}"
            )
    used = {column.within(names) for column in columns}
    return tuple(name for name in names if name not in used)


def checked(values: pa.Array, column: ServedColumn, first_row: int) -> pa.Array:
    """Convert a column to the type that readers give; lists stay lists, missing values are null.

    Args:
        values: values of any type. Booleans are integers, as in a reader. NaN is missing; whole floats below 2**53 are
            accepted as integers, since pandas and JSON convert integers beside missing values to floats.
        column: the expected column.
        first_row: number of the first row, for messages.

    Raises:
        ColumnError: a value is not allowed.
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    if bags.is_list(values.type) != column.many:
        _refuse(values, valid, column, lambda row: first_row + row)
        return pa.nulls(len(values), pa.list_(TYPES[column.kind]) if column.many else TYPES[column.kind])
    if not column.many:
        return _entries(values, column, lambda row: first_row + row)
    lengths = bags.lengths(values)
    if column.length is not None:
        _refuse(values, valid & (lengths != column.length), column, lambda row: first_row + row)
    rows = np.repeat(np.arange(len(values)), lengths)
    entries = _entries(values.flatten(), column, lambda entry: first_row + int(rows[entry]))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), entries, mask=pa.array(~valid))


def from_text(text: pa.Array, column: ServedColumn, first_row: int) -> pa.Array:
    """Parse a column of a text file: an empty cell is missing, a list is JSON or uses the column's separator.

    Raises:
        ColumnError: a text is not allowed.
    """
    if column.many:
        return from_python(_read_each(text, partial(_entries_of, column), column, first_row), column, first_row)
    if column.kind == "text":
        return text
    values, wrong = parse_integers(text) if column.kind == "integer" else parse(text, TYPES[column.kind])
    _refuse(text, wrong, column, lambda row: first_row + row)
    return values


def _entries_of(column: ServedColumn, cell: str) -> Any:
    if column.separator is None:
        return json.loads(cell)
    if cell.startswith("["):
        with suppress(json.JSONDecodeError):  # such as the tag "[new]"
            return json.loads(cell)
    read = {"integer": _integer, "text": str, "number": float, "weight": float}[column.kind]
    return [read(entry) for entry in cell.split(column.separator)] if cell else []


def _integer(text: str) -> int:
    """An id; ``007`` is not 7 for the readers of text files, so it is not here."""
    if str(number := int(text)) != text:
        raise ValueError(f"{text} is not written as {number}")
    return number


def from_python(values: "Sequence[Any] | pd.Series", column: ServedColumn, first_row: int = 0) -> pa.Array:
    """Convert a column of Python objects (or numpy arrays for lists), or of pandas with the type that it has there.

    Raises:
        ColumnError: values are of different kinds.
    """
    try:
        found = pa.array(values, from_pandas=True)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        for row, value in enumerate(values):
            try:
                checked(pa.array([value], from_pandas=True), column, first_row + row)
            except (pa.ArrowException, OverflowError) as again:
                raise refusal(column, first_row + row, value) from again
        raise ColumnError(f"{column.called}: {error}; allowed: {column.allowed}") from error


def _entries(values: pa.Array, column: ServedColumn, row_of: Callable[[int], int]) -> pa.Array:
    """Single values, converted to the type of the column's kind; missing values are null."""
    kind, valid = values.type, values.is_valid().to_numpy(zero_copy_only=False)
    if column.kind == "text":
        if not is_string_type(kind):
            _refuse(values, valid, column, row_of)
        return values.cast(pa.string())
    if pa.types.is_boolean(kind) or (pa.types.is_decimal(kind) and column.kind != "integer"):
        values = values.cast(pa.int8() if pa.types.is_boolean(kind) else pa.float64())
        kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        _refuse(values, valid, column, row_of)
    if pa.types.is_floating(kind):
        floats = values.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        valid = ~np.isnan(floats)
        fine = np.isfinite(floats)
        if column.kind == "integer":
            fine &= (np.abs(floats) < EXACT[kind.bit_width]) & (np.floor(floats) == floats)
        _refuse(values, valid & ~fine, column, row_of)
        values = pa.array(floats, mask=~valid)
    if pa.types.is_uint64(kind) and column.kind == "integer":
        _refuse(values, values.fill_null(0).to_numpy(zero_copy_only=False) > np.iinfo(np.int64).max, column, row_of)
    if column.kind == "weight":
        weight = values.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
        _refuse(values, ~((weight >= 0) & (weight <= column.most)), column, row_of)
    return values.cast(TYPES[column.kind], safe=False)


def _read_each(text: pa.Array, read: Callable[[str], Any], column: ServedColumn, first_row: int) -> list[Any]:
    found = []
    for row, cell in enumerate(text.to_pylist()):
        try:
            found.append(None if cell is None else read(cell))
        except ValueError as error:  # of JSON, or of Arrow
            raise refusal(column, first_row + row, cell) from error
    return found


def _refuse(values: pa.Array, bad: np.ndarray, column: ServedColumn, row_of: Callable[[int], int]) -> None:
    """Raise for the first invalid value, if any."""
    wrong = np.flatnonzero(bad)
    if len(wrong):
        row = int(wrong[0])
        raise refusal(column, row_of(row), values[row].as_py())


def refusal(column: ServedColumn, row: int, value: Any, allowed: str | None = None) -> ColumnError:
    """The error of a value that is not allowed, by default since it is not what the column holds."""
    found = repr(value)
    shown = found if len(found) <= 80 else found[:77] + "..."
    return ColumnError(f"{column.called}, row {row} (from 0): found {shown}; allowed: {allowed or column.allowed}")
