"""Sharded embedding tables: rank ``i mod R`` holds row i, and a batch's distinct ids are looked up by all-to-all.

A block says in its attribute `held` which rows its table has. Where that is all of them, `at_hand` does nothing. Where
they are a shard, each rank asks the others for the rows that its part of the batch reads, and its gradients go back to
them; an owner sums what it receives by rank. Whatever has a row per row of the table (the gradient, the optimizer's
state) is held with it, so that nothing travels but rows that a batch reads.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mtlbench.distributed.job import rank, rank_count
from mtlbench.distributed.ranks import collective

PIECE = 1 << 16
"""Rows of a table that are drawn at once; a multiple of 16, the numbers that torch draws together."""

_sharding = False
"""Whether tables that are made now are sharded."""


@contextmanager
def tables_sharded(sharded: bool) -> Generator[None]:
    """Models that are built inside have sharded tables, if asked for; nothing for one process."""
    global _sharding  # noqa: PLW0603  as of `torch.device`: models do not know where they are built
    before, _sharding = _sharding, sharded
    try:
        yield
    finally:
        _sharding = before


def held_rows(rows: int) -> range:
    """The rows of a new table that this rank holds: all, or a shard, whose step is the number of ranks."""
    return range(rank(), rows, rank_count()) if _sharding else range(rows)


def is_shard(held: range) -> bool:
    """Whether other ranks hold rows of the same table."""
    return held.step > 1


def shards_of(model: nn.Module) -> dict[nn.Parameter, range]:
    """Tables of a model of which this rank holds a shard, and its rows."""
    blocks = [block for block in model.modules() if is_shard(getattr(block, "held", range(0)))]
    return {block.embedding: block.held for block in blocks}  # pyright: ignore[reportReturnType]


def drawn(held: range, width: int, draw: Callable[[Tensor], Any]) -> Tensor:
    """Held rows of a table of random numbers, the same as those of a whole table.

    All rows are drawn, one piece after the other, and what this rank does not hold is dropped.

    Args:
        held: rows.
        width: of a row.
        draw: fills a tensor with independent numbers of torch's generator, in order.
    """
    if not is_shard(held):
        draw(table := torch.empty(len(held), width))
        return table
    table, rows = torch.empty(len(held), width), held.stop
    starts = range(0, max(1, rows // PIECE) * PIECE, PIECE)  # the last piece is the longest: torch draws its end anew
    for start in starts:
        draw(piece := torch.empty((rows if start == starts[-1] else start + PIECE) - start, width))
        own = piece[(held.start - start) % held.step :: held.step]
        first = len(range(held.start, start, held.step))
        table[first : first + len(own)] = own
    return table


def at_hand(ids: Tensor, table: Tensor, held: range, *, sparse: bool) -> tuple[Tensor, Tensor, bool]:
    """A table in which to look up some ids, by other numbers if it is sharded; every rank has to ask at once.

    Row 0, padding, is 0 there and gets no gradient.

    Args:
        ids: of any shape.
        table: rows that this rank holds.
        held: which they are.
        sparse: whether the gradient of `table` is to be sparse.

    Returns:
        What `torch.nn.functional.embedding` takes: numbers of rows, of the shape of `ids`; the table of these; whether
        *its* gradient is to be sparse, which that of a few rows is not.
    """
    if not is_shard(held):
        return ids, table, sparse
    distinct_U, places = torch.cat([ids.new_zeros(1), ids.flatten()]).unique(return_inverse=True)
    return places[1:].view_as(ids).to(ids.dtype), _Rows.apply(table, distinct_U[1:], sparse), False


def rows_asked_for(ids: Tensor, held: range) -> Tensor:
    """The distinct rows of this rank's shard that any rank reads, in order, from the ids that this one reads."""
    return _Exchange(ids.unique(), held.step).asked.unique()


class _Exchange:
    """An all-to-all between ranks that read rows and ranks that hold them.

    Attributes:
        order: int64 ``[U]``, ids by owner.
        asked: int64 ``[A]``, rows of this rank's shard that ranks ask for, by rank.
    """

    def __init__(self, ids_U: Tensor, ranks: int) -> None:
        owner_U = ids_U % ranks
        self.order = owner_U.argsort(stable=True)
        wanted = owner_U.bincount(minlength=ranks).cpu()
        counts = torch.empty_like(wanted)
        collective(dist.all_to_all_single, counts, wanted)
        self._wanted, self._counts = wanted.tolist(), counts.tolist()
        self.asked = self._moved((ids_U // ranks)[self.order], self._wanted, self._counts).long()

    def answers(self, rows_AD: Tensor) -> Tensor:
        """Rows that this rank gave to others -> ``[U, D]``, rows that it received, in `order`."""
        return self._moved(rows_AD, self._counts, self._wanted)

    def returned(self, gradient_UD: Tensor) -> Tensor:
        """Gradients of rows that this rank received, in `order` -> ``[A, D]``, of rows that it gave."""
        return self._moved(gradient_UD, self._wanted, self._counts)

    def _moved(self, x: Tensor, sent: list[int], received: list[int]) -> Tensor:
        found = x.new_empty(sum(received), *x.shape[1:])
        collective(dist.all_to_all_single, found, x.contiguous(), received, sent)
        return found


class _Rows(Function):
    """Rows of a sharded table for distinct ids, behind a row of zeros: ``[U + 1, D]``."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids_U: Tensor, sparse: bool) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.exchange = exchange = _Exchange(ids_U, rank_count())
        ctx.shape, ctx.sparse = table.shape, sparse
        rows = table.new_zeros(len(ids_U) + 1, *table.shape[1:])
        rows[1 + exchange.order] = exchange.answers(table.index_select(0, exchange.asked))
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        exchange: _Exchange = ctx.exchange
        values = exchange.returned(gradient.index_select(0, 1 + exchange.order))
        summed = torch.sparse_coo_tensor(exchange.asked[None], values, ctx.shape).coalesce()
        return summed if ctx.sparse else summed.to_dense(), None, None
