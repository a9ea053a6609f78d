"""Assigns rows to splits, and checks that splits do not share groups or times."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from mtlbench.data.layout import POINTER, ROWS
from mtlbench.data.split import TRAIN, UNASSIGNED, VALID, SplitInput
from mtlbench.data.store import SPLITS
from mtlbench.ingest import manifest
from mtlbench.ingest.encode import EXTRA, ScratchColumns
from mtlbench.ingest.join import uses
from mtlbench.ingest.parse import Chunk, Spill

SplitRule = Callable[[SplitInput], np.ndarray]


def copy_from_tables(spill: Spill, scratch: ScratchColumns) -> None:
    """Copy ``group``, ``source`` or ``time`` to every row from its dimension-table row."""
    for name, table in spill.extras.items():
        if table == ROWS:
            continue
        values = _column(spill, table, name)
        for chunk in spill.chunks[ROWS]:
            # A row without a dimension-table row was rejected; its value here is never written.
            scratch.write(EXTRA + name, values[scratch.read(POINTER + table, np.int32, chunk)])


def assign(
    split: SplitRule,
    spill: Spill,
    scratch: ScratchColumns,
    keys: Mapping[str, pa.Array],
    labels: Sequence[str],
    found: np.ndarray,
) -> np.ndarray:
    """The split of every row, int8 ``[R]``, `UNASSIGNED` if rejected or excluded by the rule.

    Also writes it to ``split``, and the number of training rows that use every row of every table to ``uses:<table>``.

    Args:
        split: the split rule.
        spill: the parsed files.
        scratch: has ``pointer:<table>``, and ``extra:<column>`` of inherited columns.
        keys: keys of each dimension table's rows.
        labels: names of the label columns.
        found: mask of rows that have not been rejected, bool ``[R]``.

    Raises:
        ValueError: the rule violates its contract, or a split has no rows.
    """
    chunks = spill.chunks.get(ROWS, [])
    test, valid = (_of_part(part, chunks) for part in ("test", "valid"))
    pointers = {table: scratch.map(POINTER + table, np.int32) for table in keys}
    all_kept = found.all()

    def column(name: str) -> Callable[[], np.ndarray]:
        return lambda: _of_rows(spill, scratch, name) if all_kept else _of_rows(spill, scratch, name)[found]

    candidates = SplitInput(
        test=test if all_kept else test[found],
        valid=valid if all_kept else valid[found],
        pointers=pointers if all_kept else {name: pointer[found] for name, pointer in pointers.items()},
        keys=keys,
        columns={name: column(name) for name in (*labels, *spill.extras)},
    )
    chosen = split(candidates)
    allowed = (chosen >= UNASSIGNED).all() and (chosen < len(SPLITS)).all()
    if chosen.shape != candidates.test.shape or chosen.dtype != np.int8 or not allowed:
        raise ValueError(
            f"split rule {manifest.rule(split)} must return int8 of 0, 1, 2 (train, valid, test) or -1 (none) for "
            f"{candidates.test.shape} rows; it returned {chosen.dtype} {chosen.shape}, {np.unique(chosen)}"
        )
    _refuse_moved(split, candidates.valid, chosen)
    assigned = np.full(len(test), UNASSIGNED, np.int8)
    assigned[found] = chosen
    refuse_empty(split, assigned)
    train = assigned == TRAIN
    scratch.write("split", assigned)
    scratch.write(f"uses:{ROWS}", train.astype(np.int32))
    for table, pointer in pointers.items():
        scratch.write(f"uses:{table}", uses(pointer, train, len(keys[table])))
    return assigned


def _of_part(part: str, chunks: Sequence[Chunk]) -> np.ndarray:
    """Mask of the rows in a given part, bool ``[R]``."""
    return np.concatenate([np.full(chunk.rows, chunk.part == part) for chunk in chunks] or [np.zeros(0, bool)])


def _refuse_moved(split: SplitRule, valid: np.ndarray | None, chosen: np.ndarray) -> None:
    """Reject a rule whose validation rows are not the given ones.

    Raises:
        ValueError: they differ; the message names the rule.
    """
    if valid is not None and valid.any() and ((chosen == VALID) != valid).any():
        raise ValueError(
            f"{valid.sum():,} rows were given for validation, but split {manifest.rule(split)['rule']} uses others. "
            "Choose dataset.split_rule=given, which uses them, or remove rows.valid from the schema"
        )


def sources(spill: Spill) -> np.ndarray:
    """The distinct sources of all rows, int64, ascending; empty if the rows have no such column.

    A source is the origin of a row, not an input, so all rows are used, not only training rows.
    """
    if "source" not in spill.extras:
        return np.zeros(0, np.int64)
    return np.unique(_column(spill, spill.extras["source"], "source"))


def overlaps(spill: Spill, scratch: ScratchColumns, assigned: np.ndarray, disjoint: Sequence[str]) -> dict[str, Any]:
    """Numbers of distinct groups and times of each split, and of those shared by two splits.

    Args:
        spill, scratch: the rows.
        assigned: the split of each row.
        disjoint: columns (``group``, ``time``) of which no value may occur in two splits.

    Raises:
        ValueError: a value of such a column occurs in two splits.
    """
    if absent := [name for name in disjoint if name not in spill.extras]:
        raise ValueError(
            f"dataset.disjoint names {', '.join(absent)}, which the rows do not have; "
            f"allowed: {', '.join(spill.extras) or 'nothing'}"
        )
    described: dict[str, Any] = {}
    for name in (name for name in ("group", "time") if name in spill.extras):
        values = _by_split(spill, scratch, assigned, name)
        shared = {
            (one, other): np.intersect1d(values[one], values[other], assume_unique=True)
            for one, other in combinations(SPLITS, 2)
        }
        for (one, other), both in shared.items():
            if name in disjoint and len(both):
                raise ValueError(
                    f"splits '{one}' and '{other}' share {len(both):,} values of '{name}', such as {both[0]}, which "
                    "dataset.disjoint forbids. Choose another dataset.split or change that key"
                )
        described[name] = {
            "distinct": {split: len(distinct) for split, distinct in values.items()},
            "shared": {f"{one} and {other}": len(both) for (one, other), both in shared.items()},
        }
    return described


def _by_split(spill: Spill, scratch: ScratchColumns, assigned: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """The distinct values of a column in each split, ascending."""
    table = spill.extras[name]
    if table == ROWS:
        values = _of_rows(spill, scratch, name)
        return {split: np.unique(values[assigned == number]) for number, split in enumerate(SPLITS)}
    values, pointer = _column(spill, table, name), scratch.map(POINTER + table, np.int32)
    distinct: dict[str, np.ndarray] = {}
    for number, split in enumerate(SPLITS):
        used = np.zeros(len(values), bool)
        used[pointer[assigned == number]] = True
        distinct[split] = np.unique(values[used])
    return distinct


def _of_rows(spill: Spill, scratch: ScratchColumns, name: str) -> np.ndarray:
    """A column of the labelled rows, possibly inherited."""
    inherited = spill.extras.get(name, ROWS) != ROWS
    return scratch.map(EXTRA + name, np.int64) if inherited else _column(spill, ROWS, name)


def _column(spill: Spill, table: str, name: str) -> np.ndarray:
    """A column of a table, for all rows.

    Raises:
        ValueError: a label is missing in some rows.
    """
    if table == ROWS and spill.unlabelled[name]:
        raise ValueError(f"the split needs label '{name}', which is missing in {spill.unlabelled[name]:,} rows")
    parts = [batch[name].to_numpy() for chunk in spill.chunks.get(table, []) for batch in chunk.read()]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def refuse_empty(split: SplitRule, assigned: np.ndarray) -> None:
    """Reject an empty split.

    Raises:
        ValueError: a split is empty; the message has the split and the keys of the rule.
    """
    rows = np.bincount(assigned[assigned != UNASSIGNED], minlength=len(SPLITS))
    for name, count in zip(SPLITS, rows, strict=True):
        if not count:
            rule = manifest.rule(split)
            keys = ", ".join(f"dataset.split.{key}={rule[key]}" for key in rule if key != "rule")
            raise ValueError(
                f"split '{name}' is empty: {rule['rule']} assigned it 0 of {rows.sum()} rows. Change "
                f"{keys or 'dataset.split'}, or prepare more rows (dataset.simulator.rows for simulated data)"
            )
