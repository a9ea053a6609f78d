"""Describes a prepared store as text for a terminal."""

from collections.abc import Sequence
from typing import Any

from mtlbench.data.store import SPLITS, Store
from mtlbench.ingest.manifest import accounts
from mtlbench.ingest.outliers import outlier_warnings
from mtlbench.ingest.unknown import warnings_about
from mtlbench.report.terminal import table
from mtlbench.schema import Task
from mtlbench.tracking.parameters import flatten


def store_text(store: Store) -> str:
    """Contents of a store: splits with positives and overlaps, fields with cardinalities, excluded lines."""
    manifest = store.manifest
    simulated = "  SIMULATED DATA" if store.origin == "simulated" else ""
    tasks = [task.name for task in store.schema.tasks if task.kind == "binary"]
    masked = [task.name for task in store.schema.tasks if task.missing]
    splits = [[name, *_split_cells(manifest, name, tasks, masked)] for name in SPLITS]
    fields = [
        [
            field.name,
            field.kind,
            f"{field.cardinality:,}" if field.cardinality else "",
            str(field.width),
            field.table or "rows",
            field.role or "",
            *_unknown_cells(manifest["fields"][field.name]),
        ]
        for field in store.schema.fields
    ]
    return "\n".join(
        [
            f"{store.folder}{simulated}",
            "",
            table(
                ["split", "rows", *(f"{task} positives" for task in tasks), *(f"{task} labels" for task in masked)],
                splits,
            ),
            "",
            *_regression_lines(store.schema.tasks),
            *_together_lines(manifest),
            *_overlap_lines(manifest),
            *_relabel_lines(manifest),
            table(
                ["field", "kind", "ids", "width", "table", "role", *(f"unknown in {name}" for name in SPLITS)], fields
            ),
            "",
            *(f"  WARNING: {text}" for text in (*warnings_about(manifest), *outlier_warnings(manifest))),
            f"  {store.schema.embedding_rows:,} rows in the embedding table",
            "",
            *(f"  {line}" for line in accounts(manifest)),
        ]
    )


def _unknown_cells(facts: dict[str, Any]) -> list[str]:
    """Fraction of unknown values by split; blank for a number, or if not recorded by an earlier version."""
    shares = facts.get("unknown", {})
    return [f"{shares[name]:.1%}" if name in shares else "" for name in SPLITS]


def _regression_lines(tasks: Sequence[Task]) -> list[str]:
    """Mean and standard deviation by which labels of regression tasks are standardised."""
    rows = [[t.name, f"{t.mean:,.6g}", f"{t.deviation:,.6g}"] for t in tasks if t.kind == "regression"]
    return [table(["regression task", "mean in train", "deviation"], rows), ""] if rows else []


def _relabel_lines(manifest: dict[str, Any]) -> list[str]:
    """How the labels were made, if they are not those of the raw files."""
    facts = [list(fact) for fact in flatten(manifest.get("relabel", {})).items()]
    return [table(["labels were made here", ""], facts), ""] if facts else []


def _together_lines(manifest: dict[str, Any]) -> list[str]:
    """Rows positive for both of two tasks and, if no label is missing, the correlation of the labels, by split."""
    rows = [
        [
            name,
            pair,
            f"{both:,}",
            ""
            if "labelled" in split
            else _correlation(split["rows"], [split["positives"][task] for task in pair.split(" and ")], both),
        ]
        for name, split in manifest["splits"].items()
        for pair, both in split["together"].items()
    ]
    return [table(["split", "positive for both", "rows", "correlation"], rows), ""] if rows else []


def _correlation(rows: int, positives: list[int], both: int) -> str:
    """Pearson's correlation of two binary labels, from counts."""
    one, other = positives
    spread = (one * (rows - one) * other * (rows - other)) ** 0.5
    return f"{(rows * both - one * other) / spread:.4f}" if spread else "undefined"


def _overlap_lines(manifest: dict[str, Any]) -> list[str]:
    """Numbers of distinct groups and times of each split, and of those shared by two splits."""
    rows = [
        [
            {"group": "groups", "time": "times"}[name],
            *(f"{count:,}" for count in facts["distinct"].values()),
            *(f"{count:,}" for count in facts["shared"].values()),
        ]
        for name, facts in manifest["overlaps"].items()
    ]
    if not rows:
        return []
    facts = next(iter(manifest["overlaps"].values()))
    return [table(["distinct", *facts["distinct"], *(f"both {pair}" for pair in facts["shared"])], rows), ""]


def _split_cells(manifest: dict[str, Any], name: str, tasks: list[str], masked: list[str]) -> list[str]:
    split = manifest["splits"][name]
    labelled = [count for task, count in split.get("labelled", {}).items() if task in masked]
    return [f"{split['rows']:,}", *(f"{split['positives'][task]:,}" for task in tasks), *(f"{n:,}" for n in labelled)]
