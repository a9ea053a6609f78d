"""Training and scoring on a device that the host cannot read: torch's meta device, which computes shapes alone.

A tensor that is made on the CPU, or a value that the host reads, raises there. What must read all the same is named in
`HOST_READS`; on the CPU, where reading is possible, a step is watched for any other read.
"""

import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from contracts.test_models import CONF, GATED, NAMES, VIRTUAL_GRADIENTS, build, every_model, plain
from mtlbench.balancing.protocol import AfterEpoch, Balancing
from mtlbench.balancing.shared import SharedGradients
from mtlbench.cli.compose import compose
from mtlbench.experiment.build import build as build_object
from mtlbench.schema import Batch, Schema
from mtlbench.train.host_reads import HOST_READS
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.optimizers import (
    LazyAdam,
    OptimizerFactory,
    build_optimizers,
    parameter_groups,
    store_tables_in_bf16,
)
from mtlbench.train.settings import Settings
from mtlbench.train.step import Step, penalties_of
from synthetic import random_batch, rich_schema

META = torch.device("meta")
BALANCINGS = sorted(path.stem for path in (CONF / "balancing").glob("[!_]*.yaml"))
SETTINGS = Settings(
    epochs=1, batch_size=31, evaluation_batch_size=31, patience=None, select="auc", precision="fp32", compile=False,
    clip=1.0, log_steps=1, checkpoint_minutes=10,
)  # fmt: skip
SOLVERS = "mtlbench.balancing.gramian.GramianWeights.forward"
READING = {"_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "unique_consecutive", "_coalesce", "equal"} | {
    "masked_select", "bincount", "repeat_interleave", "is_nonzero",
}  # fmt: skip
"""Operations whose result, or its shape, the host has to wait for."""


class OnDevice(TorchDispatchMode):
    """Refuses tensors on the CPU; single numbers may be there, as the step counts of torch's optimizers are."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, found)):
            assert not isinstance(tensor, Tensor) or tensor.is_meta or not tensor.dim(), f"{func}: a tensor on the CPU"
        return found


class Reads(TorchDispatchMode):
    """Collects the functions of mtlbench that make the host read."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func.__name__.startswith("index.") and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if by_mask or func.__name__.partition(".")[0] in READING:
            callers = list(_callers(sys._getframe()))
            if callers and callers[0] != "optimizer of torch":
                self.found.add(SOLVERS if SOLVERS in callers else callers[0])
        return func(*args, **(kwargs or {}))


def _callers(frame: FrameType | None) -> Iterator[str]:
    """Functions of mtlbench, and torch's optimizers, from the innermost one outwards."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module.startswith("mtlbench."):
            yield f"{module}.{frame.f_code.co_qualname}".partition(".<locals>")[0]
        elif module.startswith("torch.optim.") and frame.f_code.co_name == "_single_tensor_adam":
            yield "optimizer of torch"
        frame = frame.f_back


def in_bf16(model: nn.Module, schema: Schema) -> Step:
    """A step with tables in bfloat16."""
    store_tables_in_bf16(model)
    return step_of(model, schema, embedding=LazyAdam, sparse=True)


def step_of(
    model: nn.Module,
    schema: Schema,
    balancing: str = "equal",
    embedding: OptimizerFactory = torch.optim.Adam,
    *,
    sparse: bool = False,
    deferred_rows: int | None = None,
) -> Step:
    weights = ["balancing.weights=[1,0.5,0.1]"] if balancing == "fixed" else []
    config = compose([f"balancing={balancing}", *weights]).balancing
    with next(model.parameters()).device:
        balance: Balancing = build_object(config, "balancing")(tasks=schema.tasks)
    optimizers = build_optimizers(
        model, embedding=embedding, dense=torch.optim.Adam, gate=None, sparse=sparse, deferred_rows=deferred_rows
    )
    groups = parameter_groups(model)
    return Step(
        model=model.train(),
        compiled=model,
        optimizers=optimizers,
        objective=Objective(losses=TaskLosses(pos_weight=None, given=(None,) * len(schema.tasks)), balance=balance),
        shared=SharedGradients(
            tasks=len(schema.tasks), tables=groups["embedding"], dense=groups["gate"] + groups["dense"]
        ),
        penalties=penalties_of(model),
        settings=SETTINGS,
    )


def train_on_meta(
    model: nn.Module, schema: Schema, balancing: str = "equal", compares: tuple[bool, ...] = (False, True)
) -> Step:
    """Two steps, the second with the optimizers' state, and the end of an epoch."""
    step, batch = step_of(model.to(META), schema, balancing), random_batch(schema, 31).to(META)
    step.shared._found = True  # read once in a run, see `HOST_READS`
    with OnDevice():
        for compare in compares:
            step(batch, compare)
        if isinstance(step.objective.balance, AfterEpoch):
            step.objective.balance.after_epoch()
    return step


