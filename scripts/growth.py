"""How time and memory of a training step grow: with ids, batch, experts, tasks, width, rows and cores.

    python -m scripts.growth results/growth.csv              measures points that the file lacks, one by one
    python -m scripts.growth results/growth.csv --draw docs  the figure and the table of docs/performance.md

A point is workload W1 (`scripts/w1.py`) with one size changed, in a separate process: median CPU time of a step, which
on a shared machine says more than wall-clock time, and the process's peak memory. For rows, the loader is measured:
drawing the order of an epoch, and gathering a batch. For cores, wall-clock time is measured, so the machine must be
otherwise idle.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

LINES: dict[str, list[dict[str, Any]]] = {
    "ids, lazy Adam": [{"ids": 10**n} for n in (4, 5, 6)] + [{"ids": m * 10**6} for m in (3, 10, 26)],
    "ids, exact Adam": [{"ids": m * 10**6, "optimizer": "adam"} for m in (1, 3, 10, 26)],
    "batch": [{"batch": 2**n} for n in range(7, 15)],
    "experts": [{"experts": 2**n} for n in range(6)],
    "tasks": [{"tasks": 2**n} for n in range(5)],
    "width": [{"width": 2**n} for n in range(2, 8)],
    "rows": [{"rows": m * 10**5} for m in (1, 10, 100, 400)],
    "cores": [{"cores": 1}, {"cores": 2}],
}
"""What grows, and the sizes that differ from W1."""

WARM, STEPS = 3, 15
ROUNDS = 3
HEADS = ("line", "size", "round", "ms", "peak_mb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--lines", nargs="*", default=[*LINES], choices=[*LINES], metavar="LINE")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="draw what the file has")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(measured(**json.loads(arguments.point))))
    elif arguments.draw:
        draw(read(arguments.file), arguments.draw)
    else:
        measure(arguments.file, arguments.lines)


def measure(file: Path, lines: list[str]) -> None:
    """Add the points that a file lacks, round by round."""
    done = {(point["line"], point["size"], point["round"]) for point in read(file)} if file.exists() else set()
    if not done:
        file.write_text(",".join(HEADS) + "\n", encoding="utf-8")
    for number in range(ROUNDS):
        for line in lines:
            for sizes in LINES[line]:
                size = next(iter(sizes.values()))
                if (line, size, number) in done:
                    continue
                threads = str(sizes.get("cores", 1))
                found = subprocess.run(
                    [sys.executable, "-m", "scripts.growth", "--point", json.dumps(sizes)],
                    check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": threads},
                )  # fmt: skip
                ms, peak = json.loads(found.stdout.splitlines()[-1])
                with file.open("a", encoding="utf-8", newline="") as out:
                    csv.writer(out, lineterminator="\n").writerow([line, size, number, f"{ms:.3f}", f"{peak:.0f}"])
                print(f"{line} {size:,}: {ms:.1f} ms, {peak:,.0f} MB", flush=True)


def measured(*, rows: int | None = None, cores: int | None = None, **sizes: Any) -> tuple[float, float]:
    """Milliseconds of a step (of the loader, where rows are given) and the peak of this process in MB."""
    import torch

    from scripts.w1 import Workload, random_rows, step_of

    torch.set_num_threads(cores or 1)
    workload = Workload(**sizes)
    clock = time.perf_counter if cores else time.process_time
    data = random_rows(workload, rows or workload.batch * (WARM + STEPS))
    if rows:
        found = loading(data, workload.batch, clock)
    else:
        step = step_of(workload)
        batches = [data.gather(at) for at in torch.arange(len(data)).split(workload.batch)]
        times = [seconds(lambda batch=batch: step(batch), clock) for batch in batches]
        found = statistics.median(times[WARM:])
    return 1000 * found, getrusage(RUSAGE_SELF).ru_maxrss / 1024


def loading(data: Any, batch: int, clock: Callable[[], float]) -> float:
    """Seconds for the loader to give a batch, including its share of drawing the order of an epoch."""
    from mtlbench.data.shuffle import shuffled

    began = clock()
    batches = shuffled(data, 0, 0)
    ordering = (clock() - began) * batch / len(data)
    places = [slice(start, start + batch) for start in range(0, min(len(data), 200 * batch) - batch, batch)]
    return ordering + statistics.median(seconds(lambda place=place: batches(place), clock) for place in places)


def seconds(action: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    action()
    return clock() - began


def read(file: Path) -> list[dict[str, Any]]:
    """The points of a file."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            {"line": row["line"], "size": int(row["size"]), "round": int(row["round"])}
            | {name: float(row[name]) for name in ("ms", "peak_mb")}
            for row in csv.DictReader(lines)
        ]


def draw(points: list[dict[str, Any]], folder: Path) -> None:
    """Write the figure, and print the medians as a table."""
    import matplotlib.pyplot as plt

    lines: dict[str, dict[int, tuple[float, float]]] = {}
    for line in dict.fromkeys(point["line"] for point in points):
        sizes = sorted({point["size"] for point in points if point["line"] == line})
        lines[line] = {
            size: tuple(
                statistics.median(point[name] for point in points if (point["line"], point["size"]) == (line, size))
                for name in ("ms", "peak_mb")
            )
            for size in sizes
        }
    drawn = ("ids", "batch", "experts", "tasks", "width", "rows")
    figure, grid = plt.subplots(2, len(drawn), figsize=(9, 4), sharex="col", sharey="row", layout="constrained")
    for (time_axes, memory_axes), what in zip(grid.T, drawn, strict=True):
        for line, style in zip([line for line in lines if line.split(",")[0] == what], ("o-", "s--"), strict=False):
            sizes, found = [*lines[line]], [*lines[line].values()]
            time_axes.plot(sizes, [ms for ms, _ in found], style, ms=3, label=line.partition(", ")[2])
            memory_axes.plot(sizes, [peak for _, peak in found], style, ms=3)
        time_axes.set(xscale="log", yscale="log", title="rows (loader)" if what == "rows" else what)
        memory_axes.set(yscale="log")
        for axes in (time_axes, memory_axes):
            axes.grid(alpha=0.3)
    grid[0, 0].set_ylabel("CPU ms per step")
    grid[1, 0].set_ylabel("peak MB")
    grid[0, 0].legend(fontsize="x-small")
    figure.savefig(folder / "growth.svg", metadata={"Date": None})
    plt.close(figure)
    print("| line | size | ms | peak MB |\n|---|---:|---:|---:|")
    for line, sizes in lines.items():
        for size, (ms, peak) in sizes.items():
            print(f"| {line} | {size:,} | {ms:,.2f} | {peak:,.0f} |")


if __name__ == "__main__":
    main()
