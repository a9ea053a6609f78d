"""From raw files to a store: parse, join, split, fit on training rows, encode, describe.

Memory is bounded by the vocabularies and a few bytes per row, whatever the size of the files: columns are spilled to
disk as they are parsed, and every later stage reads them chunk by chunk. The result depends on the raw files and the
rules alone, not on the number of processes or where files are cut into shards.
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
from mtlbench.ingest.encode import Counts, Encoder, ScratchColumns, truth_path
from mtlbench.ingest.fit import Fitted, fit, tables_of
from mtlbench.ingest.join import point, pointing, table_keys
from mtlbench.ingest.leaks import refuse_leaks
from mtlbench.ingest.limits import label_fields, refuse_unfit
from mtlbench.ingest.manifest import Provenance
from mtlbench.ingest.parse import Chunk, Spill, spill_all
from mtlbench.ingest.protocol import RawDataset, RawFile, Rewritten
from mtlbench.ingest.rejects import RejectLog
from mtlbench.ingest.row_keys import key_names, refuse_repeated_keys, write_row_keys
from mtlbench.ingest.splits import SplitRule
from mtlbench.ingest.unknown import unknown_shares
from mtlbench.ingest.workers import cores, parallel_map

SMALL_BYTES = 1 << 23
"""Size of raw files that one process reads sooner (about 2 s) than a pool of processes starts (2 to 4 s)."""


def prepare(  # noqa: PLR0913  # the rules by which a store is made, each with its default
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
    """Prepare a data set, or open it if that was done before.

    The store appears under its name when it is whole and not before; an interrupted or failed preparation leaves
    nothing. Of several processes that prepare the same store, one works and the others wait for it.

    Args:
        dataset: what the raw files are and how they are read.
        raw: folder with the raw files.
        store: folder to make.
        split: rule of `mtlbench.data.split`, its parameters bound by `functools.partial`.
        provenance: where the raw files come from.
        min_count: values that training rows use less often are unknown.
        on_error: what becomes of lines that cannot be used: ``fail`` stops at the first one, ``quarantine`` sets them
            aside in the store's ``quarantine.jsonl`` and counts them.
        one_class: what becomes of a validation or test split without positives (or negatives) of a task, of which no
            AUC can be had: ``fail``, or ``note`` it in the manifest.
        contradictions: what becomes of rows in which a task is positive and the task that it is given is not: ``fail``
            refuses them like damaged lines, ``drop`` leaves them out, ``keep`` takes them as they are; all are counted.
        disjoint: ``group``, ``time``: columns of which no value may stand in two splits.
        processes: how many work; default: as many as this process may use cores, or one where the files are small.

    Raises:
        RawError: raw files are missing, or hold a line that cannot be used.
        StoreError: there is something at ``store`` that is not a valid store.
        ValueError: a field that gives a label away, a split without rows or without positives, splits that share a
            value of a ``disjoint`` column, a ``min_count`` below 1, an unknown policy.
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
            _build(plan, folder)
    return open_store(store)


def _worthwhile_processes(sources: Sequence[Path]) -> int:
    """All cores, or this process alone where it has read the files before others have started."""
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


def _build(plan: _Plan, folder: Path) -> None:
    """Fill ``folder`` with a store."""
    began = perf_counter()
    work = folder / "work"
    for path in (work, folder / "rows", folder / "tables", folder / "vocabulary"):
        path.mkdir()
    scratch = ScratchColumns(work)
    quote = getattr(plan.dataset, "quote", None)
    rejects = RejectLog(folder / "quarantine.jsonl", plan.on_error, folder=plan.raw, quote=quote)

    files = list(zip(plan.dataset.files, plan.sources, strict=True))
    arranged = _arrange(plan, files, work, rejects)
    spill = spill_all(plan.dataset, arranged.files, work, rejects, plan.contradictions, plan.processes)
    keys = _join(plan, spill, scratch, rejects)
    splits.copy_from_tables(spill, scratch)
    kept = _within_limits(plan, spill, scratch, rejects, keys)
    kept = refuse_repeated_keys(spill, rejects, kept)
    assigned = splits.assign(plan.split, spill, scratch, keys, [task.label for task in plan.dataset.tasks], kept)
    fitted = fit(plan.dataset, spill, scratch, plan.min_count, plan.processes)
    assigned = _within_scales(plan, spill, scratch, rejects, fitted, assigned)
    overlaps = splits.overlaps(spill, scratch, assigned, plan.disjoint)
    counts = _encode(plan, spill, scratch, fitted, assigned, folder)
    write_row_keys(spill, assigned, folder)
    key = key_names(spill)
    shutil.rmtree(work)

    notes = manifest.check_splits(fitted.schema, counts, plan.one_class)
    refuse_leaks(fitted.schema, folder)
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
        "files": manifest.files(folder, plan.processes),
        "seconds": round(seconds, 3),
        "rows_per_second": round(spill.rows(ROWS) / seconds),
    }
    write_manifest(folder, description)


