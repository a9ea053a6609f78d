"""Sharded embedding tables: memory of a process, bytes that it receives per step, and CPU time.

    python -m scripts.bench_shards             the table in docs/scale.md
    python -m scripts.bench_shards --help

Shared-Bottom on 16 fields of 250,000 ids each, one table of 4 million rows of 16 numbers, with lazy Adam (two more
numbers for each) in fp32; ids are drawn by a power law. All processes run on this machine, one thread each, one side
after the other. Memory is the peak of a process less what it holds before the model is built.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mtlbench.balancing.constant import Equal
from mtlbench.balancing.shared import SharedGradients
from mtlbench.distributed.job import is_first
from mtlbench.distributed.ranks import job_joined
from mtlbench.distributed.sharded import tables_sharded
from mtlbench.distributed.slices import part_of_batch
from mtlbench.experiment.memory import forget_peak, peak_mb
from mtlbench.models.shared_bottom import SharedBottom
from mtlbench.schema import Batch, Field, Schema, Task
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.optimizers import LazyAdam, build_optimizers
from mtlbench.train.settings import Settings
from mtlbench.train.step import Step
from scripts.ranks import measured

SIDES = {
    "one process": (1, False),
    "two, whole": (2, False),
    "four, whole": (4, False),
    "two, sharded": (2, True),
    "four, sharded": (4, True),
}
"""Processes, and whether tables are sharded."""

FIELDS, IDS, WIDTH, TASKS = 16, 250_000, 16, 2
WARM, STEPS = 3, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096, help="rows of all processes together")
    parser.add_argument("--ids", type=int, default=IDS, help="of a field")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        measure(arguments.batch, arguments.ids, sharded=SIDES[arguments.side][1])
        return
    found: dict[str, dict[str, float]] = {}
    for side, (processes, _) in SIDES.items():
        words = ["--side", side, "--batch", str(arguments.batch), "--ids", str(arguments.ids)]
        found[side] = measured("scripts.bench_shards", processes, words)
        print(f"  {side}: {found[side]}", file=sys.stderr)
    names = list(found["one process"])
    print("| tables | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for side, values in found.items():
        print(f"| {side} | " + " | ".join(f"{value:,.0f}" for value in values.values()) + " |")


class Received:
    """Counts the bytes that this process receives from others in collective operations (a lower bound)."""

    def __init__(self) -> None:
        self.bytes = 0.0
        self._count("all_to_all_single", lambda out, x, *splits: out.nbytes * (1 - 1 / dist.get_world_size()))
        self._count("all_gather", lambda out, x: sum(each.nbytes for each in out) - x.nbytes)
        self._count("all_reduce", lambda x, *op: 2 * x.nbytes * (1 - 1 / dist.get_world_size()))

    def _count(self, name: str, received: Callable[..., float]) -> None:
        operation = getattr(dist, name)

        def counted(*arguments: Any) -> Any:
            self.bytes += received(*arguments)
            return operation(*arguments)

        setattr(dist, name, counted)


def measure(rows: int, ids: int, *, sharded: bool) -> None:
    """Train on batches of ``rows`` rows over all processes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    schema = Schema(
        fields=tuple(Field(name=f"f{i}", cardinality=ids) for i in range(FIELDS)),
        tasks=tuple(Task(name=f"t{i}", label=f"t{i}") for i in range(TASKS)),
    )
    offsets = torch.tensor([schema.offsets[field.name] for field in schema.fields])
    generator = torch.Generator().manual_seed(1)
    settings = Settings(
        epochs=1, batch_size=rows, evaluation_batch_size=rows, patience=None, select="auc", precision="fp32",
        compile=False, clip=None, log_steps=100, checkpoint_minutes=10,
    )  # fmt: skip
    none = dict.fromkeys(("weights", "observed", "group", "source", "time"))

    def batch() -> Batch:
        drawn = (torch.rand(rows, FIELDS, generator=generator) ** 4 * ids).long() + offsets
        labels = (torch.rand(rows, TASKS, generator=generator) < 0.3).float()
        own = part_of_batch(0, rows)
        count = own.stop - own.start
        some = drawn[own].int()
        return Batch(ids=some, numbers=torch.zeros(count, 0), labels=labels[own], row=torch.arange(count), **none)

    with job_joined():
        forget_peak()
        before = peak_mb()
        with tables_sharded(sharded):
            model = SharedBottom(schema, embedding_width=WIDTH, bottom_layers=[64], tower_layers=[32])
        step = Step(
            model=model.train(),
            compiled=model,
            optimizers=build_optimizers(model, embedding=LazyAdam, dense=torch.optim.Adam, gate=None, sparse=True),
            objective=Objective(
                losses=TaskLosses(pos_weight=None, given=(None,) * TASKS), balance=Equal(tasks=schema.tasks)
            ),
            shared=SharedGradients(tasks=TASKS, tables=[], dense=[]),
            penalties={},
            settings=settings,
        )
        for _ in range(WARM):
            step(batch(), compare=False)
        batches, received = [batch() for _ in range(STEPS)], Received()
        cpu = time.process_time()
        for each in batches:
            step(each, compare=False)
        cpu = (time.process_time() - cpu) / STEPS
        if is_first():
            distinct: list[Tensor] = [each.ids.unique() for each in batches]
            found = {
                "peak MB of a process": peak_mb() - before,
                "kB received per step": received.bytes / STEPS / 1000,
                "distinct ids of a process": sum(map(len, distinct)) / STEPS,
                "CPU ms per step and process": 1000 * cpu,
            }
            print(json.dumps(found))


if __name__ == "__main__":
    main()
