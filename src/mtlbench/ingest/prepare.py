"""Prepares a store from raw files: parse, join, split, fit on training rows, encode, write the manifest.

Memory is bounded by the vocabularies and a few bytes per row, whatever the size of the files: columns are spilled to
disk as they are parsed, and every later stage reads them chunk by chunk. The result depends only on the raw files and
the settings, not on the number of processes or on the boundaries of shards.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
import pyarrow as pa

import mtlbench
from mtlbench.checks import at_least
from mtlbench.data.layout import POINTER, ROWS, input_columns, row_columns
from mtlbench.data.matrices import create
from mtlbench.data.numbers import Scale
from mtlbench.data.split import UNASSIGNED
from mtlbench.data.store import FORMAT, MANIFEST, SPLITS, Store, made_once, open_store, write_manifest
from mtlbench.ingest import manifest, splits
from mtlbench.ingest.checksums import find_files
from mtlbench.ingest.contradictions import Contradictions, check_policy
from mtlbench.ingest.encode import POINTED, Counts, Encoder, ScratchColumns, truth_path
from mtlbench.ingest.fit import Fitted, fit, tables_of
from mtlbench.ingest.join import point, pointing, table_keys, uses
from mtlbench.ingest.leaks import refuse_leaks
from mtlbench.ingest.limits import label_fields, refuse_unfit
from mtlbench.ingest.manifest import Provenance
from mtlbench.ingest.parse import Chunk, Spill, spill_all
from mtlbench.ingest.protocol import RawDataset, RawFile, Rewritten
from mtlbench.ingest.rejects import RejectLog
from mtlbench.ingest.row_keys import key_names, refuse_repeated_keys, write_row_keys
from mtlbench.ingest.splits import SplitRule
from mtlbench.ingest.unknown import unknown_shares
from mtlbench.ingest.workers import Workers, cores

SMALL_BYTES = 1 << 23
"""Size of raw files below which one process finishes (about 2 s) before a pool of processes has started (2 to 4 s)."""


def prepare(  # noqa: PLR0913  # the settings of a store, with their defaults
    dataset: RawDataset,
    raw: Path,
    store: Path,
    *,
    split: SplitRule,
    provenance: Provenance,
    min_count: int = 1,
    on_error: Literal["fail", "quarantine"] = "fail",
    one_class: Literal["fail", "note"] = "fail",
    contradictions: Contradictions = "fail",
    disjoint: Sequence[str] = (),
    processes: int | None = None,
) -> Store:
    """Prepare a data set, or open its existing store.

    The store is created atomically; an interrupted or failed preparation leaves nothing. If several processes prepare
    the same store, one works and the others wait for it.

    Args:
        dataset: the data set: its raw files and their reader.
        raw: folder with the raw files.
        store: folder to create.
        split: rule of `mtlbench.data.split`, its parameters bound by `functools.partial`.
        provenance: provenance of the raw files.
        min_count: values that occur less often in training rows are unknown.
        on_error: policy for invalid lines: ``fail`` stops at the first one, ``quarantine`` writes them to the store's
            ``quarantine.jsonl`` and counts them.
        one_class: policy for a validation or test split without positives (or negatives) of a task, whose AUC is
            undefined: ``fail``, or ``note`` it in the manifest.
        contradictions: policy for rows that are positive for a task but not for its parent task: ``fail`` rejects them
            like damaged lines, ``drop`` excludes them, ``keep`` uses them unchanged; all are counted.
        disjoint: columns (``group``, ``time``) of which no value may occur in two splits.
        processes: number of processes; default: the available cores, or one for small files.

    Raises:
        RawError: raw files are missing, or have an invalid line.
        StoreError: ``store`` exists but is not a valid store.
        ValueError: a field reveals a label, a split has no rows or no positives, splits share a value of a ``disjoint``
            column, ``min_count`` is below 1, or a policy is unknown.
    """
    check_policy(contradictions)
    at_least("dataset.min_count", min_count, 1)
    if (store / MANIFEST).is_file():
        return open_store(store)
    with made_once(store, dataset.name) as folder:
        if folder is not None:
            _refuse_names(dataset)
            sources = find_files(dataset, raw)
            plan = _Plan(
                dataset, raw, sources, split, provenance, min_count, on_error, one_class, contradictions, disjoint,
                processes or _worthwhile_processes(sources),
            )  # fmt: skip
            with Workers(plan.processes) as workers:
                _build(plan, folder, workers)
    return open_store(store)


def _worthwhile_processes(sources: Sequence[Path]) -> int:
    """The number of available cores, or 1 if this process would read the files before others have started."""
    return 1 if sum(path.stat().st_size for path in sources) < SMALL_BYTES else cores()


@dataclass(frozen=True, slots=True)
class _Plan:
    """The arguments of `prepare`."""

    dataset: RawDataset
    raw: Path
    sources: Sequence[Path]
    split: SplitRule
    provenance: Provenance
    min_count: int
    on_error: Literal["fail", "quarantine"]
    one_class: Literal["fail", "note"]
    contradictions: Contradictions
    disjoint: Sequence[str]
    processes: int


def _build(plan: _Plan, folder: Path, workers: Workers) -> None:
    """Write a store to ``folder``."""
    began = perf_counter()
    work = folder / "work"
    for path in (work, folder / "rows", folder / "tables", folder / "vocabulary"):
        path.mkdir()
    scratch = ScratchColumns(work)
    quote = getattr(plan.dataset, "quote", None)
    rejects = RejectLog(folder / "quarantine.jsonl", plan.on_error, folder=plan.raw, quote=quote)

    files = list(zip(plan.dataset.files, plan.sources, strict=True))
    arranged = _arrange(plan, files, work, rejects)
    spill = spill_all(plan.dataset, arranged.files, work, rejects, plan.contradictions, workers)
    keys = _join(plan, spill, scratch, rejects)
    splits.copy_from_tables(spill, scratch)
    kept = _within_limits(plan, spill, scratch, rejects, keys, workers)
    kept = refuse_repeated_keys(spill, rejects, kept)
    assigned = splits.assign(plan.split, spill, scratch, keys, [task.label for task in plan.dataset.tasks], kept)
    fitted = fit(plan.dataset, spill, scratch, plan.min_count, workers)
    assigned = _within_scales(plan, spill, scratch, rejects, fitted, assigned, workers)
    overlaps = splits.overlaps(spill, scratch, assigned, plan.disjoint)
    counts = _encode(spill, scratch, fitted, assigned, folder, workers)
    write_row_keys(spill, assigned, folder)
    key = key_names(spill)
    shutil.rmtree(work)

    notes = manifest.check_splits(fitted.schema, counts, plan.one_class)
    refuse_leaks(fitted.schema, folder, workers)
    for name, vocabulary in fitted.vocabularies.items():
        vocabulary.save(folder / "vocabulary" / f"{name}.parquet")
    unknown = unknown_shares(fitted.schema, counts, folder)
    seconds = perf_counter() - began
    description = {
        "format": FORMAT,
        "dataset": plan.dataset.name,
        "origin": plan.provenance.origin,
        "identity": dict(plan.provenance.identity),
        "code": mtlbench.__version__,
        "schema": fitted.schema.as_dict(),
        "schema_fingerprint": fitted.schema.fingerprint,
        "split": manifest.rule(plan.split),
        "min_count": plan.min_count,
        "on_error": plan.on_error,
        "contradictions": plan.contradictions,
        "splits": manifest.splits(fitted.schema, counts),
        "overlaps": overlaps,
        "sources": fitted.sources.tolist(),
        "tables": {table: spill.rows(table) for table in fitted.schema.tables},
        **({"key": key} if key else {}),
        "fields": manifest.fields(fitted.schema, fitted.scales, sum(spill.cut.values(), Counter()), counts, unknown),
        "raw": manifest.raw(
            files,
            plan.raw,
            arranged,
            spill,
            rejects.counts,
            plan.provenance,
        ),
        "notes": notes,
        "files": manifest.files(folder, workers),
        "seconds": round(seconds, 3),
        "rows_per_second": round(spill.rows(ROWS) / seconds),
    }
    write_manifest(folder, description)


def _arrange(plan: _Plan, files: Sequence[tuple[RawFile, Path]], work: Path, rejects: RejectLog) -> Rewritten:
    """The files to parse: the raw files, or rewritten ones if the data set rewrites them."""
    arrange = getattr(plan.dataset, "arrange", None)
    if arrange is None:
        return Rewritten(files=tuple(files), lines={})
    folder = work / "arranged"
    folder.mkdir()
    return arrange({file.name: path for file, path in files}, folder, rejects.add, plan.processes)


def _join(plan: _Plan, spill: Spill, scratch: ScratchColumns, rejects: RejectLog) -> dict[str, pa.Array]:
    """Resolve the foreign keys of rows; returns the keys of each dimension table's rows."""
    keys: dict[str, pa.Array] = {}
    for table in tables_of(plan.dataset):
        chunks = spill.chunks.get(table, [])
        keys[table] = table_keys(table, chunks, rejects)
        point(table, keys[table], chunks, spill.chunks.get(ROWS, []), scratch, rejects)
    return keys


