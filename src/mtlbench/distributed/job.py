"""Rank and size of the job of this process; does not import torch.

Torchrun marks the processes of a job by environment variables (`launched`). A process becomes a rank by joining the job
(`mtlbench.distributed.ranks.job_joined`); before that, and without torchrun, it counts as a single process.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

P = ParamSpec("P")
R = TypeVar("R")


class OtherRankError(OSError):
    """Another rank has failed and prints the reason."""


class LostRankError(OSError):
    """Another rank has died or cannot be reached, without a reason."""


@dataclass
class Job:
    """This process's place in its job.

    Attributes:
        rank: rank of this process.
        ranks: number of ranks.
        store: the key-value store of the job; ``None`` for a single process.
        turns: number of calls of `mtlbench.distributed.ranks.first_goes_ahead`.
        ending: whether the job is about to end with an error.
    """

    rank: int = 0
    ranks: int = 1
    store: Store | None = None
    turns: int = 0
    ending: bool = False


_current = Job()


def current() -> Job:
    """The job that this process has joined."""
    return _current


def enter(job: Job) -> Job:
    """Set the job of this process; returns the previous one."""
    global _current
    before, _current = _current, job
    return before


def rank_count() -> int:
    """Number of ranks of the job."""
    return _current.ranks


def rank() -> int:
    """Rank of this process, from 0."""
    return _current.rank


def alone() -> bool:
    """Whether the job has a single rank."""
    return _current.ranks == 1


def is_first() -> bool:
    """Whether this process is rank 0, the one that writes."""
    return _current.rank == 0


def first_only(write: Callable[P, R]) -> Callable[P, R | None]:
    """Call a function on rank 0 only, for example to write shared files; does nothing on other ranks."""

    @functools.wraps(write)
    def written(*arguments: P.args, **options: P.kwargs) -> R | None:
        return write(*arguments, **options) if is_first() else None

    return written


def part(start: int, stop: int) -> slice:
    """This rank's part of a range: parts are consecutive, and their lengths differ by at most one."""
    count, (number, of) = stop - start, (_current.rank, _current.ranks)
    return slice(start + count * number // of, start + count * (number + 1) // of)


def launched() -> bool:
    """Whether torchrun has started this process as one of several processes."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def launched_rank() -> int:
    """The rank that torchrun assigned to this process; 0 without torchrun."""
    return int(os.environ["RANK"]) if launched() else 0


def launched_place() -> int:
    """The local rank (on this machine) that torchrun assigned to this process; 0 without torchrun."""
    return int(os.environ["LOCAL_RANK"]) if launched() else 0
