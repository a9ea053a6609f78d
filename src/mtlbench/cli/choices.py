"""Configuration groups, their choices, and the keys and default values in their files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtlbench.cli.compose_files import compose_files
from mtlbench.cli.search_path import conf_file, group_files

GROUPS = {
    "model": "network architecture",
    "dataset": "data to train and evaluate on",
    "optimizer": "optimizer and learning rates",
    "scheduler": "learning-rate schedule",
    "virtual_gradient": "label relevance added to the gradient of gates",
    "loss": "loss function of each task",
    "balancing": "how the losses of the tasks are combined",
    "metric": "your own metrics, in addition to the built-in ones",
    "trainer": "batch size, epochs, precision, model selection",
    "profile": "hyper-parameters that models share",
    "tracker": "where results are sent",
}

INSTRUCTION = r"_\w+_"
"""Keys with a meaning to Hydra, such as ``_target_`` and ``_partial_``."""


def choices(group: str) -> dict[str, str]:
    """Choices of a group, each with the first comment of its file."""
    paths = sorted(group_files(group), key=lambda path: _by_number(path.stem))
    return {path.stem: first_comment(path) for path in paths}


def _by_number(name: str) -> list[tuple[str, int]]:
    """Natural sort key: ``fig9`` before ``fig10``."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", name)]


def comments(group: str, name: str) -> tuple[str, str]:
    """The first two comment lines of a model's file: its paper and its description; an absent one is empty."""
    file = conf_file(f"{group}/{name}.yaml")
    lines = file.read_text().splitlines()[:2] if file else []
    paper, what = (line.lstrip("# ").strip() if line.startswith("#") else "" for line in [*lines, "", ""][:2])
    return paper, what


def default_values(config: str, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Every dotted key of a configuration with its value as written in YAML, references unresolved.

    Reads the files directly, which takes a tenth of the time that Hydra needs to compose them.

    Args:
        config: ``train`` or ``simulate``.
        chosen: choices by group, where they differ from the defaults; other keys are ignored.
    """
    content = compose_files(config, chosen, read_yaml).content
    del content["hydra"]
    return {key: value for key, value in _flat(content).items() if key not in (*GROUPS, "run.tracker")}


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in node.items():
        if not re.fullmatch(INSTRUCTION, str(key)):
            values[f"{prefix}{key}"] = value
            values |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {}
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """The content of a YAML file, references unresolved."""
    import yaml

    return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def first_comment(path: Path) -> str:
    """The first comment line of a YAML file, Hydra directives skipped."""
    for line in path.read_text().splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").strip()
    return ""