def _within_limits(
    plan: _Plan,
    spill: Spill,
    scratch: ScratchColumns,
    rejects: RejectLog,
    keys: Mapping[str, pa.Array],
    workers: Workers,
) -> np.ndarray:
    """Mask of rows whose keys exist and whose numbers can be summed and squared, bool ``[R]``; others are rejected."""
    kept = pointing((scratch.map(POINTER + table, np.int32) for table in keys), spill.rows(ROWS))
    numbers = (*(f for f in plan.dataset.fields if f.kind == "number"), *label_fields(plan.dataset.tasks))
    scales = {f.name: Scale.unfitted(f.width) for f in numbers}
    return refuse_unfit(numbers, scales, spill, scratch, rejects, kept, workers)


def _within_scales(
    plan: _Plan,
    spill: Spill,
    scratch: ScratchColumns,
    rejects: RejectLog,
    fitted: Fitted,
    assigned: np.ndarray,
    workers: Workers,
) -> np.ndarray:
    """The split of every row, after rejecting rows whose standardised numbers are too large.

    Training rows are never rejected here, so what was fitted remains valid: none of n values is further than
    sqrt(n - 1) standard deviations from their mean (Samuelson's inequality).
    """
    kept = assigned != UNASSIGNED
    numbers = (*fitted.schema.number_fields, *label_fields(fitted.schema.tasks))
    still = refuse_unfit(numbers, fitted.scales, spill, scratch, rejects, kept, workers)
    if (still == kept).all():
        return assigned
    assigned = np.where(still, assigned, np.int8(UNASSIGNED))
    splits.refuse_empty(plan.split, assigned)
    scratch.replace("split", assigned)
    return assigned


