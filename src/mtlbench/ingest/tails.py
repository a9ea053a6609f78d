"""Warnings about number fields with outliers."""

from collections.abc import Mapping
from typing import Any

FAR = 100
"""Standard deviations from the mean of training rows beyond which a number gets a warning."""


def warnings_about(manifest: Mapping[str, Any]) -> list[str]:
    """One sentence for every number field that has an outlier among training rows."""
    return [
        f"'{name}' has an outlier {max(facts['furthest']):,.0f} standard deviations from its mean, and models that "
        "multiply fields raise it to powers: compress: true of a field (dataset.compress=true of kuairand) "
        "standardises sign(v) ln(1 + |v|) instead"
        for name, facts in manifest["fields"].items()
        if max(facts.get("furthest", ()), default=0) > FAR
    ]
