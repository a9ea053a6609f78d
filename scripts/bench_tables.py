"""Embedding tables in bfloat16 and float32: CPU time of a training step of W1, and peak memory per million ids.

    python -m scripts.bench_tables --ids 1283090

Steps of both sides take turns in one process, on the same batches, so that other load on the machine affects both; the
ratio is that of each pair. Memory is measured in a process per side, as the slope between two vocabulary sizes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace

import torch

from scripts.w1 import STANDARD_IDS, Workload, random_rows, step_of

SIDES = ("fp32", "bf16")
WARM = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=int, default=STANDARD_IDS)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--memory", type=int, nargs=2, default=(10_000_000, 26_000_000), metavar="IDS")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    times(Workload(ids=arguments.ids, width=arguments.width), arguments.steps)
    for side in SIDES:
        fewer, more = (peak(ids, arguments.width, side) for ids in arguments.memory)
        slope = (more - fewer) / (arguments.memory[1] - arguments.memory[0]) * 1e6
        print(f"{side}: {more:,.0f} MB at {arguments.memory[1]:,} ids, {slope:.0f} MB per million ids")


def times(workload: Workload, steps: int) -> None:
    """Print the median CPU time of a step by side, and the ratio."""
    data = random_rows(workload, workload.batch * (WARM + steps))
    sides = {side: step_of(replace(workload, table_precision=side)) for side in SIDES}
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    for number, at in enumerate(torch.arange(len(data)).split(workload.batch)):
        batch = data.gather(at)
        for side in SIDES if number % 2 else SIDES[::-1]:
            began = time.process_time()
            sides[side](batch)
            found[side].append(1000 * (time.process_time() - began))
    ratios = [half / full for full, half in zip(*(found[side][WARM:] for side in SIDES), strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    for side in SIDES:
        print(f"{side}: {statistics.median(found[side][WARM:]):.1f} ms of CPU per step")
    print(f"bf16 over fp32, paired: {middle:.3f} ({low:.3f} to {high:.3f})")


def peak(ids: int, width: int, side: str) -> float:
    """Peak memory in MB (10^6 bytes) of a process that takes some steps."""
    point = json.dumps({"ids": ids, "width": width, "table_precision": side})
    command = [sys.executable, "-m", "scripts.growth", "--point", point]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(found.splitlines()[-1])[1] * 2**20 / 1e6


if __name__ == "__main__":
    main()
