"""The rows of a split as tensors, and batches gathered from them by row number.

A batch takes one gather per matrix, without row objects, collation or worker processes. Dimension tables are joined
during the gather, so a user's history is stored once, however many rows refer to it.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from mtlbench.data import matrices
from mtlbench.data.layout import POINTER, ROWS, SIDE_COLUMNS
from mtlbench.schema import PADDING, Batch, Schema


@dataclass(frozen=True, slots=True)
class Chosen:
    """Selected columns of a matrix.

    Attributes:
        columns: int64 ``[K]``, their positions.
        shift: int32 ``[K]``, for ids: offset added to each id other than `PADDING`.
    """

    columns: Tensor
    shift: Tensor | None

    def to(self, device: torch.device | str) -> Self:
        """A copy on another device."""
        return replace(
            self,
            columns=self.columns.to(device),
            shift=None if self.shift is None else self.shift.to(device),
        )

    def of(self, values: Tensor) -> Tensor:
        """The selected columns ``[B, K]`` of a matrix ``[B, S]``."""
        selected = values.index_select(1, self.columns)
        return selected if self.shift is None else torch.where(selected == PADDING, selected, selected + self.shift)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """One split of a store; n rows.

    Attributes:
        schema: schema of the columns.
        columns: by name, if present: ``ids`` int32 ``[n, S of the rows]``, ``numbers`` and ``weights`` float32,
            ``labels`` int8 ``[n, T]`` (float32 with regression tasks, whose labels are standardised), ``observed`` bool
            ``[n, T]``, ``truth`` float32 ``[n, T]`` (true probabilities of simulated labels), ``group``, ``source``,
            ``time`` int64 ``[n]``, ``sample_weight`` float32 ``[n]``.
        tables: by dimension table, its ``ids``, ``numbers``, ``weights``.
        pointers: by dimension table, int32 ``[n]``, the table row of each row.
        chosen: by table and name of a matrix, its columns that are inputs, if not all are; see `mtlbench.data.subset`.
    """

    schema: Schema
    columns: Mapping[str, Tensor]
    tables: Mapping[str, Mapping[str, Tensor]]
    pointers: Mapping[str, Tensor]
    chosen: Mapping[tuple[str, str], Chosen] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.columns["labels"].shape[0]

    @property
    def device(self) -> torch.device:
        return self.columns["labels"].device

    @property
    def nbytes(self) -> int:
        """Size of all columns and tables in bytes, to decide whether they fit on a device."""
        groups = (self.columns, self.pointers, *self.tables.values())
        return sum(tensor.nbytes for group in groups for tensor in group.values())

    def to(self, device: torch.device | str) -> Self:
        """The whole split and its tables on another device, where gathers then take place."""

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device) for name, tensor in tensors.items()}

        return replace(
            self,
            columns=moved(self.columns),
            pointers=moved(self.pointers),
            tables={name: moved(table) for name, table in self.tables.items()},
            chosen={place: choice.to(device) for place, choice in self.chosen.items()},
        )

    def first(self, count: int) -> Self:
        """The first rows of the split, at most the given number."""

        def cut(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[:count] for name, tensor in tensors.items()}

        return replace(self, columns=cut(self.columns), pointers=cut(self.pointers))

    def copied(self, ranges: Sequence[slice]) -> Self:
        """A copy of ranges of rows, concatenated in memory; each matrix of each range is read contiguously."""

        def read(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: torch.cat([tensor[each] for each in ranges]) for name, tensor in tensors.items()}

        return replace(self, columns=read(self.columns), pointers=read(self.pointers))

    def gather(self, index: Tensor) -> Batch:
        """The rows with the given numbers.

        Args:
            index: int64 ``[B]``, row numbers within the split, on the device of the rows.
        """
        columns, pointers = self.columns, {name: pointer[index] for name, pointer in self.pointers.items()}

        def block(name: str) -> Tensor | None:
            parts = [self._inputs(ROWS, name, columns[name].index_select(0, index))] if name in columns else []
            parts += [
                self._inputs(table, name, self.tables[table][name].index_select(0, pointers[table]))
                for table in self.schema.tables
                if name in self.tables[table]
            ]
            return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)) if parts else None

        ids, numbers = block("ids"), block("numbers")
        return Batch(
            ids=ids if ids is not None else index.new_zeros(len(index), 0, dtype=torch.int32),
            numbers=numbers if numbers is not None else index.new_zeros(len(index), 0, dtype=torch.float32),
            weights=block("weights"),
            labels=columns["labels"].index_select(0, index).float(),
            observed=columns["observed"].index_select(0, index) if "observed" in columns else None,
            row=index,
            sample_weight=columns["sample_weight"].index_select(0, index) if "sample_weight" in columns else None,
            **{name: columns[name].index_select(0, index) if name in columns else None for name in SIDE_COLUMNS},
        )

    def _inputs(self, table: str, name: str, values: Tensor) -> Tensor:
        """The input columns of a gathered matrix."""
        choice = self.chosen.get((table, name))
        return values if choice is None else choice.of(values)


def read_rows(schema: Schema, rows: Path, tables: Mapping[str, Path]) -> Rows:
    """Memory-map the files of a split; data are read when rows are gathered.

    Args:
        schema: schema of the store.
        rows: file of the split's rows.
        tables: files of dimension tables, by name.
    """
    columns = _tensors(rows)
    if "observed" in columns:  # bytes in the file, since Arrow would pack bits
        columns["observed"] = columns["observed"].view(torch.bool)
    pointers = {table: columns.pop(POINTER + table) for table in schema.tables}
    return Rows(
        schema=schema,
        columns=columns,
        pointers=pointers,
        tables={table: _tensors(tables[table]) for table in schema.tables},
    )


def order(rows: int, seed: int, epoch: int, window: int | None = None) -> Tensor:
    """A permutation of ``range(rows)``, int64, determined by the arguments, so that a run can resume anywhere."""
    place = (seed, epoch) if window is None else (seed, epoch, 1 + window)  # a trailing 0 would have no effect
    state = np.random.SeedSequence(place).generate_state(2)
    generator = torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))
    return torch.randperm(rows, generator=generator)


def _tensors(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        # Torch has no read-only tensors for a mapped file; gathers only read them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return {name: torch.from_numpy(matrix) for name, matrix in matrices.read(path).items()}
