"""Deferred Adam does what torch's dense Adam does, wherever rows are read, whatever happens in between."""

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LinearLR, OneCycleLR

from mtlbench.balancing.constant import Equal
from mtlbench.balancing.famo import FAMO
from mtlbench.balancing.gradnorm import GradNorm
from mtlbench.cli.compose import compose_group
from mtlbench.data.loader import Rows
from mtlbench.experiment.build import build
from mtlbench.losses import task_losses
from mtlbench.models.mmoe import MMoE
from mtlbench.models.mssm import MSSM
from mtlbench.models.single_task import SingleTask
from mtlbench.models.widedeep import WideDeep
from mtlbench.schema import Batch, Schema, Task
from mtlbench.tracking.journal import Journal
from mtlbench.train.deferred_adam import DeferredAdam, can_defer, window
from mtlbench.train.interrupt import Interrupted
from mtlbench.train.loop import fit
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.optimizers import build_optimizers
from mtlbench.train.progress import RunContext
from mtlbench.train.settings import Settings
from mtlbench.train.step import penalties_of
from synthetic import plain_schema, random_batch, rich_schema

SCALES = (1.0, 1e-3, 1e-5, 1e-7, 1e-8, 1e-9, 1e-22)
"""Of gradients, a column each: from far above eps to where their squares are denormal or 0."""


class Table:
    """A block whose batches are the row numbers themselves."""

    def __init__(self, weight: Tensor) -> None:
        self.embedding, self.sparse = nn.Parameter(weight), True

    def rows(self, batch: Any) -> Tensor:
        return batch


def gradients(steps: int, rows: int = 500, touched: int = 9) -> list[tuple[Tensor, Tensor]]:
    """Skewed row numbers and their gradients: some rows come in every other step, most hardly ever, some never."""
    generator = torch.Generator().manual_seed(1)
    made: list[tuple[Tensor, Tensor]] = []
    for _ in range(steps):
        ids = ((torch.rand(touched, generator=generator) ** 3) * (rows - 20)).long().unique()
        made.append((ids, torch.randn(len(ids), len(SCALES), generator=generator) * torch.tensor(SCALES)))
    return made


def start(rows: int = 500) -> Tensor:
    return torch.randn(rows, len(SCALES), generator=torch.Generator().manual_seed(2)) * 0.1


def deferred(table: Table, like: Optimizer) -> DeferredAdam:
    return DeferredAdam([table.embedding], [table], **like.defaults)  # pyright: ignore[reportArgumentType]


def dense_step(optimizer: Optimizer, parameter: nn.Parameter, ids: Tensor, values: Tensor) -> None:
    parameter.grad = torch.zeros_like(parameter).index_copy_(0, ids, values)
    optimizer.step()


def deferred_step(optimizer: DeferredAdam, parameter: nn.Parameter, ids: Tensor, values: Tensor) -> None:
    optimizer.prepare(ids)  # pyright: ignore[reportArgumentType]
    parameter.grad = torch.sparse_coo_tensor(ids[None], values, parameter.shape, check_invariants=False)
    optimizer.step()


