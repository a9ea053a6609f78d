"""What tasks share is found from gradients, is what the model's own names say, and costs nothing per vocabulary row."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mtlbench.balancing.gramian import GramianWeights
from mtlbench.balancing.shared import SharedGradients, cosines
from mtlbench.cli.compose import compose
from mtlbench.losses import task_losses
from mtlbench.models.mmoe import MMoE
from mtlbench.models.ple import PLE
from mtlbench.schema import Batch, Schema
from mtlbench.train.optimizers import parameter_groups
from synthetic import plain_schema, random_batch, rich_schema

CONF = Path(__file__).parents[2] / "conf" / "model"
MODELS = sorted(path.stem for path in CONF.glob("[!_]*.yaml"))
SMALL = (
    "profile.embedding_width=4", "profile.deep_layers=[13,7]", "profile.bottom_layers=[13,7]",
    "profile.expert_layers=[13,8]", "profile.tower_layers=[5]",
)  # fmt: skip


def shared_of(model: nn.Module, tasks: int) -> SharedGradients:
    groups = parameter_groups(model)
    return SharedGradients(tasks=tasks, tables=groups["embedding"], dense=groups["gate"] + groups["dense"])


def losses_of(model: nn.Module, batch: Batch) -> Tensor:
    assert batch.labels is not None
    return task_losses(model(batch), batch.labels, batch.observed)


def mmoe(schema: Schema) -> nn.Module:
    torch.manual_seed(0)
    return MMoE(schema, embedding_width=4, experts=3, expert_layers=[8], tower_layers=[5])


def sparse(model: nn.Module, on: bool) -> nn.Module:
    for module in model.modules():
        if hasattr(module, "sparse"):
            module.sparse = on  # pyright: ignore[reportArgumentType]
    return model


def dense_gramian(model: nn.Module, losses_T: Tensor, names: Sequence[str]) -> Tensor:
    """The reference: whole gradients of the named parameters, side by side in one matrix."""
    parameters = [p for name, p in model.named_parameters() if name.startswith(tuple(names))]
    rows = [torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True) for loss in losses_T]
    gradients_TN = torch.stack([torch.cat([g.to_dense().flatten() for g in row]) for row in rows]).double()
    return gradients_TN @ gradients_TN.T


@pytest.mark.parametrize("layout", ["sparse", "dense"])
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_gramian_of_the_dense_gradients_on_the_shared_part(layout: str, masked: bool):
    schema = rich_schema(tasks=3)
    model = sparse(mmoe(schema), layout == "sparse")
    batch = random_batch(schema, 31)
    if masked:
        batch = replace(batch, observed=torch.rand(31, 3, generator=torch.Generator().manual_seed(1)) < 0.4)
    losses_T = losses_of(model, batch)
    found = shared_of(model, 3)(losses_T)
    expected = dense_gramian(sparse(model, False), losses_of(model, batch), ["fields", "experts"])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
    # Towers and gates are stacked parameters that every task's gradient has a part in, but no two in the same part.
    everything = dense_gramian(model, losses_of(model, batch), [""])
    assert (everything.diagonal() > 1.001 * found.diagonal()).all()


def test_experts_of_one_task_have_no_say():
    schema = plain_schema()
    torch.manual_seed(0)
    model = PLE(schema, embedding_width=4, level_layers=[[8]], shared_experts=2, task_experts=1, tower_layers=[5])
    batch = random_batch(schema, 31)
    found = shared_of(model, 2)(losses_of(model, batch))
    with_all = dense_gramian(model, losses_of(model, batch), [""])
    torch.testing.assert_close(found[0, 1], with_all[0, 1], rtol=1e-5, atol=1e-9)  # what one task misses adds nothing
    assert (found.diagonal() < with_all.diagonal()).all()


def test_what_was_once_reached_by_two_tasks_stays_shared():
    """A batch without a label of the second task shows nothing of it: what is shared is known from the next one on."""
    schema = plain_schema()
    model, batch = mmoe(schema), random_batch(schema, 31)
    blind = replace(batch, observed=torch.tensor([True, False]).expand(31, 2))
    shared = shared_of(model, 2)
    assert (shared(losses_of(model, blind)) == 0).all()
    seen = shared(losses_of(model, batch))
    assert seen[1, 1] > 0
    again = shared(losses_of(model, blind))
    torch.testing.assert_close(again[0, 0], seen[0, 0])
    assert again[1, 1] == again[0, 1] == 0
    resumed = shared_of(model, 2)
    resumed.load_state_dict(shared.state_dict())
    assert torch.equal(resumed(losses_of(model, blind)), again)


def test_tables_that_tasks_touch_in_different_rows():
    """Rows of a sparse gradient are matched by what they are, not by where they stand in it."""
    table = nn.Parameter(torch.zeros(50, 2))
    first, second = torch.tensor([7, 3, 3]), torch.tensor([9, 3])

    def loss(rows: Tensor, values: list[float]) -> Tensor:
        looked_up = nn.functional.embedding(rows, table, sparse=True)
        return (looked_up * torch.tensor(values)[:, None]).sum()

    losses_T = torch.stack([loss(first, [1.0, 2.0, 3.0]), loss(second, [10.0, 100.0])])
    against_T = torch.stack([loss(first, [1.0, 2.0, 3.0]), loss(second, [-10.0, -100.0])])
    found, against = (SharedGradients(tasks=2, tables=[table], dense=[])(each) for each in (losses_T, against_T))
    # Row 3 has gradient 2 + 3 of the first task and 100 of the second, in both of two components.
    expected = 2 * torch.tensor([[1 + 25.0, 500.0], [500.0, 100.0 + 10000.0]]).double()
    assert torch.equal(found, expected)
    assert torch.equal(against, expected * torch.tensor([[1, -1], [-1, 1]]))


def test_cosines():
    found = cosines(torch.tensor([[4.0, -3.0, 0.0], [-3.0, 9.0, 0.0], [0.0, 0.0, 0.0]]).double())
    assert found[0, 1].item() == pytest.approx(-0.5)
    assert found[0, 0] == 1
    assert found[2].isnan().all()


class Largest(TorchDispatchMode):
    """Notes the most numbers that any operation has put out; a sparse tensor has those of its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        result = function(*arguments, **(keywords or {}))
        for tensor in tree_leaves(result):
            # Views of the table (itself detached, say) hold no memory of their own.
            if isinstance(tensor, Tensor) and not tensor._is_view():
                values = tensor._values() if tensor.is_sparse else tensor
                self.numbers = max(self.numbers, values.numel())
        return result


