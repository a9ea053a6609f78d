"""Slices of batches, and of rows to be scored, by rank."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtlbench.distributed.job import alone, part, rank_count
from mtlbench.distributed.ranks import collective, gather_objects
from mtlbench.distributed.sharded import shards_of

_batch = 0
"""Number of rows of the current training batch, over all ranks."""


def part_of_batch(start: int, stop: int) -> slice:
    """This rank's part of the rows of the next training batch; sets the batch for which dropout draws noise."""
    global _batch  # noqa: PLW0603  layers do not receive the size of the whole batch
    _batch = stop - start
    return part(start, stop)


def rows_of_batch() -> int:
    """Number of rows of the current training batch, over all ranks."""
    return _batch


def check_batches(bounds: list[tuple[int, int]]) -> None:
    """Check that every batch has at least one row per rank.

    Raises:
        ValueError: a batch has fewer rows, such as the last one of an epoch.
    """
    least = min(stop - start for start, stop in (bounds[0], bounds[-1]))
    if least < rank_count():
        raise ValueError(
            f"a batch of this run has {least} {'row' if least == 1 else 'rows'}, fewer than the {rank_count()} "
            f"processes that share it: an epoch of {bounds[-1][1]:,} rows is {len(bounds):,} batches. Choose another "
            "trainer.batch_size, or start fewer processes"
        )


def rows_over_ranks(parts: list[Tensor]) -> Tensor:
    """Concatenate rows over ranks (see `part`), on the CPU of every rank.

    Args:
        parts: tensors of this rank's rows, in order; may be empty.
    """
    if alone():
        return torch.cat(parts).cpu()
    return torch.cat([each for each in gather_objects(torch.cat(parts).cpu() if parts else None) if each is not None])


def copy_from_first(model: nn.Module) -> None:
    """Broadcast the weights and buffers of rank 0 to all ranks, except sharded tables."""
    if not alone():
        shards = shards_of(model)
        for tensor in (*(each for each in model.parameters() if each not in shards), *model.buffers()):
            collective(dist.broadcast, tensor.detach(), src=0)
