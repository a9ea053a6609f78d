"""Builds the manifest of a store: rows, positives, rates of unknown and missing values, provenance."""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from mtlbench.checks import one_of
from mtlbench.data.numbers import Scale
from mtlbench.data.store import SPLITS
from mtlbench.files import checksum
from mtlbench.ingest.csv import HEADER
from mtlbench.ingest.encode import Counts
from mtlbench.ingest.parse import Spill
from mtlbench.ingest.protocol import RawFile, Rewritten
from mtlbench.ingest.workers import Workers
from mtlbench.schema import Schema, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Provenance of raw files.

    Attributes:
        origin: ``real`` or ``simulated``.
        identity: content of the store's fingerprint, as JSON.
        raw: SHA-256 of raw files by first name, if computed.
    """

    origin: Literal["real", "simulated"]
    identity: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, str] = field(default_factory=dict)


def check_splits(schema: Schema, counts: Counts, one_class: Literal["fail", "note"]) -> list[str]:
    """Notes on splits that cannot be scored.

    Raises:
        ValueError: a class of a task is absent in training rows, or in another split with ``one_class=fail``.
    """
    one_of("dataset.one_class", one_class, ("fail", "note"))
    notes: list[str] = []
    for split in SPLITS:
        for task in schema.tasks:
            rows = counts[split, "labelled", task.name] if task.missing else counts[split, "rows", ""]
            positives = counts[split, "positives", task.name]
            if 0 < positives < rows or (task.kind == "regression" and rows):
                continue
            what = f"{rows} labels of task '{task.name}'" if task.missing else f"{rows} rows"
            found = f"split '{split}' has {what}, {positives} of them positive for task '{task.name}'"
            if split == "train":
                raise ValueError(f"{found}: there is nothing to learn")
            if one_class == "fail":
                raise ValueError(
                    f"{found}: its AUC is undefined. Choose another dataset.split or more rows, or set "
                    "dataset.one_class=note to continue without it"
                )
            notes.append(f"{found}: its AUC is undefined")
    return notes


def splits(schema: Schema, counts: Counts) -> dict[str, Any]:
    """By split: rows, positives, rows positive for two tasks, labels if some are missing, label outliers."""
    pairs = [f"{one.name} and {two.name}" for one, two in combinations(_binary(schema), 2)]
    numbers = [task.name for task in schema.tasks if task.kind == "regression"]
    return {
        split: {
            "rows": counts[split, "rows", ""],
            "positives": {task.name: counts[split, "positives", task.name] for task in _binary(schema)},
            "together": {pair: counts[split, "together", pair] for pair in pairs},
            **(
                {"labelled": {task.name: counts[split, "labelled", task.name] for task in schema.tasks}}
                if any(task.missing for task in schema.tasks)
                else {}
            ),
            **({"outliers": {name: counts[split, "label outliers", name] for name in numbers}} if numbers else {}),
        }
        for split in SPLITS
    }


def _binary(schema: Schema) -> list[Task]:
    return [task for task in schema.tasks if task.kind == "binary"]


def fields(
    schema: Schema,
    scales: Mapping[str, Scale],
    cut: Counter[str],
    counts: Counts,
    unknown: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """By field and split (and its table): rate of unknown values; for numbers, missing values, outliers and scale."""
    described: dict[str, Any] = {}
    for f in schema.fields:
        parts = SPLITS if f.table is None else (f.table,)
        if f.kind == "number":
            scale = scales[f.name]
            described[f.name] = {
                "missing": {part: counts[part, "missing", f.name] for part in parts},
                "mean": scale.mean.tolist(),
                "deviation": scale.deviation.tolist(),
                "outliers": {part: counts[part, "outliers", f.name] for part in parts},
            }
            continue
        rate = {part: counts[part, "unknown", f.name] / max(counts[part, "values", f.name], 1) for part in parts}
        rate |= unknown[f.name]
        described[f.name] = {"unknown": rate, "values": {part: counts[part, "values", f.name] for part in parts}}
        if f.width > 1:
            described[f.name]["cut"] = cut[f.name]
    return described


def raw(
    files: Sequence[tuple[RawFile, Path]],
    folder: Path,
    arranged: Rewritten,
    spill: Spill,
    rejected: Counter[Path],
    provenance: Provenance,
) -> dict[str, Any]:
    """By raw file below ``folder``: counts of its lines, its checksum, and comparison with the published file."""
    described: dict[str, Any] = {}
    for file, path in files:
        digest = provenance.raw.get(file.name)
        lines = arranged.lines.get(file.name, spill.lines[path])
        dropped = dict(arranged.dropped.get(file.name, spill.dropped.get(path, {})))
        rows = lines - dropped.get(HEADER, 0)
        whole = rows + sum(dropped.values()) == lines and not rejected[path]
        positives = spill.positives.get(path, Counter()) if whole else None
        described[path.relative_to(folder).as_posix()] = {
            "bytes": path.stat().st_size,
            "lines": lines,
            "rejected": rejected[path],
            "dropped": dropped,
            "kept": dict(spill.kept.get(path, {})),
            "cut": {name: count for name, count in spill.cut.get(path, {}).items() if count},
            "sha256": digest,
            "published": _compare(file, rows, positives, digest) if provenance.origin == "real" else None,
        }
    return described


def accounts(manifest: Mapping[str, Any]) -> list[str]:
    """One summary line per raw file: lines read, rejected, dropped, truncated; comparison with published counts."""
    return [
        f"{name}: {facts['lines']:,} lines read, {facts['rejected']:,} rejected, "
        f"{_total(facts['dropped'], 'dropped')}, "
        # Contradictory rows; not recorded in stores of earlier versions.
        + (f"{_total(facts['kept'], 'contradictions kept')}, " if facts.get("kept") else "")
        # Stores of earlier versions do not record the file of truncated values.
        + (f"{_total(facts['cut'], 'values cut')}, " if "cut" in facts else "")
        + (facts["published"] or ("simulated" if manifest["origin"] == "simulated" else "no published counts"))
        for name, facts in manifest["raw"].items()
    ]


def _total(counts: Mapping[str, int], what: str) -> str:
    """The sum, followed by its parts in brackets."""
    parts = ", ".join(f"{name}: {count:,}" for name, count in counts.items() if count)
    return f"{sum(counts.values()):,} {what}" + (f" ({parts})" if parts else "")


def files(folder: Path, workers: Workers) -> dict[str, Any]:
    """Size and checksum of every file of a store."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = workers.map(checksum, paths, "checksums of the store")
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in zip(paths, digests, strict=True)
    }