def _encode(
    spill: Spill, scratch: ScratchColumns, fitted: Fitted, assigned: np.ndarray, folder: Path, workers: Workers
) -> Counts:
    """Write every row and every dimension table."""
    schema = fitted.schema
    truth = all(truth_path(chunk.source).is_file() for chunk in spill.chunks[ROWS])
    rows = row_columns(schema, truth)
    files = {
        name: create(folder / "rows" / f"{name}.arrow", int((assigned == number).sum()), rows)
        for number, name in enumerate(SPLITS)
    }
    jobs = {ROWS: _starts(spill.chunks[ROWS], assigned)}
    targets = {ROWS: files}
    for table in schema.tables:
        path = folder / "tables" / f"{table}.arrow"
        targets[table] = {table: create(path, spill.rows(table), input_columns(schema, table))}
        jobs[table] = [(chunk, (chunk.first_row,)) for chunk in spill.chunks[table]]
        pointed = uses(scratch.map(POINTER + table, np.int32), assigned != UNASSIGNED, spill.rows(table)) > 0
        scratch.write(POINTED + table, pointed.astype(np.int8))
    counts: Counts = Counter()
    for table, target in targets.items():
        encoder = Encoder(schema, table, fitted.vocabularies, fitted.scales, fitted.sources, scratch, target)
        with closing(workers.map(encoder, jobs[table], f"encoding {table}")) as results:
            for more in results:
                counts.update(more)
    return counts


def _starts(chunks: list[Chunk], assigned: np.ndarray) -> list[tuple[Chunk, tuple[int, ...]]]:
    """Each chunk, with the position of its first row in each split's file."""
    jobs: list[tuple[Chunk, tuple[int, ...]]] = []
    following = np.zeros(len(SPLITS), np.int64)
    for chunk in chunks:
        jobs.append((chunk, tuple(following.tolist())))
        splits = assigned[chunk.first_row : chunk.first_row + chunk.rows]
        following += np.bincount(splits[splits != UNASSIGNED], minlength=len(SPLITS))
    return jobs


def _refuse_names(dataset: RawDataset) -> None:
    labels = {task.label for task in dataset.tasks}
    if both := sorted(labels & {f.name for f in dataset.fields}):
        raise ValueError(
            f"data set '{dataset.name}': {', '.join(both)} is both a label and an input field, so a model could "
            "read the label. Remove it from the fields"
        )
    for what, names in (
        ("vocabularies", {f.vocabulary_name for f in dataset.fields if f.kind == "id"}),
        ("dimension tables", set(tables_of(dataset))),
    ):
        known: dict[str, str] = {}
        for name in sorted(names):
            if (other := known.setdefault(name.casefold(), name)) != name:
                raise ValueError(
                    f"data set '{dataset.name}': the {what} '{other}' and '{name}' differ only in case and would be "
                    "the same file on a case-insensitive disk. Rename one; in a schema of Parquet files, name: is free "
                    "and column: is the name in the file"
                )
