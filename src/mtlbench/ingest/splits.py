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
    """Give every row the ``group``, ``source`` or ``time`` of the dimension table's row that it points at."""
    for name, table in spill.extras.items():
        if table == ROWS:
            continue
        values = _column(spill, table, name)
        for chunk in spill.chunks[ROWS]:
            # A row that points nowhere was refused; whatever it is given here is never written.
            scratch.write(EXTRA + name, values[scratch.read(POINTER + table, np.int32, chunk)])


def assign(
    split: SplitRule,
    spill: Spill,
    scratch: ScratchColumns,
    keys: Mapping[str, pa.Array],
    labels: Sequence[str],
    found: np.ndarray,
) -> np.ndarray:
    """The split of every row, int8 ``[R]``, `UNASSIGNED` for those refused or left out by the rule.

    Also written to ``split``, and how often training rows use every row of every table to ``uses:<table>``.

    Args:
        split: the rule.
        spill: the parsed files.
        scratch: holds ``pointer:<table>``, and ``extra:<column>`` of what rows inherit.
        keys: of each dimension table's rows.
        labels: names of the label columns.
        found: rows that have not been refused, bool ``[R]``.

    Raises:
        ValueError: a rule that breaks its contract, or leaves a split without rows.
    """
    chunks = spill.chunks.get(ROWS, [])
    test, valid = (_of_part(part, chunks) for part in ("test", "valid"))
    pointers = {table: scratch.map(POINTER + table, np.int32) for table in keys}
    whole = found.all()

    def column(name: str) -> Callable[[], np.ndarray]:
        return lambda: _of_rows(spill, scratch, name) if whole else _of_rows(spill, scratch, name)[found]

    candidates = SplitInput(
        test=test if whole else test[found],
        valid=valid if whole else valid[found],
        pointers=pointers if whole else {name: pointer[found] for name, pointer in pointers.items()},
        keys=keys,
        columns={name: column(name) for name in (*labels, *spill.extras)},
    )
    chosen = split(candidates)
    allowed = (chosen >= UNASSIGNED).all() and (chosen < len(SPLITS)).all()
    if chosen.shape != candidates.test.shape or chosen.dtype != np.int8 or not allowed:
        raise ValueError(
            f"split rule {manifest.rule(split)} must give int8 of 0, 1, 2 (train, valid, test) or -1 (none) for "
            f"{candidates.test.shape} rows; it gave {chosen.dtype} {chosen.shape}, {np.unique(chosen)}"
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
    """Which rows belong to a part that was given, bool ``[R]``."""
    return np.concatenate([np.full(chunk.rows, chunk.part == part) for chunk in chunks] or [np.zeros(0, bool)])


def _refuse_moved(split: SplitRule, valid: np.ndarray | None, chosen: np.ndarray) -> None:
    """Refuse a rule that puts rows that were given for validation elsewhere, or draws others.

    Raises:
        ValueError: naming the rule.
    """
    if valid is not None and valid.any() and ((chosen == VALID) != valid).any():
        raise ValueError(
            f"{valid.sum():,} rows were given for validation, and split {manifest.rule(split)['rule']} does not keep "
            "to them. Choose the rule that does, dataset.split_rule=given, or take rows.valid out of the schema"
        )


def sources(spill: Spill) -> np.ndarray:
    """The distinct sources of all rows, int64, ascending; none if the rows have no such column.

    A source says where a row comes from and is no input, so it is not fitted on training rows.
    """
    if "source" not in spill.extras:
        return np.zeros(0, np.int64)
    return np.unique(_column(spill, spill.extras["source"], "source"))


def overlaps(spill: Spill, scratch: ScratchColumns, assigned: np.ndarray, disjoint: Sequence[str]) -> dict[str, Any]:
    """Distinct groups and times of each split, and how many of them two splits share.

    Args:
        spill, scratch: the rows.
        assigned: their splits.
        disjoint: ``group`` or ``time``, of which no value may stand in two splits.

    Raises:
        ValueError: a value of such a column stands in two splits.
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
                    f"splits '{one}' and '{other}' share {len(both):,} values of '{name}', {both[0]} among them; "
                    "dataset.disjoint says that they keep apart. Choose another dataset.split or change that key"
                )
        described[name] = {
            "distinct": {split: len(some) for split, some in values.items()},
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
    """A column of the labelled rows, their own or inherited."""
    inherited = spill.extras.get(name, ROWS) != ROWS
    return scratch.map(EXTRA + name, np.int64) if inherited else _column(spill, ROWS, name)


def _column(spill: Spill, table: str, name: str) -> np.ndarray:
    """A column of a table, all of its rows.

    Raises:
        ValueError: a label that some rows have not.
    """
    if table == ROWS and spill.unlabelled[name]:
        raise ValueError(f"the split asks for label '{name}', which {spill.unlabelled[name]:,} rows have not")
    parts = [batch[name].to_numpy() for chunk in spill.chunks.get(table, []) for batch in chunk.read()]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def refuse_empty(split: SplitRule, assigned: np.ndarray) -> None:
    """Refuse an empty split.

    Raises:
        ValueError: naming the split and the keys of the rule.
    """
    rows = np.bincount(assigned[assigned != UNASSIGNED], minlength=len(SPLITS))
    for name, count in zip(SPLITS, rows, strict=True):
        if not count:
            rule = manifest.rule(split)
            keys = ", ".join(f"dataset.split.{key}={rule[key]}" for key in rule if key != "rule")
            raise ValueError(
                f"split '{name}' is empty: {rule['rule']} assigned it 0 of {rows.sum()} rows. Change "
                f"{keys or 'dataset.split'}, or prepare more rows (dataset.simulator.rows where the data are simulated)"
            )