def rule(split: Callable[..., Any]) -> dict[str, Any]:
    """Name and parameters of a split rule."""
    function, parameters = (split.func, split.keywords) if isinstance(split, functools.partial) else (split, {})
    return {"rule": f"{function.__module__}.{function.__qualname__}", **parameters}


def _compare(file: RawFile, rows: int, positives: Counter[str] | None, digest: str | None) -> str | None:
    """Comparison of a file with the published one; positives of ``None`` (lines were excluded) are not compared."""
    differences: list[str] = []
    if file.published_rows is not None and rows != file.published_rows:
        differences.append(f"{rows} lines, published are {file.published_rows}")
    known = {label: count for label, count in file.published_positives.items() if label in (positives or {})}
    for label, published in known.items():
        if positives and positives[label] != published:
            differences.append(f"{positives[label]} positive for {label}, published are {published}")
    if file.sha256 is not None and digest is not None and digest != file.sha256:
        differences.append(f"sha256 is {digest}, published is {file.sha256}")
    if differences:
        return "differs: " + "; ".join(differences)
    compared = ["counts"] * (file.published_rows is not None) + ["positives"] * bool(known)
    compared += ["checksum"] * (None not in (file.sha256, digest))
    return f"matches the published {' and '.join(compared)}" if compared else None
