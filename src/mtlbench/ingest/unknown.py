"""Out-of-vocabulary rates by field and split, and warnings about high ones."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtlbench.data import matrices
from mtlbench.data.layout import POINTER, fields_of
from mtlbench.data.store import SPLITS
from mtlbench.data.vocabulary import UNKNOWN
from mtlbench.ingest.encode import Counts
from mtlbench.ingest.join import uses
from mtlbench.schema import PADDING, Schema

MANY = 0.2
"""Share of a field's values in one split above which unknown ones get a warning."""


def unknown_shares(schema: Schema, counts: Counts, folder: Path) -> dict[str, dict[str, float]]:
    """By id field and split: the share of values that no training row holds often enough to be known.

    A value of a dimension table counts as often as rows of the split point at it.

    Args:
        schema: of the store.
        counts: ``values`` and ``unknown`` ones that rows hold themselves.
        folder: of the store, whose rows and tables are written.
    """
    shares = {
        field.name: {
            split: _share(counts[split, "unknown", field.name], counts[split, "values", field.name]) for split in SPLITS
        }
        for field in schema.id_fields
        if field.table is None
    }
    for table in schema.tables:
        per_row = dict(_per_row(schema, table, folder))
        for split in SPLITS if per_row else ():
            pointer = matrices.read(folder / "rows" / f"{split}.arrow")[POINTER + table]
            for name, (unknown, values) in per_row.items():
                times = uses(pointer, np.ones(len(pointer), bool), len(values)).astype(np.int64)
                shares.setdefault(name, {})[split] = _share(int(times @ unknown), int(times @ values))
    return shares


def warnings_about(manifest: Mapping[str, Any]) -> list[str]:
    """One sentence for every field and split with more unknown values than `MANY`."""
    return [
        f"{share:.0%} of the values of '{name}' in split '{split}' are unknown: "
        f"fewer than {manifest['min_count']} training rows hold them, and all of them share one embedding"
        for name, facts in manifest["fields"].items()
        for split, share in facts.get("unknown", {}).items()
        if split in SPLITS and share > MANY
    ]


def _per_row(schema: Schema, table: str, folder: Path) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """By id field of a dimension table: unknown values, and values, of each of its rows, int64."""
    ids = matrices.read(folder / "tables" / f"{table}.arrow").get("ids")
    first = 0
    for field in fields_of(schema, table):
        if field.kind == "id" and ids is not None:
            own = ids[:, first : first + field.width]
            first += field.width
            yield field.name, ((own == schema.offsets[field.name] + UNKNOWN).sum(axis=1), (own != PADDING).sum(axis=1))


def _share(unknown: int, values: int) -> float:
    return unknown / max(values, 1)