def most_numbers(vocabulary: int, on: bool) -> int:
    schema = plain_schema(cardinality=vocabulary)
    model = sparse(mmoe(schema), on)
    shared = shared_of(model, 2)
    balance = GramianWeights(tasks=schema.tasks, weighting=lambda g: torch.ones(len(g), dtype=g.dtype))
    batch = random_batch(schema, 31)
    with Largest() as largest:
        losses_T = losses_of(model, batch)
        balance(losses_T, partial(shared, losses_T)).backward()
    return largest.numbers


def test_nothing_is_of_the_size_of_a_vocabulary():
    few, many = most_numbers(1_000, True), most_numbers(100_000, True)
    assert few == many < 6_000
    assert most_numbers(1_000, False) >= 6_000 * 4, "dense gradients are: the test can fail"


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_balanced_or_says_why_not(name: str):
    schema = rich_schema()
    first, second = schema.tasks
    schema = replace(schema, tasks=(first, replace(second, given=first.name)))  # there are models that ask for it
    config = compose([f"model={name}", *SMALL])
    torch.manual_seed(0)
    arguments = {} if config.virtual_gradient._target_ is None else {
        "virtual_gradient": instantiate(config.virtual_gradient)()
    }  # fmt: skip
    model = sparse(instantiate(config.model)(schema=schema, **arguments), True).train()
    shared, losses_T = shared_of(model, 2), losses_of(model, random_batch(schema, 31))
    if hasattr(model, "copies"):
        with pytest.raises(ValueError, match="no two tasks share any parameter"):
            shared(losses_T)
        return
    gramian = shared(losses_T)
    torch.testing.assert_close(gramian, gramian.T, rtol=1e-6, atol=0)
    assert (gramian.diagonal() > 0).all()
    assert gramian[0, 1] != 0
    assert cosines(gramian).abs().max() <= 1 + 1e-6
    losses_T.sum().backward()


def test_there_are_models():
    assert len(MODELS) >= 40
