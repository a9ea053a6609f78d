"""Slices of a split: its rows grouped by the raw values of one field, or of a combination of fields."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

import numpy as np
import torch

from mtlbench.data.loader import Rows
from mtlbench.data.numbers import Scale, in_units
from mtlbench.data.store import Store
from mtlbench.data.vocabulary import UNKNOWN
from mtlbench.schema import PADDING, Field

LISTED = 20
"""Maximum number of slices; the values with the most rows are chosen."""

GATHERED = 1 << 16
"""Number of rows that are read at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slicing:
    """The rows of a split by slice.

    Attributes:
        fields: the fields of the slices.
        names: names of the slices.
        members: row numbers of each slice, int64.
        rest: row numbers of all values without a slice, int64; ``rest_values`` is the number of these values.
        notes: notes about the values.
    """

    fields: tuple[str, ...]
    names: tuple[str, ...]
    members: tuple[np.ndarray, ...]
    rest: np.ndarray
    rest_values: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Coded:
    """Values of a field as codes: for entry e, the row ``row[e]`` has the value named ``name(code[e])``.

    A single-valued field has one entry per row; ordered codes are shown in order, others by number of rows.
    """

    row: np.ndarray
    code: np.ndarray
    name: Callable[[int], str]
    ordered: bool = False
    notes: tuple[str, ...] = ()


def sliceable(store: Store) -> list[str]:
    """Names accepted by `slicing`: all fields of the store, and its columns group, source and time."""
    schema = replace(store, subset=None).schema
    extra = [name for name in ("group", "source", "time") if getattr(schema, name)]
    return list(dict.fromkeys([*(field.name for field in schema.fields), *extra]))


def slicing(
    store: Store, split: str, fields: Sequence[str], *, bins: int, min_rows: int, listed: int = LISTED
) -> Slicing:
    """Group the rows of a split by the values of a field, or by combinations of the values of several fields.

    Ids are named by their raw values. Numbers with more than `bins` distinct values are divided at quantiles over these
    rows, and bins are named by their edges in raw units. A row belongs to each of its values of a multi-valued field.

    Args:
        store: the store; with a subset, excluded fields can be used too.
        split: split of the store.
        fields: names from `sliceable`.
        bins: maximum number of bins of a number.
        min_rows: values with fewer rows are pooled.
        listed: maximum number of slices (all bins of numbers are included).

    Raises:
        ValueError: a number has several components, or a combination has a multi-valued field.
    """
    full_store = replace(store, subset=None)
    rows = full_store.split(split)
    coded = [_coded(full_store, rows, split, name, bins) for name in fields]
    if len(fields) > 1:
        for name, each in zip(fields, coded, strict=True):
            if not np.array_equal(each.row, np.arange(len(rows))):
                raise ValueError(
                    f"slices=[[{','.join(fields)}]]: '{name}' is multi-valued, so it cannot be combined "
                    f"with other fields. Slice by it alone: slices=[{name}]"
                )
    joint = reduce(_crossed, coded)
    codes, at, counts = np.unique(joint.code, return_inverse=True, return_counts=True)
    order = np.arange(len(codes)) if joint.ordered else np.argsort(-counts, kind="stable")
    large = order[counts[order] >= min_rows]
    shown = large if joint.ordered else large[:listed]
    slice_of_code = np.full(len(codes), -1)
    slice_of_code[shown] = np.arange(len(shown))
    slice_of_entry = slice_of_code[at.reshape(-1)]
    by_slice = np.argsort(slice_of_entry, kind="stable")
    ends = np.searchsorted(slice_of_entry[by_slice], np.arange(len(shown) + 1))
    parts = [joint.row[by_slice[ends[i] : ends[i + 1]]] for i in range(len(shown))]
    return Slicing(
        fields=tuple(fields),
        names=tuple(joint.name(int(codes[i])) for i in shown),
        members=tuple(parts),
        rest=np.unique(joint.row[by_slice[: ends[0]]]),
        rest_values=len(codes) - len(shown),
        notes=joint.notes,
    )


