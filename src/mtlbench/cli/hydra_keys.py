"""Restricts overrides of Hydra's own configuration to launchers and sweep folders, so that none makes Hydra run code.

Hydra builds its launcher, sweeper, callbacks and logging from configuration nodes, sets environment variables, and
unpickles a job to run it again, all before a configuration of ours can be checked.
"""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from mtlbench.experiment.errors import ConfigError

_ALLOWED = re.compile(
    r"\+{0,2}(hydra/(launcher|sweeper)|hydra\.(launcher|sweeper|sweep|run)\.[A-Za-z0-9_.]+|hydra\.(verbose|mode))"
)
_NAMED = re.compile(r"\bhydra\b")
_PACKAGE = re.compile(r"^\s*#\s*@package\s.*\bhydra\b", re.MULTILINE)


def check_hydra(overrides: Sequence[str]) -> None:
    """Refuse overrides that would have Hydra run code.

    Raises:
        ConfigError: such a word.
    """
    for word in overrides:
        key = word.partition("=")[0]
        if _NAMED.search(key) and (not _ALLOWED.fullmatch(key) or "_target_" in word):
            raise ConfigError(
                f"'{word}': of Hydra's own keys only hydra/launcher, hydra/sweeper, hydra.launcher.<key>, "
                "hydra.sweeper.<key>, hydra.sweep.<key>, hydra.run.<key>, hydra.verbose and hydra.mode are taken"
            )


def refuse_hydra_in(folder: Path) -> None:
    """Refuse files of a configuration folder that would have Hydra run code.

    Raises:
        ConfigError: such a file, or one that cannot be read as YAML.
    """
    # Path.rglob does not follow links, and Hydra does
    for name in sorted(glob.glob("**/*.yaml", root_dir=folder, recursive=True, include_hidden=True)):  # noqa: PTH207
        path = folder / name
        try:
            text = path.read_text(encoding="utf-8")
            content = OmegaConf.to_container(OmegaConf.create(text or "{}"), resolve=False)
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
        if _NAMED.search(name) or _PACKAGE.search(text) or any(map(_NAMED.search, _texts(content))):
            raise ConfigError(
                f"{path}: files of a configuration folder configure the experiment, not Hydra. Say it on the command "
                "line, as in hydra/launcher=joblib"
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
