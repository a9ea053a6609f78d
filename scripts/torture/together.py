"""Four processes started at once: on the same work, or on neighbouring runs that share a store and a database."""

from collections.abc import Iterator
from dataclasses import dataclass

from scripts.torture.command import start
from scripts.torture.judge import LostError, Outcome, Seen, attempt, clean, line, same
from scripts.torture.kills import named
from scripts.torture.place import Job, Place, jobs, numbers, points

AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Start:
    """Jobs for all processes, and whether one of them may find another at its work."""

    fault: str
    words: tuple[tuple[str, ...], ...]
    job: Job
    alone: bool


def starts(place: Place) -> list[Start]:
    """The kinds of simultaneous starts, the first of which must all succeed."""
    every = {name: named(job, place) for name, job in jobs().items()}
    raw = every["train from raw"]
    seeds = Job(name="seeds", words=raw.words, snapshot="raw", view=lambda case: len(numbers(case)))
    apart = tuple((*raw.words, f"seed={seed}") for seed in range(AT_ONCE))
    same_work = [
        Start(fault=f"{AT_ONCE} x the same `{job.name}` at once", words=(job.words,) * AT_ONCE, job=job, alone=True)
        for name, job in every.items()
        if name != "train"
    ]
    neighbours = f"{AT_ONCE} seeds of `train` at once, store and database missing"
    return [Start(fault=neighbours, words=apart, job=seeds, alone=False), *same_work]


def inject(place: Place, times: int, seed: int) -> Iterator[Outcome]:
    """`times` starts of four processes; every second one has a run, a store and a database for each to make first."""
    kinds = starts(place)
    for number in range(times):
        kind = kinds[0] if number % 2 == 0 else kinds[1 + (number // 2 + seed) % (len(kinds) - 1)]
        yield attempt(kind.fault, f"start {number}", _case, place, kind)


def _case(place: Place, kind: Start) -> Seen:
    undisturbed = place.undisturbed(kind.job) if kind.alone else None
    seconds = 60 + 20 * (undisturbed.seconds if undisturbed else 20)
    case = place.restore(kind.job.snapshot)
    started = [start(case, words) for words in kind.words]
    ran = [clean(one.wait(seconds), codes=(0, 1, 2) if kind.alone else (0,)) for one in started]
    if all(one.code for one in ran):
        raise LostError(f"none of {len(ran)} succeeded: {line(ran[0])}")
    if undisturbed:
        same(kind.job.view(case), undisturbed.view, kind.job.name)
    else:
        same(kind.job.view(case), AT_ONCE, "runs")
        same([run["status"] for run in points(case)["mlflow"]], ["FINISHED"] * AT_ONCE, "MLflow")
    busy = [one for one in ran if one.code]
    return Seen(line=f"{len(ran) - len(busy)} of {len(ran)} done" + (f"; others: {line(busy[0])}" if busy else ""))
