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
"""Rate of unknown values of a field in a split above which there is a warning."""


def unknown_shares(schema: Schema, counts: Counts, folder: Path) -> dict[str, dict[str, float]]:
    """Out-of-vocabulary rate by id field and split.

    A value of a dimension table is weighted by the number of rows of the split that point at it.

    Args:
        schema: schema of the store.
        counts: counts of ``values`` and ``unknown`` values in the rows themselves.
        folder: folder of the store, with rows and tables already written.
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
    """A sentence for every field and split with a rate of unknown values above `MANY`."""
    return [
        f"{share:.0%} of the values of '{name}' in split '{split}' are unknown: "
        f"fewer than {manifest['min_count']} training rows have them, and they all share one embedding"
        for name, facts in manifest["fields"].items()
        for split, share in facts.get("unknown", {}).items()
        if split in SPLITS and share > MANY
    ]


def _per_row(schema: Schema, table: str, folder: Path) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """By id field of a dimension table: numbers of unknown values and of values in each row, int64."""
    ids = matrices.read(folder / "tables" / f"{table}.arrow").get("ids")
    first = 0
    for field in fields_of(schema, table):
        if field.kind == "id" and ids is not None:
            field_ids = ids[:, first : first + field.width]
            first += field.width
            yield (
                field.name,
                ((field_ids == schema.offsets[field.name] + UNKNOWN).sum(axis=1), (field_ids != PADDING).sum(axis=1)),
            )


def _share(unknown: int, values: int) -> float:
    return unknown / max(values, 1)
