"""Warnings about outliers among numbers and labels of regression tasks."""

from collections.abc import Mapping
from typing import Any

from mtlbench.data.numbers import OUTLIER

FAR = f"more than {OUTLIER} standard deviations from the mean of training rows"


def outlier_warnings(manifest: Mapping[str, Any]) -> list[str]:
    """A sentence for every number field and regression label with outliers in a split or dimension table."""
    compressed = {field["name"] for field in manifest["schema"]["fields"] if field.get("compress")}
    found: list[str] = []
    for name, facts in manifest["fields"].items():
        remedy = "Compress it (compress: true of a field, dataset.compress=true of kuairand) or exclude it"
        after = f"models that multiply fields raise them to powers. {'Exclude it' if name in compressed else remedy}"
        found += [f"'{name}' has {_rows(n, part)} {FAR}; {after}" for part, n in _outliers(facts)]
    for split, facts in manifest["splits"].items():
        after = "which outweigh all others in a squared error. Set loss.regression=absolute, or limit the label"
        found += [f"task '{task}' has {_rows(n, split)} with labels {FAR}, {after}" for task, n in _outliers(facts)]
    return found


def _outliers(facts: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Numbers of outliers by name, if any; stores of earlier versions have no counts."""
    return [(name, count) for name, count in facts.get("outliers", {}).items() if count]


def _rows(count: int, part: str) -> str:
    return f"{count:,} row{'s' * (count != 1)} of '{part}'"
