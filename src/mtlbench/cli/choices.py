"""Configuration groups, their choices, and the keys and default values in their files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtlbench.cli.compose_files import compose_files
from mtlbench.cli.search_path import conf_file, group_files

GROUPS = {
    "model": "network architecture",
    "dataset": "data to train and measure on",
    "optimizer": "optimizer and learning rates",
    "scheduler": "learning-rate schedule",
    "virtual_gradient": "label relevance in the gradient of gates",
    "loss": "loss function of each task",
    "balancing": "how the losses of the tasks are combined",
    "metric": "metrics of your own, beside those that every run measures",
    "trainer": "batch size, epochs, precision, model selection",
    "profile": "hyper-parameters that models share",
    "tracker": "where results are sent",
}

INSTRUCTION = r"_\w+_"
"""Keys that are for Hydra: ``_target_``, ``_partial_``."""


def choices(group: str) -> dict[str, str]:
    """Names in a group with the first comment of each file."""
    paths = sorted(group_files(group), key=lambda path: _by_number(path.stem))
    return {path.stem: first_comment(path) for path in paths}


def _by_number(name: str) -> list[tuple[str, int]]:
    """Sorts ``fig9`` before ``fig10``."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", name)]


def comments(group: str, name: str) -> tuple[str, str]:
    """The first two lines of a model's file: the paper, and what the model is; empty where there are fewer."""
    file = conf_file(f"{group}/{name}.yaml")
    lines = file.read_text().splitlines()[:2] if file else []
    paper, what = (line.lstrip("# ").strip() if line.startswith("#") else "" for line in [*lines, "", ""][:2])
    return paper, what


def default_values(config: str, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Every key of a configuration, dotted, and its value as the YAML files have it, references included.

    Read from the files themselves, which takes a tenth of the time that Hydra takes to compose them.

    Args:
        config: ``train`` or ``simulate``.
        chosen: names in groups that differ from the default ones; other keys are ignored.
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
    """The content of a YAML file, references included."""
    import yaml

    return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def first_comment(path: Path) -> str:
    """The first comment line of a YAML file that is not a directive for Hydra."""
    for line in path.read_text().splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").strip()
    return ""
