"""Metrics within groups at full size: seconds per task, compared with a loop over the groups.

    python scripts/bench_metrics.py [--rows 10000000] [--groups 1000000] [--rounds 3]
    python scripts/bench_metrics.py --split --rows 43000000 --groups 400000    seconds and memory of a whole split

Random float32 logits, 10 % positives, groups of equal size on average. The loop visits some of the groups, one after
the other, and its time is scaled up to all of them; both give the same numbers there. Sides take turns, and the best of
the rounds counts: wall-clock time, and processor time, which is what the clock would show on an otherwise idle machine
(all of it runs in one thread). With ``--split``, all metrics of two tasks, once, in the types of a store, and the peak
resident memory of the process compared with that of the rows.
"""

import argparse
import contextlib
import time
from collections.abc import Callable

import numpy as np
import psutil
from scipy.special import expit

from mtlbench.experiment.memory import forget_peak, peak_mb
from mtlbench.metrics.binary import auc
from mtlbench.metrics.evaluate import evaluate
from mtlbench.metrics.predictions import UndefinedError, blocks
from mtlbench.metrics.ranking import group_areas, group_numbers, hits_at
from mtlbench.schema import Task

LOOPED = 20_000
"""Groups that the loop visits."""

TOP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--groups", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--split", action="store_true")
    arguments = parser.parse_args()
    if arguments.split:
        measure_split(arguments.rows, arguments.groups)
        return
    random = np.random.default_rng(0)
    logits = random.standard_normal(arguments.rows, dtype=np.float32)
    positive = random.random(arguments.rows) < 0.1
    raw = random.integers(0, arguments.groups, arguments.rows) * 1_000_003  # as users are numbered: with gaps
    group, export = group_numbers(raw), expit(logits)
    some = group < LOOPED
    columns, part = (logits, positive, group), (logits[some], positive[some], group[some])
    assert np.allclose(np.sort(group_areas(*part).area), np.sort(loop(*part)[0]))
    assert hits_at(TOP, *part).sum() == sum(loop(*part)[1])
    sides: dict[str, Callable[[], object]] = {
        "numbers of groups, once for all tasks": lambda: group_numbers(raw),
        "gAUC and uAUC": lambda: group_areas(*columns),
        f"precision at {TOP}, own": lambda: hits_at(TOP, *columns),
        f"precision at {TOP}, export": lambda: hits_at(TOP, export, positive, group),
        "loop": lambda: loop(*part),
    }
    rounds: dict[str, list[np.ndarray]] = {side: [] for side in sides}
    for _ in range(arguments.rounds):
        for side, action in sides.items():
            rounds[side].append(timed(action))
    best = {side: np.min(times, axis=0) for side, times in rounds.items()}
    groups = int(group.max()) + 1
    looped = best.pop("loop") * groups / min(LOOPED, groups)
    best["all of it"] = np.sum(list(best.values()), axis=0)
    best[f"loop: AUC and precision at {TOP}, own"] = looped
    print(
        f"{arguments.rows:,} rows in {groups:,} groups, one task, best of {arguments.rounds} rounds; the loop's time is"
    )
    print(f"scaled up from {min(LOOPED, groups):,} groups\n{'':42}     clock  processor")
    for side, (clock, processor) in best.items():
        print(f"  {side:<40}{clock:8.2f} s {processor:8.2f} s")
    ratio = looped / np.sum(list(best.values())[:3], axis=0)
    print(f"  {'loop / ours, for the same numbers':<40}{ratio[0]:8.1f}   {ratio[1]:8.1f}")


def measure_split(rows: int, groups: int) -> None:
    """Print the time and memory of all metrics of a split of two tasks with 8 % clicks and 0.5 % conversions."""
    random = np.random.default_rng(0)
    logit_NT = random.standard_normal((rows, 2), dtype=np.float32)
    logit_NT *= 1.2
    logit_NT -= (3.0, 6.0)
    label_NT = np.empty((rows, 2), np.int8)
    for part in blocks(rows):
        label_NT[part] = random.random((len(label_NT[part]), 2)) < expit(logit_NT[part])
    group_N = random.integers(0, groups, rows)
    group_N *= 1_000_003
    tasks = (Task(name="click", label="click"), Task(name="buy", label="buy", given="click"))
    before = psutil.Process().memory_info().rss / 2**20
    forget_peak()
    clock, processor = timed(lambda: evaluate(logit_NT, label_NT, None, tasks, group=group_N))
    print(
        f"{rows:,} rows x 2 tasks, {groups:,} groups, all metrics: {clock:.1f} s, {processor:.1f} s of the processor; "
        f"at most {peak_mb():,.0f} MB, of which {before:,.0f} before"
    )


def loop(scores: np.ndarray, positive: np.ndarray, group: np.ndarray) -> tuple[list[float], list[int]]:
    """Areas and hits in the simplest way: group by group."""
    order = np.argsort(group, kind="stable")
    areas, hits = [], []
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        with contextlib.suppress(UndefinedError):
            areas.append(auc(scores[rows], positive[rows]))
        if len(rows) >= TOP and positive[rows].any():
            hits.append(int(positive[rows][np.argsort(-scores[rows], kind="stable")[:TOP]].sum()))
    return areas, hits


def timed(action: Callable[[], object]) -> np.ndarray:
    """Seconds of one call by the clock and of the processor."""
    began = np.array([time.perf_counter(), time.process_time()])
    action()
    return np.array([time.perf_counter(), time.process_time()]) - began


if __name__ == "__main__":
    main()
