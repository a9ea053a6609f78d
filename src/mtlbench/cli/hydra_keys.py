"""Overrides of Hydra's own keys: accepts those of its launcher and sweeper, and rejects all others.

Hydra only composes configurations here. Its launchers, sweepers, callbacks and logging never start a run, since Hydra
builds them from configuration nodes before mtlbench can check the nodes.
"""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from mtlbench.experiment.errors import ConfigError

_NAMED = re.compile(r"\bhydra\b")
_PACKAGE = re.compile(r"^\s*#\s*@package\s.*\bhydra\b", re.MULTILINE)
_TAKEN = re.compile(r"\+{0,2}(hydra/(launcher|sweeper)|hydra\.(launcher|sweeper)(\.[A-Za-z0-9_.]+)?)=")


def split_hydra(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides of Hydra's launcher or sweeper, and all other overrides.

    Raises:
        ConfigError: an override of another key of Hydra's, or of a class.
    """
    hydra_words = [word for word in overrides if _NAMED.search(word.partition("=")[0])]
    for word in hydra_words:
        if not _TAKEN.match(word) or "_target_" in word:
            raise ConfigError(f"'{word}': of Hydra's own keys, only hydra/launcher and hydra.launcher.<key> can be set")
    return hydra_words, [word for word in overrides if word not in hydra_words]


def refuse_hydra_in(folder: Path) -> None:
    """Reject files of a configuration folder that would make Hydra run code.

    Raises:
        ConfigError: there is such a file, or one that is not valid YAML.
    """
    # Path.rglob does not follow links, but Hydra does
    for name in sorted(glob.glob("**/*.yaml", root_dir=folder, recursive=True, include_hidden=True)):  # noqa: PTH207
        path = folder / name
        try:
            text = path.read_text(encoding="utf-8")
            content = OmegaConf.to_container(OmegaConf.create(text or "{}"), resolve=False)
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
        if _NAMED.search(name) or _PACKAGE.search(text) or any(map(_NAMED.search, _texts(content))):
            raise ConfigError(
                f"{path}: files of a configuration folder cannot configure Hydra itself. Do so on the command line, as "
                "in hydra/launcher=joblib"
            )


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)
    elif isinstance(content, str):
        yield content
