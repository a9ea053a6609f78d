"""A composed configuration as MLflow's parameters: flat names, text values, within its limits."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

LONGEST_VALUE = 6000
"""Characters of a parameter's value that MLflow stores."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-. ]*")


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run as plain values.

    Raises:
        ValueError: the file is missing, or it is not a YAML mapping.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing: {path.parent} is not the folder of a run")
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is damaged: it holds {type(config).__name__}, expected a mapping")
    return config


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """``{"model.experts": "8", ...}``: nested names joined by dots, text as it is, all else as JSON.

    What describes the machine and not the experiment, ``run``, is left out. A mapping with a key that MLflow refuses
    as a name (``*embedding*``) becomes one value.
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        if key != "run":
            _flatten(str(key), value, flat)
    return flat


def shorten(parameters: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Parameters within MLflow's limit, and the names of those whose value had to be shortened."""
    long = tuple(name for name, value in parameters.items() if len(value) > LONGEST_VALUE)
    return {name: value[:LONGEST_VALUE] for name, value in parameters.items()}, long


def _flatten(name: str, value: Any, flat: dict[str, str]) -> None:
    if isinstance(value, Mapping) and value and all(_NAME.fullmatch(str(key)) for key in value):
        for key, inner in value.items():
            _flatten(f"{name}.{key}", inner, flat)
    else:
        flat[name] = value if isinstance(value, str) else json.dumps(value, default=str)
