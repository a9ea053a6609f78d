"""Reads untrusted YAML as plain data: no interpolation, no object construction."""

import re
import typing
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from mtlbench.experiment.errors import ConfigError

_RESERVED = re.compile(r"_[a-z]+_")
"""Keys that Hydra gives a meaning, ``_target_`` among them."""


def read_plain(path: Path, keys: Collection[str] = ()) -> DictConfig:
    """The mapping in a YAML file, without interpolations.

    A run's configuration is saved resolved. One with ``${...}`` was written by somebody else, and could read the
    environment of whoever opens it.

    Args:
        path: of the file.
        keys: that must be there.

    Raises:
        ConfigError: no such file, no YAML mapping, a key is missing, or an interpolation.
    """
    try:
        content = OmegaConf.load(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(content, DictConfig):
        raise ConfigError(f"{path} holds a list; expected a mapping")
    refuse_interpolations(OmegaConf.to_container(content, resolve=False), str(path))
    if missing := [key for key in keys if OmegaConf.select(content, key, default=None) is None]:
        raise ConfigError(f"{path}: {', '.join(missing)} is missing")
    return content


def refuse_interpolations(content: Any, where: str) -> None:
    """Refuse ``${...}`` in any text of nested plain data, keys included.

    Raises:
        ConfigError: there is one; the message names `where` and its key.
    """
    for key, text in _texts(content, ""):
        if "${" in text:
            location = f"{where}: {key.lstrip('.')}" if key else where
            raise ConfigError(f"{location}: {text[:60]!r} is an interpolation, and this file is read as plain data")


def reserved_keys(content: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of keys of the form ``_word_`` in nested plain data."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        if isinstance(key, str) and _RESERVED.fullmatch(key):
            yield f"{prefix}{key}"
        yield from reserved_keys(value, f"{prefix}{key}.")


def _texts(content: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in nested plain data, and its dotted key."""
    if isinstance(content, str):
        yield key, content
    elif isinstance(content, dict):
        for name, value in typing.cast(dict[Any, Any], content).items():
            yield key, str(name)
            yield from _texts(value, f"{key}.{name}")
    elif isinstance(content, list | tuple):
        for number, value in enumerate(typing.cast(list[Any], content)):
            yield from _texts(value, f"{key}.{number}")
