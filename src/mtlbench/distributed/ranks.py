"""Joining and leaving a job, collective operations, agreement between ranks, and failure of a rank.

A failed job ends with a single message. The first rank that raises an error writes it to the job's store and prints it;
its connections close, so the other ranks, which wait for it in a collective operation, raise `OtherRankError` with that
reason and print nothing. A killed rank writes nothing; the ranks that wait for it raise `LostRankError`.
"""

import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from mtlbench.distributed.job import Job, LostRankError, OtherRankError, alone, current, enter, is_first, launched

R = TypeVar("R")

TIMEOUT = timedelta(minutes=30)
"""Time after which a rank that hangs counts as lost; one that dies is noticed at once."""

LINGER = 10.0
"""Seconds that a failed rank waits for the others before it exits, upon which torchrun terminates them."""

PATIENCE = 5.0
"""Seconds to wait for the reason of a lost rank."""

FAILURE, LEFT = "mtlbench/failure", "mtlbench/left"
"""Keys of the store: the first failed rank with its reason, and the number of ranks that have ended."""


@contextmanager
def job_joined() -> Generator[None]:
    """Join the job of torchrun, and leave it together; does nothing without torchrun, or if already joined.

    Raises:
        OtherRankError: another rank has failed and prints the reason.
        LostRankError: another rank cannot be reached.
    """
    if not alone() or not launched():
        yield
        return
    with _terminated_late():
        try:
            join(*next(rendezvous("env://", timeout=TIMEOUT)))
            yield
            wait()
        except BaseException as error:
            current().ending = True
            reported = _told(error)
            if reported is error:
                raise
            raise reported from error
        finally:
            leave()


def join(store: Store, number: int, count: int) -> None:
    """Become a rank of a job."""
    store.set(f"mtlbench/process/{number}", f"{platform.node()}\n{os.getpid()}")
    enter(Job(rank=number, ranks=count, store=store))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    options: dict[str, Any] = {"store": store, "rank": number, "world_size": count, "timeout": TIMEOUT}
    collective(dist.init_process_group, backend, **options)


def leave() -> None:
    """Leave the job. After an error, the other ranks get some seconds to notice it and to exit by themselves."""
    job = enter(Job())
    if job.store is None:
        return
    if dist.is_initialized():
        with suppress(RuntimeError):
            dist.destroy_process_group()
    with suppress(RuntimeError):
        job.store.add(LEFT, 1)
        until = time.monotonic() + (LINGER if job.ending else 0)
        while time.monotonic() < until and job.store.add(LEFT, 0) + len(_dead(job)) < job.ranks:
            time.sleep(0.05)


def collective(operation: Callable[..., R], *arguments: Any, **options: Any) -> R:
    """Call a collective operation.

    Raises:
        OtherRankError, LostRankError: a rank has failed or is lost.
    """
    try:
        return operation(*arguments, **options)
    except RuntimeError as error:
        current().ending = True
        raise _missing(current(), error) from error


def wait() -> None:
    """Barrier: wait until all ranks have called this."""
    if not alone():
        collective(dist.barrier)


def gather_objects(value: R) -> list[R]:
    """The values of all ranks, in order of ranks; values must be picklable."""
    if alone():
        return [value]
    found: list[Any] = [None] * current().ranks
    collective(dist.all_gather_object, found, value)
    return found


def any_rank(flag: bool) -> bool:
    """Whether a flag is set on any rank."""
    if alone():
        return flag
    flags = torch.tensor(int(flag))
    collective(dist.all_reduce, flags, dist.ReduceOp.MAX)
    return bool(flags)


def on_first(compute: Callable[[], R]) -> R:
    """Broadcast a value that rank 0 computes."""
    if alone():
        return compute()
    value: list[Any] = [compute() if is_first() else None]
    collective(dist.broadcast_object_list, value, src=0)
    return value[0]


@contextmanager
def first_goes_ahead() -> Generator[None]:
    """Context manager: rank 0 executes the block before the other ranks, which wait without a time limit.

    Raises:
        OtherRankError: rank 0 failed in the block.
    """
    job = current()
    store, key = job.store, f"mtlbench/turn/{job.turns}"
    job.turns += 1
    while store is not None and not is_first() and not store.check([key]):
        if store.check([FAILURE]):
            job.ending = True
            raise OtherRankError(_reason(store))
        time.sleep(0.05)
    yield
    if store is not None and is_first():
        store.set(key, "")


def agree(facts: Mapping[str, Any], remedy: str) -> None:
    """Check that facts are the same on all ranks.

    Args:
        facts: facts of this rank, by name.
        remedy: what to do if they differ, for the message.

    Raises:
        ValueError: they differ; the message has the first differing fact and its values.
    """
    everyone = gather_objects(dict(facts))
    for name in {key: None for each in everyone for key in each}:
        values = [each.get(name) for each in everyone]
        for other, value in enumerate(values):
            if value != values[0]:
                raise ValueError(
                    f"the {len(values)} processes of this job differ in {name}: rank 0 has {values[0]!r}, rank {other} "
                    f"has {value!r}. {remedy}"
                )


def _told(error: BaseException) -> BaseException:
    """The error, if this rank is the first to fail; otherwise an `OtherRankError`."""
    job = current()
    if isinstance(error, OtherRankError) or job.store is None:
        return error
    mine = f"{job.rank}\n{str(error) or type(error).__name__}"
    with suppress(RuntimeError):
        if job.store.compare_set(FAILURE, "", mine).decode() != mine:
            return OtherRankError(_reason(job.store))
    return error


def _reason(store: Store) -> str:
    number, _, text = store.get(FAILURE).decode().partition("\n")
    return f"rank {number}: {text}"


def _missing(job: Job, error: RuntimeError) -> OSError:
    """The error for a failed collective operation: which rank is missing, and why."""
    assert job.store is not None, "a collective operation outside a job"
    began, who = time.monotonic(), f"a rank on another machine does not answer ({str(error).splitlines()[0]})"
    with suppress(RuntimeError):
        while time.monotonic() < began + PATIENCE:
            if job.store.check([FAILURE]):
                return OtherRankError(_reason(job.store))
            dead = _dead(job)
            if dead and time.monotonic() > began + PATIENCE / 5:
                ranks = " and ".join(f"rank {number} (process {process})" for number, process in dead.items())
                who = f"{ranks} ended without a reason: killed, or out of memory"
                break
            time.sleep(0.05)
    return LostRankError(f"{who}. The same command resumes from the last checkpoint, with any number of processes")


def _dead(job: Job) -> dict[int, int]:
    """Ranks on this machine whose process no longer exists, with the process id."""
    assert job.store is not None
    found: dict[int, int] = {}
    for number in range(job.ranks):
        if job.store.check([key := f"mtlbench/process/{number}"]):
            host, process = job.store.get(key).decode().split("\n")
            if host == platform.node() and not _lives(int(process)):
                found[number] = int(process)
    return found


def _lives(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _terminated_late() -> Generator[None]:
    """Ignore SIGTERM, which torchrun sends once a rank has died, so that a failing rank can still print its reason."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        if not current().ending:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
