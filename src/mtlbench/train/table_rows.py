"""Rows of sharded tables in saved state: of a model's tables, and of all that optimizers keep for each row.

In memory, `TableRows` stands where a tensor of a whole table would. In a checkpoint `MARK` does, and each rank writes
its rows into a file of its own, by where they belong.
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
"""Only key of a dict that stands for rows in other files; its value is the number of rows of the whole table."""

Change = Callable[[Any, str], Any]
"""What becomes of a value that is neither dict nor list, from the value and where it stands."""

NOT_BY_ROW = "missed"
"""Key of optimizer state that has no rows of a table: `mtlbench.train.deferred_adam.MissedSteps`."""


@dataclass(frozen=True, kw_only=True)
class TableRows:
    """Something with a row for each row of a table, in parts: part k of n has the rows k, k + n, ...

    Attributes:
        rows: how many the table has.
        of: n.
        parts: by k: this rank's own, or all.
    """

    rows: int
    of: int
    parts: Mapping[int, Tensor]

    def part(self, number: int, of: int) -> Tensor:
        """One of so many parts, not copied where there is such a one."""
        return self.parts[number] if of == self.of else self.copied(range(number, self.rows, of))

    def copied(self, held: range) -> Tensor:
        """Some rows, out of all parts."""
        id_H = torch.arange(held.start, held.stop, held.step)
        found = self.parts[0].new_empty(len(held), *self.parts[0].shape[1:])
        for number, part in self.parts.items():
            here_H = id_H % self.of == number
            found[here_H] = part[id_H[here_H] // self.of]
        return found


def model_state(model: nn.Module) -> dict[str, Any]:
    """State of a model, with `TableRows` for the tables of which this rank holds a shard."""
    return _spread(model.state_dict(), _held_by_name(model))


def optimizer_state(optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """State of an optimizer, with `TableRows` for what it keeps for each row of such tables."""
    packed = optimizer.state_dict()
    return packed | {"state": _spread(packed["state"], _held_by_number(optimizer, model))}


def held_model_state(state: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """What a model loads of a state that was saved on any number of ranks, with whole or sharded tables."""
    return _held(state, _held_by_name(model))


def held_optimizer_state(state: dict[str, Any], optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """What an optimizer loads of such a state."""
    return state | {"state": _held(state["state"], _held_by_number(optimizer, model))}


def separated(content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of a checkpoint without its `TableRows`, and this rank's rows of each, by where they belong."""
    own: dict[str, Tensor] = {}

    def taken_out(x: Any, where: str) -> Any:
        if not isinstance(x, TableRows):
            return x
        own[where] = x.part(rank(), rank_count())
        return {MARK: x.rows}

    changed = _changed(content, taken_out)
    return (changed if own else content), own


def reassembled(content: dict[str, Any], parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """The content of a checkpoint that was `separated` on as many ranks as there are parts."""

    def put_in(x: Any, where: str) -> Any:
        if not (isinstance(x, dict) and MARK in x):
            return x
        return TableRows(rows=x[MARK], of=len(parts), parts={k: part[where] for k, part in enumerate(parts)})

    return _changed(content, put_in)


def _held_by_name(model: nn.Module) -> dict[Any, range]:
    """Rows that this rank holds of sharded tables, by name of the parameter."""
    shards = shards_of(model)
    return {name: shards[parameter] for name, parameter in model.named_parameters() if parameter in shards}


def _held_by_number(optimizer: Optimizer, model: nn.Module) -> dict[Any, range]:
    """The same by number of the parameter in the optimizer's state."""
    shards = shards_of(model)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {number: shards[parameter] for number, parameter in enumerate(parameters) if parameter in shards}


def _spread(state: dict[Any, Any], held: Mapping[Any, range]) -> dict[Any, Any]:
    """A state by parameter with `TableRows` for what has as many rows as the shard of the parameter."""

    def spread(rows: range) -> Change:
        parts = TableRows(rows=rows.stop, of=rows.step, parts={})
        return lambda x, _: replace(parts, parts={rows.start: x}) if _has_rows(x, len(rows)) else x

    changed = {key: _changed(state[key], spread(rows)) for key, rows in held.items() if key in state}
    return state | changed if changed else state


def _held(state: dict[Any, Any], held: Mapping[Any, range]) -> dict[Any, Any]:
    """A state by parameter without `TableRows`, and with the rows alone that this rank holds."""

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
    """A copy of nested dicts and lists with each leaf replaced; `change` gets the leaf and its path, ``a/b/0``."""
    if isinstance(node, dict) and MARK not in node:
        return {key: x if key == NOT_BY_ROW else _changed(x, change, f"{where}/{key}") for key, x in node.items()}
    if isinstance(node, list):
        return [_changed(x, change, f"{where}/{at}") for at, x in enumerate(node)]
    return change(node, where)
