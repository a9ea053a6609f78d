"""Files of pretrained vectors: the key ``pretrained``, and content hashes of the files that it names.

Apart from the tables that take the vectors, which need the blocks of models: a run is known without them.
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
        ConfigError: an unknown key, a value of the wrong type, or no file.
    """
    node = OmegaConf.select(config, "pretrained")
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(plain, dict | None):
        raise ConfigError(f"pretrained is {plain!r}; expected files by field: {{item: {{file: x.parquet}}}}")
    entries = typing.cast(dict[str, Any], plain or {})
    for field, values in entries.items():
        if not isinstance(values, dict):
            raise ConfigError(f"pretrained.{field} is {values!r}; expected keys of its own: {{file: x.parquet}}")
    return {field: call_checked(VectorFile, entries[field], f"pretrained.{field}") for field in sorted(entries)}


def vectors_identity(config: DictConfig) -> dict[str, dict[str, Any]]:
    """What counts in a run's identity, by field: the content hash of the file in place of its name.

    Raises:
        ConfigError: as `vector_files`, or a file is not there.
    """
    found: dict[str, dict[str, Any]] = {}
    for field, chosen in vector_files(config).items():
        path = Path(chosen.file)
        if not path.is_file():
            raise ConfigError(f"pretrained.{field}.file={path}: there is no such file")
        facts = path.stat()
        found[field] = asdict(chosen) | {"file": _hash(path.absolute(), facts.st_size, facts.st_mtime_ns)}
    return found


@cache
def _hash(path: Path, size: int, modified: int) -> str:
    """Content hash of a file, once as long as its size and time of modification stay what they are."""
    return checksum(path)
