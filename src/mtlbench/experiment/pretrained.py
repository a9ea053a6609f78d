"""Loads pretrained vectors of fields into the rows of embedding tables."""

import logging
from collections.abc import Mapping

import torch
from omegaconf import DictConfig
from torch import nn

from mtlbench.data.pretrained import VectorFile, Vectors, read_vectors
from mtlbench.data.store import Store
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.vector_files import vector_files
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.wide import FirstOrder
from mtlbench.schema import Field, Schema

_log = logging.getLogger(__name__)


def add_pretrained(model: nn.Module, config: DictConfig, store: Store) -> None:
    """Load the configured vectors into a model's embedding tables; without any, no random number is drawn.

    Raises:
        ConfigError: a field cannot have vectors, a file cannot be used, or the model has no such table.
    """
    if not (files := vector_files(config)):
        return
    if not (tables := embedding_tables(model)):
        raise ConfigError(f"pretrained: model={config.run.choices.model} has no FieldEmbedding for pretrained vectors")
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
    """The blocks that receive vectors: all embeddings (STEM has one per task), but not first-order weights."""
    first_order = {block.fields for block in model.modules() if isinstance(block, FirstOrder)}
    return [block for block in model.modules() if isinstance(block, FieldEmbedding) and block not in first_order]


def _fields(files: Mapping[str, VectorFile], schema: Schema) -> list[Field]:
    """The fields with configured vectors, by name."""
    fields = {field.name: field for field in schema.id_fields}
    owners: dict[str, str] = {}
    for name in files:
        if name not in fields:
            raise ConfigError(f"pretrained.{name}: no id field '{name}'; allowed: {', '.join(fields)}")
        if (other := owners.setdefault(fields[name].vocabulary_name, name)) != name:
            raise ConfigError(
                f"pretrained.{name}: '{name}' and '{other}' share their values; give vectors for one of them"
            )
    return [fields[name] for name in files]


def _text(field: Field, chosen: VectorFile, vectors: Vectors, values: int, width: int) -> str:
    known, own = vectors.values.shape
    rest = f"the other {values - known:,} start as usual" if known < values else "every value has one"
    state = "frozen" if chosen.frozen else "trained further"
    projected = f", projected from {own} to {width} numbers" if own != width else ""
    unused = f"; {vectors.unused:,} keys of the file are not in training rows" if vectors.unused else ""
    return f"pretrained.{field.name}: vectors of {known:,} of {values:,} values, {state}{projected}; {rest}{unused}"
