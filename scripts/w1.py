"""Workload W1 of docs/performance.md, and its relatives: one step of training an MMoE on random ids.

18 single-valued fields with the vocabularies of AITM's Ali-CCP, embedding width 32, 8 experts 256-128-64, towers 64,
two tasks, batches of 1,024, lazy Adam, fp32. Ids are skewed; throughput does not depend on the rows' content.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from mtlbench.balancing.constant import Equal
from mtlbench.balancing.shared import SharedGradients
from mtlbench.data.loader import Rows
from mtlbench.models.mmoe import MMoE
from mtlbench.schema import Batch, Field, Schema, Task
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.optimizers import DEFERRED_ROWS, LazyAdam, build_optimizers, store_tables_in_bf16
from mtlbench.train.settings import Settings
from mtlbench.train.step import Step
from scripts.bench_train import EXPERT_LAYERS, TOWER_LAYERS, VOCABULARIES

STANDARD_IDS = sum(VOCABULARIES)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Sizes of W1, each of which can be changed.

    Attributes:
        ids: rows of the embedding table; vocabularies scale in proportion, down to 2 ids per field.
        batch: rows of all processes together.
        width: of embeddings.
        experts: of the MMoE.
        tasks: number of tasks and towers.
        optimizer: of the table: ``lazy_adam``, or ``adam``, which is exact.
        table_precision: of the table, with lazy Adam: ``fp32``, or ``bf16``.
    """

    ids: int = STANDARD_IDS
    batch: int = 1024
    width: int = 32
    experts: int = 8
    tasks: int = 2
    optimizer: str = "lazy_adam"
    table_precision: str = "fp32"

    @property
    def schema(self) -> Schema:
        sizes = [max(2, size * self.ids // STANDARD_IDS) for size in VOCABULARIES]
        return Schema(
            fields=tuple(Field(name=f"f{at}", cardinality=size) for at, size in enumerate(sizes)),
            tasks=tuple(Task(name=f"t{at}", label=f"t{at}") for at in range(self.tasks)),
        )


def random_rows(workload: Workload, count: int) -> Rows:
    """Rows in memory; ids are the square of a uniform number times the vocabulary, a fifth of labels is positive."""
    schema, random = workload.schema, np.random.default_rng(0)
    ids = np.empty((count, len(schema.fields)), dtype=np.int32)
    for at, field in enumerate(schema.fields):
        ids[:, at] = (random.random(count) ** 2 * field.cardinality).astype(np.int32) + schema.offsets[field.name]
    labels = (random.random((count, workload.tasks), dtype=np.float32) < 0.2).astype(np.int8)
    columns = {"ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
    return Rows(schema=schema, tables={}, pointers={}, columns=columns)


def step_of(workload: Workload) -> Callable[[Batch], object]:
    """One step of training, from initial weights of seed 0."""
    torch.manual_seed(0)
    model = MMoE(
        workload.schema,
        embedding_width=workload.width,
        experts=workload.experts,
        expert_layers=EXPERT_LAYERS,
        tower_layers=TOWER_LAYERS,
    )
    if workload.table_precision == "bf16":
        store_tables_in_bf16(model)
    adam = partial(torch.optim.Adam, fused=True)
    lazy = workload.optimizer == "lazy_adam"
    step = Step(
        model=model.train(),
        compiled=model,
        optimizers=build_optimizers(
            model,
            embedding=LazyAdam if lazy else adam,
            dense=adam,
            gate=None,
            sparse=lazy,
            deferred_rows=None if lazy else DEFERRED_ROWS,
        ),
        objective=Objective(
            losses=TaskLosses(pos_weight=None, given=(None,) * workload.tasks),
            balance=Equal(tasks=workload.schema.tasks),
        ),
        shared=SharedGradients(tasks=workload.tasks, tables=[], dense=[]),
        penalties={},
        settings=Settings(
            epochs=1, batch_size=workload.batch, evaluation_batch_size=workload.batch, patience=None, select="auc",
            precision="fp32", compile=False, clip=None, log_steps=100, checkpoint_minutes=10,
        ),
    )  # fmt: skip
    return partial(step, compare=False)
