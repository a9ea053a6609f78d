"""Creates a store with the inputs of a base store and new labels derived from it.

The rows, their order, their splits and all inputs are those of the base store; only the labels differ.
"""

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol

import numpy as np

import mtlbench
from mtlbench.data import matrices
from mtlbench.data.layout import row_columns
from mtlbench.data.store import SPLITS, Store, made_once, open_store, write_manifest
from mtlbench.ingest import manifest
from mtlbench.ingest.encode import Counts
from mtlbench.ingest.leaks import refuse_leaks
from mtlbench.ingest.workers import Workers
from mtlbench.schema import Schema, Task

WRITTEN_ROWS = 1 << 18
"""Number of rows that are copied at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Labels for every row of a store; T tasks.

    Attributes:
        labels: by split: int8 ``[n, T]``.
        truth: by split: float32 ``[n, T]``, the probability with which each label was drawn; 0 or 1 where nothing was.
        confidences: by split: float32 ``[n, T]``, the numbers that the labels are indicators of.
        facts: how they were made, for the manifest; JSON.
    """

    labels: Mapping[str, np.ndarray]
    truth: Mapping[str, np.ndarray]
    confidences: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


class Relabel(Protocol):
    """Protocol of a label generator: a pure function of the base store and of its own parameters.

    Attributes:
        version: increased whenever the labels change; part of a run's identity.
        tasks: the labels, in order.
    """

    version: int

    @property
    def tasks(self) -> tuple[Task, ...]: ...

    def __call__(self, base: Store) -> Labels: ...


def relabelled(
    base: Store,
    store: Path,
    relabel: Relabel,
    *,
    name: str,
    identity: Mapping[str, Any],
    one_class: Literal["fail", "note"],
) -> Store:
    """Create a store with new labels, atomically, or open the existing one.

    The ``confidences`` of each split, float32 ``[n, T]``, are stored beside the rows. The manifest is that of the base,
    with an entry ``relabel`` that describes how the labels were made.

    Args:
        base: the store to take everything but labels from.
        store: folder to create.
        relabel: makes the labels.
        name: of the new data set.
        identity: what the store's fingerprint was made of; JSON.
        one_class: see `mtlbench.ingest.prepare.prepare`.

    Raises:
        StoreError: there is something at ``store`` that is not a valid store.
        ValueError: a field that gives a new label away, a split without positives.
    """
    with made_once(store, name) as folder:
        if folder is not None:
            began = perf_counter()
            changed = _write(base, folder, relabel(base), relabel.tasks, one_class)
            seconds = round(perf_counter() - began, 3)
            own = {"dataset": name, "identity": dict(identity), "code": mtlbench.__version__, "seconds": seconds}
            own["files"] = manifest.files(folder, Workers(1))
            write_manifest(folder, base.manifest | changed | own)
    return open_store(store)


def _write(
    base: Store, folder: Path, made: Labels, tasks: tuple[Task, ...], one_class: Literal["fail", "note"]
) -> dict[str, Any]:
    """Write everything except the manifest; returns the entries in which it differs from the base's."""
    schema = replace(base.schema, tasks=tasks)
    for part in ("rows", "confidences"):
        (folder / part).mkdir()
    for part in ("tables", "vocabulary", *(["keys"] if "key" in base.manifest else [])):
        _link(base.folder / part, folder / part)
    counts: Counts = Counter()
    for split in SPLITS:
        _write_rows(base, folder, split, schema, made)
        np.save(folder / "confidences" / f"{split}.npy", made.confidences[split])
        counts.update(_counts(split, schema, made.labels[split]))
    notes = manifest.check_splits(schema, counts, one_class)
    refuse_leaks(schema, folder, Workers(1))
    return {
        "schema": schema.as_dict(),
        "schema_fingerprint": schema.fingerprint,
        "splits": manifest.splits(schema, counts),
        "notes": notes,
        "relabel": dict(made.facts),
    }


def _write_rows(base: Store, folder: Path, split: str, schema: Schema, made: Labels) -> None:
    name = Path("rows") / f"{split}.arrow"
    taken = matrices.read(base.folder / name)
    columns = {**taken, "labels": made.labels[split], "truth": made.truth[split]}
    file = matrices.create(folder / name, len(taken["labels"]), row_columns(schema, truth=True))
    for column in file.columns:
        for first in range(0, len(columns[column]), WRITTEN_ROWS):
            file.write(column, first, columns[column][first : first + WRITTEN_ROWS])


def _counts(split: str, schema: Schema, labels: np.ndarray) -> Counts:
    counts: Counts = Counter({(split, "rows", ""): len(labels)})
    for at, task in enumerate(schema.tasks):
        counts[split, "positives", task.name] = int(labels[:, at].sum())
    for one, two in combinations(range(len(schema.tasks)), 2):
        pair = f"{schema.tasks[one].name} and {schema.tasks[two].name}"
        counts[split, "together", pair] = int((labels[:, one] & labels[:, two]).sum())
    return counts


def _link(source: Path, target: Path) -> None:
    """Hard-link the files of a folder, or copy them if the file system has no hard links."""
    target.mkdir()
    for path in source.iterdir():
        try:
            os.link(path, target / path.name)
        except OSError:
            shutil.copyfile(path, target / path.name)