def reloaded(optimizer: DeferredAdam, table: Table, like: Optimizer) -> DeferredAdam:
    """Another optimizer with the state that a checkpoint would have kept."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = deferred(table, like)
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


def cycles(step: int) -> float:
    """A learning rate that falls and jumps, and is 0 for a while."""
    return 0.0 if step % 100 > 90 else 1e-3 * (1 - step % 500 / 500)


@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        (partial(Adam, lr=1e-3), None),
        pytest.param(partial(AdamW, lr=1e-3, weight_decay=0.1), cycles, marks=pytest.mark.long),
    ],
)
def test_equals_dense_steps_after_2000_steps(kind: Callable[..., Optimizer], rate: Callable[[int], float] | None):
    """With a resume, two evaluations, and rows that are read without a gradient in between."""
    dense, table = nn.Parameter(start()), Table(start())
    theirs = kind([dense], fused=True)
    ours = deferred(table, theirs)
    for step, (ids, values) in enumerate(gradients(2000)):
        if rate is not None:
            theirs.param_groups[0]["lr"] = ours.param_groups[0]["lr"] = rate(step)
        dense_step(theirs, dense, ids, values)
        deferred_step(ours, table.embedding, ids, values)
        if step == 600:
            ours = reloaded(ours, table, theirs)
        if step in (200, 1100):
            ours.finish()
        if step % 97 == 0:
            ours.prepare(torch.arange(step % 400, step % 400 + 50))  # pyright: ignore[reportArgumentType]
    assert (table.embedding - dense)[:, 0].abs().max() > 1e-3, "some rows are far behind before they are brought up"
    ours.finish()
    assert (dense - start()).abs().amax(dim=0)[:4].min() > 0.01, "they have moved"
    torch.testing.assert_close(table.embedding, dense, rtol=0, atol=1e-5)
    if rate is None:
        assert torch.equal(table.embedding[-20:], start()[-20:]), "rows never touched stand still"


def test_a_resumed_state_is_the_same_to_the_bit():
    tables = [Table(start()), Table(start())]
    optimizers = [deferred(table, Adam([table.embedding], lr=0.01)) for table in tables]
    for step, (ids, values) in enumerate(gradients(60)):
        if step in (7, 31):
            optimizers[1] = reloaded(optimizers[1], tables[1], Adam([tables[1].embedding], lr=0.01))
        for optimizer, table in zip(optimizers, tables, strict=True):
            deferred_step(optimizer, table.embedding, ids, values)
            if step == 20:
                optimizer.finish()
    assert torch.equal(tables[0].embedding, tables[1].embedding)
    for optimizer in optimizers:
        optimizer.finish()
    assert torch.equal(tables[0].embedding, tables[1].embedding)


def test_goes_on_from_the_state_of_a_dense_adam():
    dense, table = nn.Parameter(start()), Table(start())
    theirs = Adam([dense], lr=0.01, fused=True)
    steps = gradients(100)
    for ids, values in steps[:50]:
        dense_step(theirs, dense, ids, values)
    with torch.no_grad():
        table.embedding.copy_(dense)
    ours = deferred(table, theirs)
    ours.load_state_dict(theirs.state_dict())
    for ids, values in steps[50:]:
        dense_step(theirs, dense, ids, values)
        deferred_step(ours, table.embedding, ids, values)
    ours.finish()
    torch.testing.assert_close(table.embedding, dense, rtol=0, atol=1e-6)


def test_moments_grow_beyond_their_first_size_and_start_anew_when_all_rows_are_up_to_date():
    dense, table = nn.Parameter(start(3)), Table(start(3))
    theirs = Adam([dense], lr=1e-3)
    ours = deferred(table, theirs)
    values = torch.ones(1, len(SCALES))
    for step in range(1030):
        ids = torch.tensor([0 if step else 1])  # row 1 waits for 1,029 steps
        dense_step(theirs, dense, ids, values)
        deferred_step(ours, table.embedding, ids, values)
    state = ours.state[table.embedding]["rows"]
    assert state.missed.moments.shape[1] == 2048
    ours.finish()
    assert state.missed.base == 1030
    assert state.missed.moments.shape[1] == 1024
    torch.testing.assert_close(table.embedding, dense, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({}, True),
        ({"betas": (0.99, 0.999)}, True),
        ({"betas": (0.9, 0.9)}, False),
        ({"betas": (0.0, 0.999)}, False),
        ({"betas": (0.9999, 0.99999)}, False),
        ({"weight_decay": 0.1}, False),
        ({"amsgrad": True}, False),
        ({"maximize": True}, False),
    ],
)
def test_what_has_the_closed_form(options: dict[str, Any], allowed: bool):
    parameter = nn.Parameter(torch.zeros(1))
    assert can_defer(Adam([parameter], **options).defaults) == allowed


def test_slower_decays_ask_for_longer_windows():
    assert window((0.9, 0.999)) == 398
    assert window((0.99, 0.999)) == 4580


def test_rows_that_were_not_prepared_are_refused():
    table = Table(start())
    ours = deferred(table, Adam([table.embedding]))
    (ids, values), *_ = gradients(1)
    deferred_step(ours, table.embedding, ids, values)
    table.embedding.grad = torch.sparse_coo_tensor(torch.tensor([[499]]), values[:1], (500, 7), check_invariants=False)
    with pytest.raises(ValueError, match="in rows that its block's method rows did not"):
        ours.step()


def test_a_dense_gradient_and_changing_betas_are_refused():
    table = Table(start())
    ours = deferred(table, Adam([table.embedding]))
    table.embedding.grad = torch.zeros_like(table.embedding)
    with pytest.raises(ValueError, match=r"has a dense gradient, .*deferred_rows=null"):
        ours.step()
    OneCycleLR(ours, max_lr=0.1, total_steps=10)
    with pytest.raises(ValueError, match="cycle_momentum=false"):
        ours.step()


SCHEMA = plain_schema(cardinality=31)
SETTINGS = Settings(
    epochs=3,
    batch_size=16,
    evaluation_batch_size=50,
    patience=None,
    select="logloss",
    precision="fp32",
    compile=False,
    clip=None,
    log_steps=2,
    checkpoint_minutes=60,
)


def rows(count: int, seed: int) -> Rows:
    batch = random_batch(SCHEMA, count, seed)
    assert batch.labels is not None
    return Rows(
        schema=SCHEMA, columns={"ids": batch.ids, "labels": batch.labels.to(torch.int8)}, tables={}, pointers={}
    )


def optimizers_of(model: nn.Module, *, deferred: bool, lr: float = 0.01) -> list[Optimizer]:
    adam = partial(Adam, lr=lr, fused=True)
    return build_optimizers(
        model, embedding=adam, dense=adam, gate=None, sparse=False, deferred_rows=1 if deferred else None
    )


def trained(folder: Path, balance: Callable[..., Any], settings: Settings = SETTINGS, *, deferred: bool) -> nn.Module:
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    model = MMoE(SCHEMA, embedding_width=4, experts=3, expert_layers=[8], tower_layers=[5])
    optimizers = optimizers_of(model, deferred=deferred)
    assert isinstance(optimizers[0], DeferredAdam) == deferred
    context = RunContext(identity="toy", folder=folder, journal=Journal(folder), device=torch.device("cpu"), seed=5)
    objective = Objective(losses=TaskLosses(pos_weight=None, given=()), balance=balance(tasks=SCHEMA.tasks))
    schedule = partial(lambda optimizer, steps: LinearLR(optimizer, 1.0, 0.0, total_iters=steps))
    fit(model, optimizers, objective, (rows(150, 1), rows(67, 2)), SCHEMA.tasks, settings, context, scheduler=schedule)
    return model


@pytest.mark.parametrize(
    ("balance", "clip"),
    [
        (Equal, None),
        (Equal, 0.01),
        (partial(GradNorm, asymmetry=1.5, lr=0.1), None),
        (partial(FAMO, lr=0.1, weight_decay=0.0), None),
    ],
)
def test_a_run_is_that_of_dense_steps(tmp_path: Path, balance: Callable[..., Any], clip: float | None):
    """Probes of gradients, second forward passes, clipping by the norm of all, a schedule, evaluations."""
    settings = replace(SETTINGS, clip=clip, conflicts=True)
    whole = trained(tmp_path / "dense", balance, settings, deferred=False)
    ours = trained(tmp_path / "deferred", balance, settings, deferred=True)
    for (name, p), q in zip(whole.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(q, p, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("interrupted", [3, 10, 14])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: int
):
    whole = trained(tmp_path / "whole", Equal, deferred=True)
    measure, calls = TaskLosses.__call__, [0]

    def counting(self: TaskLosses, *arguments: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] == interrupted:
            raise Interrupted
        return measure(self, *arguments)

    monkeypatch.setattr(TaskLosses, "__call__", counting)
    with pytest.raises(Interrupted):
        trained(tmp_path / "halved", Equal, deferred=True)
    resumed = trained(tmp_path / "halved", Equal, deferred=True)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))


def steps_of(model: nn.Module, batches: list[Batch], *, deferred: bool) -> nn.Module:
    optimizers = optimizers_of(model, deferred=deferred)
    late = [optimizer for optimizer in optimizers if isinstance(optimizer, DeferredAdam)]
    for number, batch in enumerate(batches):
        torch.manual_seed(number)
        for optimizer in late:
            optimizer.prepare(batch)
        for optimizer in optimizers:
            optimizer.zero_grad()
        assert batch.labels is not None
        loss = task_losses(model(batch), batch.labels, None).sum()
        (loss + sum(penalty() for penalty in penalties_of(model).values())).backward()
        for optimizer in optimizers:
            optimizer.step()
    for optimizer in late:
        optimizer.finish()
    return model


def moved_alike(make: Callable[[], nn.Module], schema: Schema) -> int:
    """Compares dense with deferred steps, and says how many tables were deferred."""
    batches = [random_batch(schema, 5, seed) for seed in range(3)]
    both: list[nn.Module] = []
    for late in (False, True):
        torch.manual_seed(0)
        both.append(steps_of(make().train(), batches, deferred=late))
    for (name, p), q in zip(both[0].named_parameters(), both[1].parameters(), strict=True):
        torch.testing.assert_close(q, p, rtol=0, atol=1e-4, msg=lambda text: f"{name}: {text}")  # noqa: B023
    return sum(bool(getattr(module, "sparse", False)) for module in both[1].modules())


def test_every_model_names_the_rows_that_it_reads():
    """A block that did not would be refused in the second step."""
    schema = replace(rich_schema(), tasks=(Task(name="a", label="a"), Task(name="b", label="b", given="a")))
    nodes = compose_group("model")
    found = {name: moved_alike(partial(build, node, "model", schema=schema), schema) for name, node in nodes.items()}
    assert len(found) >= 37
    assert all(found.values()), found


def test_the_table_of_crossed_fields_is_deferred_too():
    schema = plain_schema()
    crosses = [["id0", "id1"], ["id2", "id3"]]
    network = partial(WideDeep, embedding_width=4, layers=[5], crosses=crosses, cross_buckets=50)
    assert moved_alike(partial(SingleTask, schema, network=network), schema) == 6


def test_a_penalty_on_whole_tables_keeps_dense_steps():
    schema = plain_schema()
    make = partial(MSSM, schema, embedding_width=4, subnetwork_layers=[5], tower_layers=[3], penalise_embeddings=True)
    assert moved_alike(make, schema) == 0
