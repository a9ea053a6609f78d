"""Many runs in one process: memory, file descriptors and threads stay flat."""

import gc
import json
from collections.abc import Iterator

import psutil

from scripts.torture.command import start
from scripts.torture.judge import LostError, Outcome, Seen, attempt
from scripts.torture.place import DATA, SMALL, Place

WARM = 5
"""Runs after which caches are full."""

GROWTH = 24.0
"""MB that the resident memory may differ by afterwards; one run of a tiny model is far below, its store's rows not."""


def inject(place: Place, times: int, seed: int) -> Iterator[Outcome]:
    """`times` runs of different seeds, each sent to MLflow."""
    yield attempt(f"{times} runs in one process", f"seeds from {seed}", _case, place, times, seed)


def _case(place: Place, times: int, seed: int) -> Seen:
    case = place.restore("prepared")
    journal = place.root / "soak.measured.jsonl"
    journal.unlink(missing_ok=True)
    words = ("train", "model=mmoe", *DATA, *SMALL, "trainer.epochs=1", "trainer.batch_size=128")

    def runs(_: list[str]) -> int:
        from mtlbench.cli import main

        for number in range(times):
            if code := main([*words, f"seed={seed + number}"]):
                return code
            gc.collect()
            with journal.open("a") as file:
                file.write(json.dumps(measured()) + "\n")
        return 0

    ran = start(case, words, main=runs).wait(60 * times)
    if ran.code:
        raise LostError(f"exit status {ran.code}: {ran.err[-300:]}")
    lines = [json.loads(text) for text in journal.read_text().splitlines()]
    first, last = lines[min(WARM, times - 1)], lines[-1]
    growth = last["memory"] - first["memory"]
    for kind in ("descriptors", "threads"):
        if last[kind] > first[kind]:
            raise LostError(f"{kind} grow from {first[kind]} after run {WARM + 1} to {last[kind]} after run {times}")
    if growth > GROWTH:
        raise LostError(f"memory grows by {growth:.0f} MB between runs {WARM + 1} and {times}")
    line = f"memory {first['memory']:.0f} MB after run {WARM + 1}, {last['memory']:.0f} MB after run {times}; "
    return Seen(line=f"{line}descriptors {last['descriptors']}, threads {last['threads']}", injected=times)


def measured() -> dict[str, float]:
    """Resident memory in MB, open file descriptors and threads of this process."""
    process = psutil.Process()
    return {
        "memory": process.memory_info().rss / 1e6,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
    }
