"""Reduction of gradients over ranks: dense ones are all-reduced, the rows of sparse ones are gathered and summed.

Rows are summed in the order of ranks, so that all ranks get the same bits and their copies of the model stay equal.
Gradients of sharded tables are already on the rank of their rows (`mtlbench.distributed.sharded`) and are not changed.
"""

from collections.abc import Collection, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from mtlbench.distributed.job import alone, rank_count
from mtlbench.distributed.ranks import collective

NONE, DENSE = -2, -1
"""Codes of the kinds of gradients; a sparse gradient has the number of its rows, 0 or more."""


def gradients_over_ranks(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor | None], shards: Collection[Tensor] = ()
) -> list[Tensor | None]:
    """Gradients summed over ranks; ``None`` if no rank has one.

    Args:
        parameters: parameters, in the order of `gradients`.
        gradients: gradients from this rank's rows.
        shards: the parameters that are shards of sharded tables.

    Returns:
        The sums; sparse ones are coalesced, and no dense copy of a table is made.
    """
    if alone():
        return [*gradients]
    reduced = [g.coalesce() if g is not None and g.is_sparse else g for g in gradients]
    stays = [parameter in shards for parameter in parameters]
    summed = [gradient if here else None for gradient, here in zip(reduced, stays, strict=True)]
    reduced = [None if here else gradient for gradient, here in zip(reduced, stays, strict=True)]
    kinds = _gathered(torch.tensor([NONE if g is None else g._nnz() if g.is_sparse else DENSE for g in reduced]))
    kind_P = torch.stack(kinds).amax(dim=0).tolist()
    dense: dict[torch.dtype, list[int]] = {}
    for at, (parameter, gradient, kind) in enumerate(zip(parameters, reduced, kind_P, strict=True)):
        if kind == DENSE:
            dense.setdefault(parameter.dtype, []).append(at)
        elif kind != NONE:
            summed[at] = _rows_over_ranks(parameter, gradient, [max(int(each[at]), 0) for each in kinds])
    for places in dense.values():
        parts = [parameters[at].new_zeros(parameters[at].shape) if (g := reduced[at]) is None else g for at in places]
        bucket = torch.cat([part.flatten() for part in parts])
        collective(dist.all_reduce, bucket)
        for at, part, total in zip(places, parts, bucket.split([part.numel() for part in parts]), strict=True):
            summed[at] = total.view(part.shape)
    return summed


def rows_of_all_ranks(rows_U: Tensor) -> Tensor:
    """The distinct rows of a table that any rank reads, sorted, given those that this rank reads."""
    if alone():
        return rows_U
    counts = [int(count) for count in _gathered(torch.tensor([len(rows_U)]))]
    return torch.cat(_padded(rows_U, counts)).unique()


def _rows_over_ranks(parameter: Tensor, gradient: Tensor | None, counts: Sequence[int]) -> Tensor:
    if gradient is None:
        rows, values = parameter.new_zeros(0, dtype=torch.int64), parameter.new_zeros(0, *parameter.shape[1:])
    else:
        rows, values = gradient.indices()[0], gradient.values()
    every_row, every_value = torch.cat(_padded(rows, counts)), torch.cat(_padded(values, counts))
    return torch.sparse_coo_tensor(every_row[None], every_value, parameter.shape).coalesce()


def _padded(x: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """Gather the tensors of all ranks, given their numbers of rows; they are padded to the longest for transfer."""
    if not max(counts):
        return [x]
    longest = x.new_zeros(max(counts), *x.shape[1:])
    longest[: len(x)] = x
    return [each[:count] for each, count in zip(_gathered(longest), counts, strict=True)]


def _gathered(x: Tensor) -> list[Tensor]:
    found = [torch.empty_like(x) for _ in range(rank_count())]
    collective(dist.all_gather, found, x)
    return found
