"""Scaling of training over processes: one, and two with the same batch (strong) and with twice the batch (weak).

    python -m scripts.bench_ranks             the table in docs/scale.md
    python -m scripts.bench_ranks --help

Workload W1 of `scripts/bench_train.py`, lazy Adam, fp32, one thread per process. Sides take turns, in processes of
their own, and medians count. CPU time is that of one process: on a machine that others use too it says more than time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from scripts.bench_train import EXPERT_LAYERS, EXPERTS, TASKS, TOWER_LAYERS, VOCABULARIES, WIDTH, columns

SIDES = {"one process": (1, 1), "two, the same batch": (2, 1), "two, twice the batch": (2, 2)}
"""Processes, and batches of one process that they share."""

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
            runs.append(run(side, arguments.batch, arguments.steps))
            print(f"  {side}: {runs[-1]}", file=sys.stderr)
    names = list(found["one process"][0])
    print("| side | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for side, runs in found.items():
        medians = (statistics.median(run[name] for run in runs) for name in names)
        print(f"| {side} | " + " | ".join(f"{median:,.1f}" for median in medians) + " |")


def run(side: str, batch: int, steps: int) -> dict[str, float]:
    processes = SIDES[side][0]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    words = ["--side", side, "--batch", str(batch), "--steps", str(steps)]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "scripts.bench_ranks", *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(rows: int, steps: int) -> None:
    """Train on batches of so many rows, on all processes together."""
    from mtlbench.balancing.constant import Equal
    from mtlbench.balancing.shared import SharedGradients
    from mtlbench.distributed.job import is_first, rank_count
    from mtlbench.distributed.ranks import job_joined
    from mtlbench.distributed.slices import part_of_batch
    from mtlbench.models.mmoe import MMoE
    from mtlbench.schema import Batch, Field, Schema, Task
    from mtlbench.train.objective import Objective, TaskLosses
    from mtlbench.train.optimizers import LazyAdam, build_optimizers
    from mtlbench.train.settings import Settings
    from mtlbench.train.step import Step

    torch.set_num_threads(1)
    torch.manual_seed(0)
    schema = Schema(
        fields=tuple(Field(name=f"f{i}", cardinality=size) for i, size in enumerate(VOCABULARIES)),
        tasks=tuple(Task(name=f"t{i}", label=f"t{i}") for i in range(TASKS)),
    )
    model = MMoE(schema, embedding_width=WIDTH, experts=EXPERTS, expert_layers=EXPERT_LAYERS, tower_layers=TOWER_LAYERS)
    optimizers = build_optimizers(model, embedding=LazyAdam, dense=torch.optim.Adam, gate=None, sparse=True)
    settings = Settings(
        epochs=1, batch_size=rows, evaluation_batch_size=rows, patience=None, select="auc", precision="fp32",
        compile=False, clip=None, log_steps=100, checkpoint_minutes=10,
    )  # fmt: skip
    step = Step(
        model=model.train(),
        compiled=model,
        optimizers=optimizers,
        objective=Objective(
            losses=TaskLosses(pos_weight=None, given=(None,) * TASKS), balance=Equal(tasks=schema.tasks)
        ),
        shared=SharedGradients(tasks=TASKS, tables=[], dense=[]),
        penalties={},
        settings=settings,
    )
    ids, labels = (torch.from_numpy(column) for column in columns(rows * (steps + WARM)))
    ids = (ids + torch.from_numpy(np.array([schema.offsets[field.name] for field in schema.fields]))).int()
    none = dict.fromkeys(("weights", "observed", "group", "source", "time"))

    def train(first: int, last: int) -> int:
        """Some steps; the distinct ids of the last one."""
        for number in range(first, last):
            own = part_of_batch(number * rows, (number + 1) * rows)
            some, count = ids[own], own.stop - own.start
            batch = Batch(ids=some, numbers=torch.zeros(count, 0), labels=labels[own], row=torch.arange(count), **none)
            step(batch, compare=False)
        return len(ids[part_of_batch((last - 1) * rows, last * rows)].unique())

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