@every_model
@pytest.mark.parametrize("kind", [pytest.param("plain", marks=pytest.mark.long), "rich"])
def test_a_model_trains_and_scores_on_a_device_that_the_host_cannot_read(name: str, kind: str):
    schema = rich_schema(3) if kind == "rich" else plain(name)
    model = build(name, schema)
    train_on_meta(model, schema, compares=(True,) if kind == "rich" else (False, True))
    batch = random_batch(schema, 7).to(META).unlabelled()
    with OnDevice(), torch.no_grad():
        assert model.eval()(batch).shape == (7, len(schema.tasks))


@pytest.mark.parametrize("virtual_gradient", VIRTUAL_GRADIENTS)
def test_a_virtual_gradient_bends_there(virtual_gradient: str):
    name = "mtphn"
    assert name in GATED
    train_on_meta(build(name, plain(name), f"virtual_gradient={virtual_gradient}"), plain(name))


@pytest.mark.parametrize("balancing", BALANCINGS)
def test_a_balancing_method_reads_what_is_listed_alone(balancing: str):
    """Methods that look at losses alone run there; those that look at gradients stop where it is listed."""
    schema = rich_schema(3)
    model = build("mmoe", schema)
    if balancing in {"equal", "fixed", "uncertainty", "dwa", "famo"}:
        train_on_meta(model, schema, balancing)
        return
    with pytest.raises(RuntimeError, match="meta") as stopped:
        train_on_meta(model, schema, balancing)
    frames = [frame for frame, _ in traceback.walk_tb(stopped.tb)]
    reader = next(name for frame in reversed(frames) for name in _callers(frame) if name != "optimizer of torch")
    assert reader == ("mtlbench.balancing.gradnorm.GradNorm.forward" if balancing == "gradnorm" else SOLVERS)


def watched(step: Step, batch: Batch, *, compare: bool = True) -> set[str]:
    with Reads() as reads:
        for compares in (False, compare):
            step(batch, compares)
    return reads.found


SPARSE: dict[str, Callable[..., Step]] = {
    "lazy": partial(step_of, embedding=LazyAdam, sparse=True),
    "bf16": in_bf16,
    "deferred": partial(step_of, deferred_rows=1),
    "exact": step_of,
}


def test_what_the_host_reads_is_listed_and_what_is_listed_is_read():
    """Every way of updating tables, every balancing method, and the blocks that read."""
    schema = rich_schema(3)
    batch = random_batch(schema, 31)
    found = set[str]()
    for make in SPARSE.values():
        found |= watched(make(build("mmoe", schema), schema), batch)
    for balancing in BALANCINGS:
        found |= watched(step_of(build("mmoe", schema), schema, balancing), batch)
    combined = build("mpa_combined", schema, "model.cognitive_mode=alternate")
    found |= watched(step_of(combined, schema), batch)
    assert found == set(HOST_READS)


@pytest.mark.long
@every_model
def test_no_model_makes_the_host_read(name: str):
    schema = rich_schema(3)
    found = watched(step_of(build(name, schema), schema), random_batch(schema, 31), compare=False)
    assert found <= {"mtlbench.nn.interest._looked_at"}


def test_everything_is_tried():
    assert len(NAMES) >= 40
    assert len(BALANCINGS) == 14
    assert len(VIRTUAL_GRADIENTS) == 9


def test_a_tensor_made_on_the_cpu_is_seen():
    with OnDevice(), pytest.raises(AssertionError, match="a tensor on the CPU"):
        torch.ones(3) + 1
