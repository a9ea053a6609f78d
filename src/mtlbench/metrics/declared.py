"""Declarations of the user's own metrics (title, direction, digits, kind), read without importing their code."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mtlbench.checks import in_range
from mtlbench.metrics.names import Metric, declare

DISPLAY_KEYS = ("title", "digits", "percent", "rows", "summary")
"""Keys that only affect the display of a metric; they are not part of a run's identity."""

KEYS = ("function", "better", "kind", *DISPLAY_KEYS)


def declared_metrics(config: Mapping[str, Any]) -> dict[str, Metric]:
    """Declare the own metrics of a configuration, and return their entries.

    Args:
        config: plain values of a run, or of a file of the group ``metric`` under that key.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type or range.
    """
    entries: Any = config.get("metric") or {}
    if not isinstance(entries, Mapping):
        raise ValueError(f"metric is {entries!r}; expected a mapping from names to metrics")
    found = {str(name): _entry(f"metric.{name}", str(name), entry) for name, entry in entries.items()}
    declare(found)
    return found


def _entry(where: str, name: str, values: Any) -> Metric:
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is {values!r}; expected a mapping of {', '.join(KEYS)}")
    if missing := [key for key in ("function", "better") if key not in values]:
        raise ValueError(f"{where} has no {' and no '.join(missing)}; a metric needs a function and a direction")
    if unknown := [str(key) for key in values if key not in KEYS]:
        raise ValueError(f"{where}.{unknown[0]}: no such key; allowed: {', '.join(KEYS)}")
    stated = {"title": name} | {str(key): value for key, value in values.items() if key != "function"}
    try:
        entry = TypeAdapter(Metric).validate_json(json.dumps(stated, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{where}.{first['loc'][0]} is {first['input']!r}: {first['msg'].lower()}") from error
    in_range(f"{where}.digits", entry.digits, ge=0, le=15)
    return entry
