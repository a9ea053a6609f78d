"""Warnings about outliers among numbers and labels of regression tasks."""

from collections.abc import Mapping
from typing import Any

from mtlbench.data.numbers import OUTLIER

FAR = f"more than {OUTLIER} standard deviations from the mean of training rows"


def outlier_warnings(manifest: Mapping[str, Any]) -> list[str]:
    """One sentence for every number field and regression label with outliers in a split or a dimension table."""
    fields = [
        f"'{name}' has {_rows(count, part)} {FAR}; models that multiply fields raise them to powers. Compress it "
        "(compress: true of a field, dataset.compress=true of kuairand) or leave it out"
        for name, facts in manifest["fields"].items()
        for part, count in facts.get("outliers", {}).items()
        if count
    ]
    labels = [
        f"task '{task}' has {_rows(count, split)} with labels {FAR}, which outweigh all others in a squared error. Set "
        "loss.regression=absolute, or limit the label"
        for split, facts in manifest["splits"].items()
        for task, count in facts.get("outliers", {}).items()
        if count
    ]
    return fields + labels


def _rows(count: int, part: str) -> str:
    return f"{count:,} row{'s' * (count != 1)} of '{part}'"
