"""Saved state of sharded tables: the rows of a model's tables, and the optimizer state of each row.

In memory, `TableRows` takes the place of the tensor of a whole table. In a checkpoint, `MARK` takes its place, and each
rank writes its rows to a separate file, by their path in the state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtlbench.distributed.job import rank, rank_count
from mtlbench.distributed.sharded import shards_of

MARK = "rows of a sharded table"
"""The only key of a dict that represents rows in other files; its value is the number of rows of the whole table."""

Change = Callable[[Any, str], Any]
"""Maps a leaf (neither dict nor list) and its path to a new value."""

NOT_BY_ROW = "missed"
"""Key of optimizer state that is not per row: `mtlbench.train.deferred_adam.MissedSteps`."""


@dataclass(frozen=True, kw_only=True)
class TableRows:
    """A tensor with one row per row of a table, split into n parts: part k has the rows k, k + n, ...

    Attributes:
        rows: number of rows of the table.
        of: number of parts n.
        parts: the parts by k: this rank's own, or all.
    """

    rows: int
    of: int
    parts: Mapping[int, Tensor]

    def part(self, number: int, of: int) -> Tensor:
        """Part k of `of`, not copied if it exists."""
        return self.parts[number] if of == self.of else self.copied(range(number, self.rows, of))

    def copied(self, held: range) -> Tensor:
        """The given rows, gathered from all parts."""
        id_H = torch.arange(held.start, held.stop, held.step)
        found = self.parts[0].new_empty(len(held), *self.parts[0].shape[1:])
        for number, part in self.parts.items():
            here_H = id_H % self.of == number
            found[here_H] = part[id_H[here_H] // self.of]
        return found


def model_state(model: nn.Module) -> dict[str, Any]:
    """State of a model, with `TableRows` for sharded tables."""
    return _spread(model.state_dict(), _held_by_name(model))


def optimizer_state(optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """State of an optimizer, with `TableRows` for the state per row of sharded tables."""
    packed = optimizer.state_dict()
    return packed | {"state": _spread(packed["state"], _held_by_number(optimizer, model))}


def held_model_state(state: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """The state for a model on this rank, from one saved on any number of ranks, with whole or sharded tables."""
    return _held(state, _held_by_name(model))


def held_optimizer_state(state: dict[str, Any], optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """The state for an optimizer on this rank, from one saved on any number of ranks."""
    return state | {"state": _held(state["state"], _held_by_number(optimizer, model))}


def separated(content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of a checkpoint without its `TableRows`, and this rank's rows of each, by path."""
    own: dict[str, Tensor] = {}

    def taken_out(x: Any, where: str) -> Any:
        if not isinstance(x, TableRows):
            return x
        own[where] = x.part(rank(), rank_count())
        return {MARK: x.rows}

    changed = _changed(content, taken_out)
    return (changed if own else content), own


def reassembled(content: dict[str, Any], parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """The content of a checkpoint, recombined with the parts that `separated` split off on each rank."""

    def put_in(x: Any, where: str) -> Any:
        if not (isinstance(x, dict) and MARK in x):
            return x
        return TableRows(rows=x[MARK], of=len(parts), parts={k: part[where] for k, part in enumerate(parts)})

    return _changed(content, put_in)


def _held_by_name(model: nn.Module) -> dict[Any, range]:
    """This rank's rows of sharded tables, by name of the parameter."""
    shards = shards_of(model)
    return {name: shards[parameter] for name, parameter in model.named_parameters() if parameter in shards}


def _held_by_number(optimizer: Optimizer, model: nn.Module) -> dict[Any, range]:
    """This rank's rows of sharded tables, by index of the parameter in the optimizer's state."""
    shards = shards_of(model)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {number: shards[parameter] for number, parameter in enumerate(parameters) if parameter in shards}


def _spread(state: dict[Any, Any], held: Mapping[Any, range]) -> dict[Any, Any]:
    """A state by parameter, with `TableRows` for tensors that have as many rows as the parameter's shard."""

    def spread(rows: range) -> Change:
        parts = TableRows(rows=rows.stop, of=rows.step, parts={})
        return lambda x, _: replace(parts, parts={rows.start: x}) if _has_rows(x, len(rows)) else x

    changed = {key: _changed(state[key], spread(rows)) for key, rows in held.items() if key in state}
    return state | changed if changed else state


def _held(state: dict[Any, Any], held: Mapping[Any, range]) -> dict[Any, Any]:
    """A state by parameter, with `TableRows` replaced by the rows of this rank."""

    def taken(rows: range | None) -> Change:
        def take(x: Any, _: str) -> Any:
            if isinstance(x, TableRows):
                return x.copied(range(x.rows) if rows is None else rows)
            return x[rows.start :: rows.step].clone() if rows is not None and _has_rows(x, rows.stop) else x

        return take

    return {key: _changed(x, taken(held.get(key))) for key, x in state.items()}


def _has_rows(x: Any, count: int) -> bool:
    return isinstance(x, Tensor) and x.dim() > 0 and len(x) == count


def _changed(node: Any, change: Change, where: str = "") -> Any:
    """A copy of nested dicts and lists with each leaf replaced by `change(leaf, path)`; a path is ``a/b/0``."""
    if isinstance(node, dict) and MARK not in node:
        return {key: x if key == NOT_BY_ROW else _changed(x, change, f"{where}/{key}") for key, x in node.items()}
    if isinstance(node, list):
        return [_changed(x, change, f"{where}/{at}") for at, x in enumerate(node)]
    return change(node, where)
