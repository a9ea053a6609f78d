"""Converts raw columns to model inputs, by the vocabularies and scales fitted on training rows."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from omegaconf import DictConfig, OmegaConf

from mtlbench.data import bags
from mtlbench.data.layout import ROWS
from mtlbench.data.numbers import Scale, allowed, number_matrix
from mtlbench.data.store import Store
from mtlbench.data.vocabulary import Vocabulary
from mtlbench.export.columns import ColumnError, ServedColumn, checked, columns_of, refusal
from mtlbench.ingest.encode import encode_inputs
from mtlbench.ingest.limits import all_fit
from mtlbench.ingest.protocol import WEIGHT_SUFFIX
from mtlbench.schema import Schema

INPUTS = "inputs.json"
VOCABULARY = "vocabulary"


@dataclass(frozen=True)
class Inputs:
    """Converts raw rows to matrices, in the same way as the preparation of a store.

    Attributes:
        schema: the schema of the store.
        vocabularies, scales: fitted on training rows, by name.
        files: see `training_files`.
    """

    schema: Schema
    vocabularies: Mapping[str, Vocabulary]
    scales: Mapping[str, Scale]
    files: Mapping[str, Mapping[str, str]]

    @cached_property
    def columns(self) -> tuple[ServedColumn, ...]:
        """The raw columns of a row. Fields of dimension tables are ordinary columns, already joined."""
        return columns_of(self.schema, self.vocabularies, self.files)

    @cached_property
    def _joined(self) -> Schema:
        return replace(self.schema, fields=tuple(replace(field, table=None) for field in self.schema.fields))

    def encode(self, raw: Mapping[str, pa.Array], first_row: int, unknown: Counter[str]) -> dict[str, np.ndarray]:
        """``ids`` int32 ``[B, S]``, ``numbers`` and ``weights`` float32, each if the schema has such columns.

        As in a store, lists that are too long are truncated to the entries with the largest weights, and a value
        outside the vocabulary gets the field's id for unknown values.

        Args:
            raw: columns by name, one for each of `columns`.
            first_row: number of the first row, for messages.
            unknown: counts of unknown values by field, which are updated.

        Raises:
            ColumnError: a value is not allowed.
        """
        rows = {column.name: checked(raw[column.name], column, first_row) for column in self.columns}
        for column in self.columns:
            if column.kind == "number":
                self._refuse_unfit(column, rows[column.name], first_row)
        for field in self.schema.id_fields:
            if field.width == 1:
                continue
            weights = rows.get(field.name + WEIGHT_SUFFIX) if field.weighted else None
            if weights is not None:
                _refuse_lengths(field.name, rows[field.name], weights, first_row)
            rows[field.name], cut, _ = bags.truncate(rows[field.name], weights, field.width)
            if cut is not None:
                rows[field.name + WEIGHT_SUFFIX] = cut

        def note(what: str, name: str, where: np.ndarray | slice) -> None:
            if what == "unknown" and isinstance(where, np.ndarray) and len(where):
                unknown[name] += len(where)

        batch = pa.record_batch(rows)
        return encode_inputs(self._joined, ROWS, self.vocabularies, self.scales, batch, note)

    def _refuse_unfit(self, column: ServedColumn, values: pa.Array, first_row: int) -> None:
        """Refuse the first number that is too large or too small to compute with."""
        (field,) = (field for field in self.schema.number_fields if field.name == column.name)
        scale = self.scales[field.name]
        if all_fit(values, field, scale):
            return
        numbers, missing = number_matrix(field, values)
        if len(unfit := np.argwhere(scale.unfit(numbers) & ~missing)):
            row, component = unfit[0].tolist()
            raise refusal(column, first_row + row, values[row].as_py(), allowed(field, scale, component))

    def save(self, folder: Path) -> None:
        """Write the schema and scales as JSON, and each vocabulary as Parquet."""
        scales = {
            name: {"mean": scale.mean.tolist(), "deviation": scale.deviation.tolist()}
            for name, scale in self.scales.items()
        }
        content: dict[str, Any] = {"schema": self.schema.as_dict(), "scales": scales}
        if self.files:
            content["files"] = self.files
        (folder / INPUTS).write_text(json.dumps(content, indent=1), encoding="utf-8")
        (folder / VOCABULARY).mkdir()
        for name, vocabulary in self.vocabularies.items():
            vocabulary.save(folder / VOCABULARY / f"{name}.parquet")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the files written by `save`."""
        content = json.loads((folder / INPUTS).read_text(encoding="utf-8"))
        schema = Schema.from_dict(content["schema"])
        names = {field.vocabulary_name for field in schema.id_fields}
        return cls(
            schema,
            {name: Vocabulary.load(folder / VOCABULARY / f"{name}.parquet") for name in names},
            {name: _scale(facts) for name, facts in content["scales"].items()},
            content.get("files", {}),
        )

    @classmethod
    def of(cls, store: Store, files: Mapping[str, Mapping[str, str]]) -> Self:
        """The inputs of a prepared data set; for ``files`` see `training_files`."""
        names = {field.vocabulary_name for field in store.schema.id_fields}
        facts = store.manifest["fields"]
        return cls(
            store.schema,
            {name: store.vocabulary(name) for name in names},
            {field.name: _scale(facts[field.name]) for field in store.schema.number_fields},
            files,
        )


def training_files(config: DictConfig) -> dict[str, dict[str, str]]:
    """For a user-defined data set, `ServedColumn.alias` and `ServedColumn.separator` by raw column, if any.

    So the training files, and later files of the same format, can be scored unchanged.
    """
    found: dict[str, dict[str, str]] = {}
    for field in OmegaConf.select(config, "dataset.reader.description.fields") or []:
        for name, key in ((field.name, "column"), (field.name + WEIGHT_SUFFIX, "weights")):
            attributes = {"alias": field.get(key), "separator": field.get("separator")}
            found[name] = {what: text for what, text in attributes.items() if text is not None}
    return {name: attributes for name, attributes in found.items() if attributes}


def _scale(facts: Mapping[str, list[float]]) -> Scale:
    return Scale(np.array(facts["mean"]), np.array(facts["deviation"]))


def _refuse_lengths(name: str, ids: pa.Array, weights: pa.Array, first_row: int) -> None:
    entries, weighed = bags.lengths(ids), bags.lengths(weights)
    if len(different := np.flatnonzero(entries != weighed)):
        row = int(different[0])
        raise ColumnError(
            f"column '{name}{WEIGHT_SUFFIX}', row {first_row + row} (from 0): {weighed[row]} weights for the "
            f"{entries[row]} entries of '{name}'; allowed: one weight per entry"
        )
