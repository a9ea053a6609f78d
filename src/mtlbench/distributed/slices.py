"""Slices of a batch, and of the rows to be scored, by rank."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtlbench.distributed.job import alone, part, rank_count
from mtlbench.distributed.ranks import collective, gather_objects
from mtlbench.distributed.sharded import shards_of

_batch = 0
"""Rows of the batch in training, on all ranks together."""


def part_of_batch(start: int, stop: int) -> slice:
    """This rank's part of the rows of the next batch in training, for which dropout draws its noise."""
    global _batch  # noqa: PLW0603  a layer is not told which part of a batch it sees
    _batch = stop - start
    return part(start, stop)


def rows_of_batch() -> int:
    """How many rows the batch in training has on all ranks together."""
    return _batch


def check_batches(bounds: list[tuple[int, int]]) -> None:
    """Refuse batches with fewer rows than there are ranks.

    Raises:
        ValueError: there is one, the last one of an epoch perhaps.
    """
    least = min(stop - start for start, stop in (bounds[0], bounds[-1]))
    if least < rank_count():
        raise ValueError(
            f"a batch of this run has {least} {'row' if least == 1 else 'rows'}, fewer than the {rank_count()} "
            f"processes that share it: an epoch of {bounds[-1][1]:,} rows is {len(bounds):,} batches. Choose another "
            "trainer.batch_size, or start fewer processes"
        )


def rows_over_ranks(parts: list[Tensor]) -> Tensor:
    """Rows that lie on several ranks one behind the other (see `part`), on the CPU of every rank.

    Args:
        parts: of this rank, in order; none, one or several.
    """
    if alone():
        return torch.cat(parts).cpu()
    return torch.cat([each for each in gather_objects(torch.cat(parts).cpu() if parts else None) if each is not None])


def copy_from_first(model: nn.Module) -> None:
    """Give a model the weights and buffers that rank 0 has, but for sharded tables, of which each rank has its rows."""
    if not alone():
        shards = shards_of(model)
        for tensor in (*(each for each in model.parameters() if each not in shards), *model.buffers()):
            collective(dist.broadcast, tensor.detach(), src=0)
