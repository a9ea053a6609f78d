"""Embedding tables stored in bfloat16: half the memory; the rows of a batch are looked up, and trained, in float32."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mtlbench.distributed.sharded import at_hand

LOW_BITS = 16
"""Bits of float32 that bfloat16 lacks, all of them of the significand: a bfloat16 is the upper half of a float32."""


def store_in_bf16(table: nn.Parameter) -> None:
    """Store a table in bfloat16, rounded to nearest. Its block must look ids up with `lookup_table`."""
    table.data = table.data.bfloat16()
    table.grad_dtype = torch.float32  # autograd would round gradients to the type of the table


def lookup_table(ids: Tensor, table: Tensor, held: range, *, sparse: bool) -> tuple[Tensor, Tensor, bool]:
    """A table to look ids up in: the given one or, if that is in bfloat16, its distinct rows in float32.

    Args:
        ids: of any shape.
        table: rows that this process holds.
        held: which they are, see `mtlbench.distributed.sharded`.
        sparse: whether the gradient of `table` is to be sparse; that of a table in bfloat16 always is.

    Returns:
        As `at_hand`: numbers of rows, of the shape of `ids`; the table of these; whether its gradient is to be sparse.
    """
    if table.dtype != torch.bfloat16:
        return at_hand(ids, table, held, sparse=sparse)
    distinct_U, places = torch.cat([ids.new_zeros(1), ids.flatten()]).unique(return_inverse=True)
    return places[1:].view_as(ids).to(ids.dtype), _Rows.apply(table, distinct_U), False


class _Rows(Function):
    """Distinct rows of a table in float32, ``[U, D]``, with a sparse gradient in float32; the first one is padding."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, distinct_U: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(distinct_U)
        ctx.shape = table.shape
        return table.index_select(0, distinct_U).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_UD: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (distinct_U,) = ctx.saved_tensors
        rows_1U, values_UD = distinct_U[None, 1:].long(), gradient_UD[1:]  # padding is never trained
        return torch.sparse_coo_tensor(rows_1U, values_UD, ctx.shape, is_coalesced=True, check_invariants=False), None


def stochastically_rounded(x: Tensor) -> Tensor:
    """Stochastic rounding of float32 to bfloat16: to one of the two neighbours, so that the expected value is exact.

    Sixteen random bits are added to the lower half of the bit pattern, which is then cut off. Values that bfloat16 can
    represent, infinity among them, stay as they are; NaN stays NaN. Above the largest number of bfloat16 (3.39e38) the
    upper neighbour is infinity. The bits come from torch's generator, whose state every checkpoint of a run holds.

    Paper: Gupta et al., Deep Learning with Limited Numerical Precision, ICML 2015; for bfloat16, Zamirai et al.,
    Revisiting BFloat16 Training, 2020: rounding to nearest cancels small updates.
    """
    bits = x.contiguous().view(torch.int32)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)  # four times 16 bits each
    words.random_(-(2**63), None)
    noise = words.view(torch.int16)[: x.numel()].view(x.shape).int().bitwise_and_((1 << LOW_BITS) - 1)
    cut = noise.add_(bits).bitwise_and_(-1 << LOW_BITS).view(torch.float32)
    return torch.where(x.isnan(), x, cut).bfloat16()
