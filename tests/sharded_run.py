"""A small run in float64 that several processes, or one, begin and go on with; with whole or sharded tables."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from mtlbench.balancing.constant import Equal
from mtlbench.data.loader import Rows
from mtlbench.distributed.job import alone
from mtlbench.distributed.layers import see_whole_batches
from mtlbench.distributed.ranks import wait
from mtlbench.distributed.sharded import shards_of, tables_sharded
from mtlbench.models.mmoe import MMoE
from mtlbench.tracking.journal import Journal
from mtlbench.train.interrupt import Interrupted
from mtlbench.train.loop import fit
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.optimizers import LazyAdam, OptimizerFactory, build_optimizers
from mtlbench.train.progress import Progress, RunContext
from mtlbench.train.selection import load_best
from mtlbench.train.settings import Settings
from mtlbench.train.table_rows import model_state
from rank_pair import whole
from synthetic import plain_schema, random_batch

SCHEMA = plain_schema()
SETTINGS = Settings(
    epochs=3, batch_size=16, evaluation_batch_size=31, patience=None, select="auc", precision="fp32", compile=False,
    clip=0.5, log_steps=2, checkpoint_minutes=60, checkpoint="task",
)  # fmt: skip
"""Each task keeps weights of its own, and 67 rows to evaluate are three batches."""

EMBEDDING: dict[str, tuple[OptimizerFactory, bool, int | None]] = {
    "lazy_adam": (partial(LazyAdam, lr=0.05), True, None),
    "adagrad": (partial(torch.optim.Adagrad, lr=0.05), True, None),
    "adam": (partial(torch.optim.Adam, lr=0.05), False, None),
    "deferred_adam": (partial(torch.optim.Adam, lr=0.05), False, 1),
    "momentum": (partial(torch.optim.SGD, lr=0.05, momentum=0.9), False, None),
}
"""Optimizers of tables: what makes them, whether gradients are sparse, rows from which on steps are deferred."""


@dataclass(frozen=True)
class Ended:
    """What is left of a run: its progress, the last weights and the kept ones of both tasks."""

    best: dict[str, float]
    last: dict[str, Tensor]
    kept: dict[str, Tensor]

    def difference(self, other: "Ended") -> float:
        assert self.best == other.best
        pairs = [(self.last, other.last), (self.kept, other.kept)]
        assert all(a.keys() == b.keys() for a, b in pairs)
        return max(float((x - b[name]).abs().max()) for a, b in pairs for name, x in a.items())


def rows(count: int, seed: int) -> Rows:
    batch = random_batch(SCHEMA, count, seed)
    assert batch.labels is not None
    return Rows(
        schema=SCHEMA, columns={"ids": batch.ids, "labels": batch.labels.to(torch.int8)}, tables={}, pointers={}
    )


def carried_on(folder: Path, embedding: str, sharded: bool, evaluations: int | None = None) -> Ended | None:
    """Begin or go on with the run in a folder.

    Returns:
        ``None`` if it was interrupted after so many evaluations.
    """
    torch.manual_seed(7)
    with tables_sharded(sharded):
        model = MMoE(SCHEMA, embedding_width=3, experts=2, expert_layers=[5], tower_layers=[], dropout=0.3)
    model = see_whole_batches(model.double())
    assert bool(shards_of(model)) == (sharded and not alone())
    factory, sparse, deferred_rows = EMBEDDING[embedding]
    dense = partial(torch.optim.Adam, lr=0.05)
    optimizers = build_optimizers(
        model, embedding=factory, dense=dense, gate=None, sparse=sparse, deferred_rows=deferred_rows
    )
    folder.mkdir(exist_ok=True)
    journal = Journal(folder)
    context = RunContext(identity="toy", folder=folder, journal=journal, device=torch.device("cpu"), seed=5)
    losses = TaskLosses(pos_weight=None, given=(None, None))
    objective = Objective(losses=losses, balance=Equal(tasks=SCHEMA.tasks))
    try:
        progress = fit(
            model,
            optimizers,
            objective,
            (rows(101, 1), rows(67, 2)),
            SCHEMA.tasks,
            SETTINGS,
            context,
            after_evaluation=interrupted_after(evaluations),
        )
    except Interrupted:
        return None
    return ended(model, progress, context)


def interrupted_after(evaluations: int | None) -> Callable[[], None]:
    done: list[None] = []

    def evaluated() -> None:
        done.append(None)
        if len(done) == evaluations:
            raise Interrupted("enough")

    return evaluated


def ended(model: nn.Module, progress: Progress, context: RunContext) -> Ended:
    last = {name: whole(x).clone() for name, x in model_state(model).items()}
    wait()  # rank 0 writes whole tables alone
    kept, _ = load_best(model, SCHEMA.tasks, SETTINGS, context.best, context.identity)
    best = {name: round(value, 12) for name, value in progress.best.items()}
    return Ended(best, last, {name: whole(x) for name, x in model_state(kept).items()})
