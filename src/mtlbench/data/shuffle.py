"""Order of the training rows in an epoch: a global shuffle, or shuffled blocks with a shuffle buffer.

A global shuffle reads rows by random access. This is free if the store is in the page cache; otherwise each row costs a
read of several pages. A shuffle buffer reads whole blocks, but is less random: rows of a block are trained close to
each other.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
from torch import Tensor

from mtlbench.data.loader import Rows, order
from mtlbench.schema import Batch

BLOCK = 4096
"""Default number of rows per block: some 100 kB of each matrix."""


def shuffled(
    rows: Rows, seed: int, epoch: int, *, buffer: int | None = None, block: int | None = None
) -> Callable[[slice], Batch]:
    """The rows of an epoch in random order, as a function from positions in the epoch to a batch.

    Args:
        rows: rows of the training split.
        seed: seed of the run.
        epoch: the epoch, from 0.
        buffer: size of the shuffle buffer in rows, see `ShuffleBuffer`; ``None`` for a global shuffle.
        block: rows per block; ``None`` for `BLOCK`, or the buffer if that is smaller.
    """
    if buffer is not None:
        return ShuffleBuffer(rows, seed, epoch, buffer=buffer, block=block or min(BLOCK, buffer))
    permutation = order(len(rows), seed, epoch).to(rows.device)
    return lambda positions: rows.gather(permutation[positions])


@dataclass(frozen=True, slots=True)
class _Window:
    """A window of rows in memory: their numbers within the split, and their order."""

    number: int
    rows: Rows
    numbers: Tensor
    order: Tensor


class ShuffleBuffer:
    """Shuffle buffer: reads random blocks of rows into memory, a buffer at a time, and shuffles the rows there.

    An epoch is a sequence of windows of ``buffer // block`` random blocks each. A window is read when its first row is
    requested, each matrix of each block contiguously, and replaces the previous one. The order depends only on seed and
    epoch, so that an epoch can be resumed at any position.

    Args:
        rows: n rows, on any device, which also holds the buffer.
        seed: seed of the run.
        epoch: the epoch, from 0.
        buffer: number of rows in memory, at least one block.
        block: number of consecutive rows that are read together; the last block of the split may be shorter.
    """

    def __init__(self, rows: Rows, seed: int, epoch: int, *, buffer: int, block: int) -> None:
        self._rows, self._seed, self._epoch = rows, seed, epoch
        starts = order(-(-len(rows) // block), seed, epoch) * block
        stops = (starts + block).clamp(max=len(rows))
        self._blocks = [*zip(starts.tolist(), stops.tolist(), strict=True)]
        self._blocks_of_window = max(1, buffer // block)
        ends = (stops - starts).cumsum(0)[self._blocks_of_window - 1 :: self._blocks_of_window].tolist()
        self._bounds = [0, *ends] if ends and ends[-1] == len(rows) else [0, *ends, len(rows)]
        self._held: _Window | None = None

    def __call__(self, positions: slice) -> Batch:
        """The batch at the given positions of the epoch; ``row`` has the row numbers within the split."""
        cuts = self._bounds[bisect_right(self._bounds, positions.start) : bisect_left(self._bounds, positions.stop)]
        return _joined([self._within(*part) for part in pairwise([positions.start, *cuts, positions.stop])])

    def _within(self, start: int, stop: int) -> Batch:
        """The rows at positions within a single window."""
        number = bisect_right(self._bounds, start) - 1
        held = self._held if self._held is not None and self._held.number == number else self._read(number)
        index = held.order[start - self._bounds[number] : stop - self._bounds[number]]
        return replace(held.rows.gather(index), row=held.numbers[index])

    def _read(self, window: int) -> _Window:
        self._held = None  # freed before reading the next, so that only one is in memory
        first = window * self._blocks_of_window
        blocks = self._blocks[first : first + self._blocks_of_window]
        numbers = torch.cat([torch.arange(*bounds) for bounds in blocks]).to(self._rows.device)
        mixed = order(len(numbers), self._seed, self._epoch, window).to(self._rows.device)
        self._held = _Window(window, self._rows.copied([slice(*bounds) for bounds in blocks]), numbers, mixed)
        return self._held


def _joined(batches: list[Batch]) -> Batch:
    first, *others = batches
    if not others:
        return first
    present = [field.name for field in fields(Batch) if getattr(first, field.name) is not None]
    return replace(first, **{name: torch.cat([getattr(batch, name) for batch in batches]) for name in present})
