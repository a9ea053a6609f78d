"""Reads untrusted YAML as plain data: no interpolation, no object construction."""

import re
import typing
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader

from mtlbench.experiment.errors import ConfigError

_RESERVED = re.compile(r"_[a-z]+_")
"""Keys with a meaning to Hydra, such as ``_target_``."""


def load_yaml(path: Path) -> Any:
    """The content of a YAML file as plain values, read as OmegaConf reads it: 1e-3 is a number, no key is given twice.

    `OmegaConf.load` makes nodes of it, which takes longer than reading.

    Raises:
        FileNotFoundError: the file does not exist.
        yaml.YAMLError, UnicodeDecodeError, OSError: it cannot be read, or is not YAML.
    """
    return yaml.load(path.read_text(encoding="utf-8"), get_yaml_loader())  # a SafeLoader


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, without interpolations.

    A run's configuration is saved resolved. A file with ``${...}`` was not written by mtlbench, and could read the
    environment of the user who opens it.

    Raises:
        ConfigError: the file does not exist or is not a YAML mapping, or there is an interpolation.
    """
    try:
        content = load_yaml(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}; expected a mapping")
    refuse_interpolations(content, str(path))
    return content


def read_plain(path: Path, keys: Collection[str] = ()) -> DictConfig:
    """`read_mapping` as a configuration.

    Args:
        path: path of the file.
        keys: required keys.

    Raises:
        ConfigError: see `read_mapping`, or a key is missing.
    """
    content = OmegaConf.create(read_mapping(path))
    if missing := [key for key in keys if OmegaConf.select(content, key, default=None) is None]:
        raise ConfigError(f"{path}: {', '.join(missing)} is missing")
    return content


def refuse_interpolations(content: Any, where: str) -> None:
    """Reject ``${...}`` in any text of nested plain data, keys included.

    Raises:
        ConfigError: there is an interpolation; the message names `where` and the key.
    """
    for key, text in _texts(content, ""):
        if "${" in text:
            location = f"{where}: {key.lstrip('.')}" if key else where
            raise ConfigError(f"{location}: {text[:60]!r} is an interpolation, which this file must not contain")


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