def _coded(store: Store, rows: Rows, split: str, name: str, bins: int) -> _Coded:
    every = np.arange(len(rows))
    field = next((field for field in store.schema.fields if field.name == name), None)
    if field is None:
        values = rows.columns[name].numpy()
        if name == "time":
            return _binned(values, bins, float)
        known: Sequence[int] | None = store.manifest["sources"] if name == "source" else None
        return _Coded(every, values, lambda code: str(code if known is None else known[code]))
    if field.kind == "id":
        return _ids(store, field, _columns(rows, field))
    if field.width > 1:
        raise ValueError(
            f"slices: '{name}' is a number of {field.width} components, which have no common bins. "
            "Slice by another field"
        )
    facts = store.manifest["fields"][name]
    scale = Scale(np.array(facts["mean"]), np.array(facts["deviation"]))

    def raw(value: float) -> float:
        return float(in_units(field, scale, np.array([value]))[0])

    binned = _binned(_columns(rows, field)[:, 0], bins, raw)
    missing = facts["missing"].get(split if field.table is None else field.table, 0)
    place = field.table or split
    mean = f"mean {raw(0):.6g}" + (" (of compressed numbers, expanded)" if field.compress else "")
    note = f"{name}: {missing:,} missing numbers of {place} are stored as the training {mean}"
    return replace(binned, notes=(note,)) if missing else binned


def _columns(rows: Rows, field: Field) -> np.ndarray:
    """A field of all rows, ``[N, width]``, joined from its dimension table if it is in one."""
    schema = rows.schema
    place = schema.slots[field.name] if field.kind == "id" else schema.number_columns[field.name]
    parts: list[np.ndarray] = []
    for start in range(0, len(rows), GATHERED):
        batch = rows.gather(torch.arange(start, min(start + GATHERED, len(rows))))
        parts.append((batch.ids if field.kind == "id" else batch.numbers)[:, place.start : place.stop].numpy())
    return np.concatenate(parts)


def _ids(store: Store, field: Field, id_NW: np.ndarray) -> _Coded:
    vocabulary = store.vocabulary(field.vocabulary_name)
    first = store.schema.offsets[field.name]
    nothing = -1  # code of an empty list

    def name(code: int) -> str:
        if code in (nothing, UNKNOWN):
            return "(none)" if code == nothing else "(unknown)"
        value = vocabulary.values[code - 1].as_py()
        return "(missing)" if value is None else str(value)

    if field.width == 1:
        return _Coded(np.arange(len(id_NW)), id_NW[:, 0] - first, name)
    filled = id_NW != PADDING
    row, column = np.nonzero(filled)
    empty = np.flatnonzero(~filled.any(axis=1))
    pairs = np.stack([np.append(row, empty), np.append(id_NW[row, column] - first, np.full(len(empty), nothing))])
    distinct = np.unique(pairs, axis=1)  # a duplicate value in a row counts once
    note = f"{field.name}: a row counts in each of its values, so the slices overlap"
    return _Coded(distinct[0], distinct[1], name, notes=(note,))


def _binned(values: np.ndarray, bins: int, raw: Callable[[float], float]) -> _Coded:
    """Codes of numbers: the distinct values if they are few, otherwise quantile bins.

    Args:
        values: ``[N]``.
        bins: maximum number of bins.
        raw: converts a value to the units of the raw files.
    """
    every = np.arange(len(values))
    distinct, at = np.unique(values, return_inverse=True)
    if len(distinct) <= bins:
        names = _distinct_texts([raw(float(value)) for value in distinct])
        return _Coded(every, at.reshape(-1), lambda code: names[code], ordered=True)
    cuts = np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf")
    edges = np.unique(cuts[cuts < distinct[-1]])
    texts = _distinct_texts([raw(float(edge)) for edge in edges])
    names = [f"<= {texts[0]}", *(f"({a}, {b}]" for a, b in pairwise(texts)), f"> {texts[-1]}"]
    return _Coded(every, np.searchsorted(edges, values, side="left"), lambda code: names[code], ordered=True)


def _distinct_texts(values: Sequence[float]) -> list[str]:
    """Numbers as text with enough digits to distinguish them, at least six significant ones."""
    for digits in range(6, 18):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            return texts
    raise AssertionError("17 digits distinguish floats")


def _crossed(one: _Coded, other: _Coded) -> _Coded:
    """The occurring combinations of two fields' values."""
    ones, one_at = np.unique(one.code, return_inverse=True)
    others, other_at = np.unique(other.code, return_inverse=True)

    def name(code: int) -> str:
        return f"{one.name(int(ones[code // len(others)]))}, {other.name(int(others[code % len(others)]))}"

    code = one_at.reshape(-1).astype(np.int64) * len(others) + other_at.reshape(-1)
    return _Coded(one.row, code, name, notes=(*one.notes, *other.notes))
