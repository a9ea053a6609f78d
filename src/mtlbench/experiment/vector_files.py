"""Files of pretrained vectors (the key ``pretrained``) and their content hashes.

Separate from `mtlbench.experiment.pretrained`, which imports the blocks of models: a run's identity needs only this.
"""

import typing
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mtlbench.data.pretrained import VectorFile
from mtlbench.experiment.build import call_checked
from mtlbench.experiment.errors import ConfigError
from mtlbench.files import checksum


def vector_files(config: DictConfig) -> dict[str, VectorFile]:
    """The files that a configuration names, by field, in the order of the fields' names.

    Raises:
        ConfigError: a key is unknown, a value has the wrong type, or a file is missing.
    """
    node = OmegaConf.select(config, "pretrained")
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(plain, dict | None):
        raise ConfigError(f"pretrained is {plain!r}; expected files by field: {{item: {{file: x.parquet}}}}")
    entries = typing.cast(dict[str, Any], plain or {})
    for field, values in entries.items():
        if not isinstance(values, dict):
            raise ConfigError(f"pretrained.{field} is {values!r}; expected a mapping: {{file: x.parquet}}")
    return {field: call_checked(VectorFile, entries[field], f"pretrained.{field}") for field in sorted(entries)}


def vectors_identity(config: DictConfig) -> dict[str, dict[str, Any]]:
    """The part in a run's identity, by field: the content hash of the file, in place of its name.

    Raises:
        ConfigError: as `vector_files`, or a file does not exist.
    """
    identities: dict[str, dict[str, Any]] = {}
    for field, chosen in vector_files(config).items():
        path = Path(chosen.file)
        if not path.is_file():
            raise ConfigError(f"pretrained.{field}.file={path}: no such file")
        facts = path.stat()
        identities[field] = asdict(chosen) | {"file": _hash(path.absolute(), facts.st_size, facts.st_mtime_ns)}
    return identities


@cache
def _hash(path: Path, size: int, modified: int) -> str:
    """Content hash of a file, cached until its size or modification time changes."""
    return checksum(path)
