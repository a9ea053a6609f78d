"""Scaling of training over processes: one, and two with the same batch (strong) and with twice the batch (weak).

    python -m scripts.bench_ranks             the table in docs/scale.md
    python -m scripts.bench_ranks --help

Workload W1 (`scripts/w1.py`), lazy Adam, fp32, one thread per process. Sides take turns, in separate processes,
and medians count. CPU time is that of one process: on a shared machine it says more than wall-clock time.
"""

import argparse
import json
import statistics
import sys
import time

import torch

from scripts.ranks import measured

SIDES = {"one process": (1, 1), "two, the same batch": (2, 1), "two, twice the batch": (2, 2)}
"""Number of processes, and size of their common batch relative to that of one process."""

WARM = 3
"""Steps before the clock starts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        measure(arguments.batch * SIDES[arguments.side][1], arguments.steps)
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(arguments.rounds):
        for side, runs in found.items():
            words = ["--side", side, "--batch", str(arguments.batch), "--steps", str(arguments.steps)]
            runs.append(measured("scripts.bench_ranks", SIDES[side][0], words))
            print(f"  {side}: {runs[-1]}", file=sys.stderr)
    names = list(found["one process"][0])
    print("| side | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for side, runs in found.items():
        medians = (statistics.median(run[name] for run in runs) for name in names)
        print(f"| {side} | " + " | ".join(f"{median:,.1f}" for median in medians) + " |")


def measure(rows: int, steps: int) -> None:
    """Train on batches of ``rows`` rows over all processes."""
    from mtlbench.distributed.job import is_first, rank_count
    from mtlbench.distributed.ranks import job_joined
    from mtlbench.distributed.slices import part_of_batch
    from mtlbench.schema import Batch
    from scripts.w1 import Workload, random_rows, step_of

    torch.set_num_threads(1)
    workload = Workload(batch=rows)
    step, data = step_of(workload), random_rows(workload, rows * (steps + WARM))

    def batch(number: int) -> Batch:
        own = part_of_batch(number * rows, (number + 1) * rows)
        return data.gather(torch.arange(own.start, own.stop))

    def train(first: int, last: int) -> int:
        """Take some steps; return the number of distinct ids of the last one."""
        for number in range(first, last):
            step(batch(number))
        return len(batch(last - 1).ids.unique())

    with job_joined():
        train(0, WARM)  # the first steps allocate
        wall, cpu = time.perf_counter(), time.process_time()
        distinct = train(WARM, WARM + steps)
        wall, cpu = (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps
        if is_first():
            found = {
                "rows/s": rows / wall,
                "ms per step": 1000 * wall,
                "CPU ms per step and process": 1000 * cpu,
                "rows per CPU second": rows / cpu / rank_count(),
                "distinct ids of a process": distinct,
            }
            print(json.dumps(found))


if __name__ == "__main__":
    main()
