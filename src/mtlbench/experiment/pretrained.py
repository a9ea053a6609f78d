"""Pretrained vectors of fields: the key ``pretrained``, content hashes of its files, the tables that take them."""

import logging
import typing
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mtlbench.data.pretrained import VectorFile, Vectors, read_vectors
from mtlbench.data.store import Store
from mtlbench.experiment.build import call_checked
from mtlbench.experiment.errors import ConfigError
from mtlbench.files import checksum
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.wide import FirstOrder
from mtlbench.schema import Field, Schema

_log = logging.getLogger(__name__)


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


def add_pretrained(model: nn.Module, config: DictConfig, store: Store) -> None:
    """Give the embedding tables of a model the vectors that a configuration names; draws nothing where it names none.

    Raises:
        ConfigError: a field that cannot have vectors, a file that cannot be used, or a model without such a table.
    """
    if not (files := vector_files(config)):
        return
    if not (tables := embedding_tables(model)):
        raise ConfigError(f"pretrained: model={config.run.choices.model} has no FieldEmbedding to take vectors")
    for field in _fields(files, store.schema):
        chosen, vocabulary = files[field.name], store.vocabulary(field.vocabulary_name)
        try:
            vectors = read_vectors(chosen, field.name, vocabulary)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        rows = torch.from_numpy(vectors.index) + store.schema.offsets[field.name]
        for table in tables:
            table.add_vectors(rows, torch.from_numpy(vectors.values), frozen=chosen.frozen)
        _log.info(_text(field, chosen, vectors, len(vocabulary), tables[0].width))


def embedding_tables(model: nn.Module) -> list[FieldEmbedding]:
    """The blocks whose tables take vectors: all of embeddings (STEM has one for each task), not first-order weights."""
    first_order = {block.fields for block in model.modules() if isinstance(block, FirstOrder)}
    return [block for block in model.modules() if isinstance(block, FieldEmbedding) and block not in first_order]


def _fields(files: Mapping[str, VectorFile], schema: Schema) -> list[Field]:
    """The fields that vectors are named for, by name."""
    fields = {field.name: field for field in schema.id_fields}
    owners: dict[str, str] = {}
    for name in files:
        if name not in fields:
            raise ConfigError(f"pretrained.{name}: there is no id field '{name}'; there are: {', '.join(fields)}")
        if (other := owners.setdefault(fields[name].vocabulary_name, name)) != name:
            raise ConfigError(f"pretrained.{name}: '{name}' and '{other}' share their values; name one of them")
    return [fields[name] for name in files]


def _text(field: Field, chosen: VectorFile, vectors: Vectors, values: int, width: int) -> str:
    known, own = vectors.values.shape
    lacking = f"{values - known:,} have none and start as usual" if known < values else "none is left without one"
    state = "frozen" if chosen.frozen else "trained further"
    projected = f", projected from {own} to {width} numbers" if own != width else ""
    unused = f"; {vectors.unused:,} keys of the file are not in training rows" if vectors.unused else ""
    return f"pretrained.{field.name}: vectors of {known:,} of {values:,} values, {state}{projected}; {lacking}{unused}"
