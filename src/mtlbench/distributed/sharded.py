"""Sharded embedding tables: rank ``i mod R`` holds row i, and a batch's distinct ids are looked up by all-to-all.

The attribute `held` of a block is the range of rows in its table. If that is all rows, `at_hand` does nothing. If it is
a shard, each rank requests the rows that its part of the batch reads from the other ranks, and sends the gradients
back; the owner sums the gradients that it receives in the order of ranks. State per row of the table (gradient,
optimizer state) is stored with the row, so that only the rows read by a batch are transferred.
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
"""Number of rows of a table that are drawn at once; a multiple of 16, the block size of torch's generator."""

_sharding = False
"""Whether newly created tables are sharded."""


@contextmanager
def tables_sharded(sharded: bool) -> Generator[None]:
    """Context manager: models built inside have sharded tables if `sharded`; does nothing for a single process."""
    global _sharding  # noqa: PLW0603  global, like the context of `torch.device`: models do not take it as an argument
    before, _sharding = _sharding, sharded
    try:
        yield
    finally:
        _sharding = before


def held_rows(rows: int) -> range:
    """The rows of a new table that this rank holds: all, or every R-th row, with R ranks."""
    return range(rank(), rows, rank_count()) if _sharding else range(rows)


def is_shard(held: range) -> bool:
    """Whether other ranks hold rows of the same table."""
    return held.step > 1


def shards_of(model: nn.Module) -> dict[nn.Parameter, range]:
    """The sharded tables of a model, with the rows that this rank holds."""
    blocks = [block for block in model.modules() if is_shard(getattr(block, "held", range(0)))]
    return {block.embedding: block.held for block in blocks}  # pyright: ignore[reportReturnType]


def drawn(held: range, width: int, draw: Callable[[Tensor], Any]) -> Tensor:
    """Random initial values of the held rows, equal to those rows of a whole table.

    All rows are drawn in blocks, and the rows that this rank does not hold are dropped.

    Args:
        held: the rows that this rank holds.
        width: width of a row.
        draw: fills a tensor with independent random numbers from torch's generator, in order.
    """
    if not is_shard(held):
        draw(table := torch.empty(len(held), width))
        return table
    table, rows = torch.empty(len(held), width), held.stop
    starts = range(
        0, max(1, rows // PIECE) * PIECE, PIECE
    )  # the last block is the longest, since torch draws the end of a block differently
    for start in starts:
        draw(piece := torch.empty((rows if start == starts[-1] else start + PIECE) - start, width))
        own_rows = piece[(held.start - start) % held.step :: held.step]
        first = len(range(held.start, start, held.step))
        table[first : first + len(own_rows)] = own_rows
    return table


def at_hand(ids: Tensor, table: Tensor, held: range, *, sparse: bool) -> tuple[Tensor, Tensor, bool]:
    """A local table for looking up ids: the table itself or, if it is sharded, the rows fetched from all ranks.

    If the table is sharded, all ranks must call this at the same time. Row 0, padding, is 0 and gets no gradient.

    Args:
        ids: ids, of any shape.
        table: the rows that this rank holds.
        held: numbers of these rows.
        sparse: whether the gradient of `table` is sparse.

    Returns:
        Arguments of `torch.nn.functional.embedding`: row numbers, of the shape of `ids`; the local table; whether the
        local table's gradient is sparse (not for fetched rows).
    """
    if not is_shard(held):
        return ids, table, sparse
    distinct_U, places = torch.cat([ids.new_zeros(1), ids.flatten()]).unique(return_inverse=True)
    return places[1:].view_as(ids).to(ids.dtype), _Rows.apply(table, distinct_U[1:], sparse), False


def rows_asked_for(ids: Tensor, held: range) -> Tensor:
    """The distinct rows of this rank's shard that any rank reads, sorted, given the ids that this rank reads."""
    return _Exchange(ids.unique(), held.step).asked.unique()


class _Exchange:
    """An all-to-all exchange between ranks that read rows and ranks that hold them.

    Attributes:
        order: int64 ``[U]``, permutation that sorts ids by owner.
        asked: int64 ``[A]``, rows of this rank's shard that other ranks requested, by rank.
    """

    def __init__(self, ids_U: Tensor, ranks: int) -> None:
        owner_U = ids_U % ranks
        self.order = owner_U.argsort(stable=True)
        requested = owner_U.bincount(minlength=ranks).cpu()
        counts = torch.empty_like(requested)
        collective(dist.all_to_all_single, counts, requested)
        self._wanted, self._counts = requested.tolist(), counts.tolist()
        self.asked = self._moved((ids_U // ranks)[self.order], self._wanted, self._counts).long()

    def answers(self, rows_AD: Tensor) -> Tensor:
        """Send requested rows ``[A, D]`` -> ``[U, D]``, the rows received, in `order`."""
        return self._moved(rows_AD, self._counts, self._wanted)

    def returned(self, gradient_UD: Tensor) -> Tensor:
        """Send gradients of received rows, in `order` -> ``[A, D]``, gradients of the rows that this rank sent."""
        return self._moved(gradient_UD, self._wanted, self._counts)

    def _moved(self, x: Tensor, sent: list[int], received: list[int]) -> Tensor:
        found = x.new_empty(sum(received), *x.shape[1:])
        collective(dist.all_to_all_single, found, x.contiguous(), received, sent)
        return found


class _Rows(Function):
    """Rows of a sharded table for distinct ids, after a row of zeros: ``[U + 1, D]``."""

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