def _arrange(plan: _Plan, files: Sequence[tuple[RawFile, Path]], work: Path, rejects: RejectLog) -> Rewritten:
    """The files to parse: the raw ones as they are, or what the data set makes of them."""
    arrange = getattr(plan.dataset, "arrange", None)
    if arrange is None:
        return Rewritten(files=tuple(files), lines={})
    folder = work / "arranged"
    folder.mkdir()
    return arrange({file.name: path for file, path in files}, folder, rejects.add, plan.processes)


def _join(plan: _Plan, spill: Spill, scratch: ScratchColumns, rejects: RejectLog) -> dict[str, pa.Array]:
    """Point rows at their dimension tables; gives the keys of each table's rows."""
    keys: dict[str, pa.Array] = {}
    for table in tables_of(plan.dataset):
        chunks = spill.chunks.get(table, [])
        keys[table] = table_keys(table, chunks, rejects)
        point(table, keys[table], chunks, spill.chunks.get(ROWS, []), scratch, rejects)
    return keys


def _within_limits(
    plan: _Plan, spill: Spill, scratch: ScratchColumns, rejects: RejectLog, keys: Mapping[str, pa.Array]
) -> np.ndarray:
    """Rows whose keys were found and whose numbers can be summed and squared, bool ``[R]``; others are refused."""
    kept = pointing((scratch.map(POINTER + table, np.int32) for table in keys), spill.rows(ROWS))
    numbers = (*(f for f in plan.dataset.fields if f.kind == "number"), *label_fields(plan.dataset.tasks))
    scales = {f.name: Scale.unfitted(f.width) for f in numbers}
    return refuse_unfit(numbers, scales, spill, scratch, rejects, kept)


def _within_scales(
    plan: _Plan, spill: Spill, scratch: ScratchColumns, rejects: RejectLog, fitted: Fitted, assigned: np.ndarray
) -> np.ndarray:
    """The split of every row once those are refused whose standardised numbers are too large.

    No training row is, so whatever was fitted stands: of n values none is further from their mean than sqrt(n - 1)
    deviations (Samuelson's inequality).
    """
    kept = assigned != UNASSIGNED
    numbers = (*fitted.schema.number_fields, *label_fields(fitted.schema.tasks))
    still = refuse_unfit(numbers, fitted.scales, spill, scratch, rejects, kept)
    if (still == kept).all():
        return assigned
    assigned = np.where(still, assigned, np.int8(UNASSIGNED))
    splits.refuse_empty(plan.split, assigned)
    scratch.replace("split", assigned)
    return assigned


def _encode(
    plan: _Plan, spill: Spill, scratch: ScratchColumns, fitted: Fitted, assigned: np.ndarray, folder: Path
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
    counts: Counts = Counter()
    for table, target in targets.items():
        encoder = Encoder(schema, table, fitted.vocabularies, fitted.scales, fitted.sources, scratch, target)
        with closing(parallel_map(encoder, jobs[table], plan.processes, f"encoding {table}")) as results:
            for more in results:
                counts.update(more)
    return counts


def _starts(chunks: list[Chunk], assigned: np.ndarray) -> list[tuple[Chunk, tuple[int, ...]]]:
    """Each chunk, and the row of each split's file at which its rows begin."""
    jobs: list[tuple[Chunk, tuple[int, ...]]] = []
    following = np.zeros(len(SPLITS), np.int64)
    for chunk in chunks:
        jobs.append((chunk, tuple(following.tolist())))
        own = assigned[chunk.first_row : chunk.first_row + chunk.rows]
        following += np.bincount(own[own != UNASSIGNED], minlength=len(SPLITS))
    return jobs


def _refuse_names(dataset: RawDataset) -> None:
    labels = {task.label for task in dataset.tasks}
    if both := sorted(labels & {f.name for f in dataset.fields}):
        raise ValueError(
            f"data set '{dataset.name}': {', '.join(both)} is a label and an input field; a model could "
            "read the answer. Take it out of the fields"
        )
    for what, names in (
        ("vocabularies", {f.vocabulary_name for f in dataset.fields if f.kind == "id"}),
        ("dimension tables", set(tables_of(dataset))),
    ):
        known: dict[str, str] = {}
        for name in sorted(names):
            if (other := known.setdefault(name.casefold(), name)) != name:
                raise ValueError(
                    f"data set '{dataset.name}': the {what} '{other}' and '{name}' differ in case alone and would be "
                    "one file on disks that ignore it. Rename one; in a schema of Parquet files, name: is free and "
                    "column: says what the file calls it"
                )
