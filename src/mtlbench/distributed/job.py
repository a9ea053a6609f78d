"""Which of the processes of a job this is, and what follows from it; imported without torch.

Torchrun says in the environment of a process that it belongs to a job (`launched`). It is a rank of the job once it has
joined it (`mtlbench.distributed.ranks.job_joined`); until then, and outside of a job, it is the only one.
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
    """Another rank has failed, and says why."""


class LostRankError(OSError):
    """Another rank has died or cannot be reached, and gave no reason."""


@dataclass
class Job:
    """This process among those of its job.

    Attributes:
        rank: number of this process.
        ranks: how many there are.
        store: the key-value store of the job; ``None`` for one process.
        turns: how often rank 0 went ahead, see `mtlbench.distributed.ranks.first_goes_ahead`.
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
    """Take part in a job from now on; returns the one before."""
    global _current
    before, _current = _current, job
    return before


def rank_count() -> int:
    """How many processes train together."""
    return _current.ranks


def rank() -> int:
    """Number of this process among them, from 0."""
    return _current.rank


def alone() -> bool:
    """Whether this process trains by itself."""
    return _current.ranks == 1


def is_first() -> bool:
    """Whether this process is rank 0, the one that writes."""
    return _current.rank == 0


def first_only(write: Callable[P, R]) -> Callable[P, R | None]:
    """Decorator of functions that write what all ranks share: rank 0 calls them, the others do nothing."""

    @functools.wraps(write)
    def written(*arguments: P.args, **options: P.kwargs) -> R | None:
        return write(*arguments, **options) if is_first() else None

    return written


def part(start: int, stop: int) -> slice:
    """This rank's part of a range: parts follow one another, and their lengths differ by one at most."""
    count, (number, of) = stop - start, (_current.rank, _current.ranks)
    return slice(start + count * number // of, start + count * (number + 1) // of)


def launched() -> bool:
    """Whether torchrun has started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def launched_rank() -> int:
    """The number that torchrun gave this process; 0 where it did not start it."""
    return int(os.environ["RANK"]) if launched() else 0


def launched_place() -> int:
    """The number of this process among those of its machine; 0 where torchrun did not start it."""
    return int(os.environ["LOCAL_RANK"]) if launched() else 0
