"""Lazy Adam is Adam on the rows it touches; parameters are grouped by what they are."""

import inspect
import math

import pytest
import torch
from torch import nn

from mtlbench.cli.compose import compose
from mtlbench.cli.search_path import conf_folder
from mtlbench.experiment.build import build, check_node
from mtlbench.train.optimizers import (
    LazyAdam,
    build_optimizers,
    check_hyper_parameters,
    freeze_parameters,
    parameter_groups,
)


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(13, 5)
        self.gate = nn.Linear(5, 3, bias=False)
        self.tower = nn.Linear(5, 1)


def table(seed: int = 0) -> nn.Embedding:
    torch.manual_seed(seed)
    return nn.Embedding(7, 3, sparse=True)


def step(layer: nn.Embedding, optimizer: torch.optim.Optimizer, ids: list[int], target: torch.Tensor) -> None:
    optimizer.zero_grad()
    ((layer(torch.tensor(ids)) - target) ** 2).sum().backward()
    optimizer.step()


def test_lazy_adam_is_adam_when_every_row_is_touched_in_every_step():
    lazy, exact = table(), table()
    exact.sparse = False
    ours, theirs = LazyAdam(lazy.parameters(), lr=0.1), torch.optim.Adam(exact.parameters(), lr=0.1)
    for seed in range(20):
        target = torch.randn(9, 3, generator=torch.Generator().manual_seed(seed))
        ids = [0, 1, 2, 3, 4, 5, 6, 0, 5]  # repeated ids: their gradients add up
        step(lazy, ours, ids, target)
        step(exact, theirs, ids, target)
    torch.testing.assert_close(lazy.weight, exact.weight, rtol=1e-6, atol=1e-6)


def test_lazy_adam_leaves_untouched_rows_to_the_bit_and_equals_sparse_adam():
    ours_table, theirs_table = table(), table()
    before = ours_table.weight.detach().clone()
    ours, theirs = LazyAdam(ours_table.parameters(), lr=0.1), torch.optim.SparseAdam(theirs_table.parameters(), lr=0.1)
    for seed in range(20):
        target = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))
        ids = [[1, 2, 2], [2, 4, 1], [4, 4, 4]][seed % 3]
        step(ours_table, ours, ids, target)
        step(theirs_table, theirs, ids, target)
    torch.testing.assert_close(ours_table.weight, theirs_table.weight, rtol=1e-6, atol=1e-6)
    untouched = torch.tensor([0, 3, 5, 6])
    assert torch.equal(ours_table.weight[untouched], before[untouched])
    assert not torch.equal(ours_table.weight[1], before[1])


def test_first_step_of_lazy_adam_by_hand():
    layer = nn.Embedding.from_pretrained(torch.tensor([[1.0], [5.0]]), freeze=False, sparse=True)
    optimizer = LazyAdam(layer.parameters(), lr=0.5)
    layer(torch.tensor([0])).sum().mul(3.0).backward()
    optimizer.step()
    # First and second moment, both bias-corrected, are g and g^2: the step is lr * g / (|g| + eps).
    assert math.isclose(layer.weight[0, 0].item(), 1.0 - 0.5, rel_tol=1e-6)
    assert layer.weight[1, 0].item() == 5.0


def test_lazy_adam_goes_on_from_its_state():
    whole, halved = table(), table()
    optimizer = LazyAdam(whole.parameters(), lr=0.1)
    first = LazyAdam(halved.parameters(), lr=0.1)
    for seed in range(6):
        target = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed))
        step(whole, optimizer, [seed, 1], target)
        if seed == 3:
            second = LazyAdam(halved.parameters(), lr=0.1)
            second.load_state_dict(first.state_dict())
            first = second
        step(halved, first, [seed, 1], target)
    assert torch.equal(whole.weight, halved.weight)


def test_lazy_adam_refuses_dense_gradients():
    layer = nn.Embedding(3, 2)
    optimizer = LazyAdam(layer.parameters())
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match=r"needs sparse gradients; a table of shape \(3, 2\)"):
        optimizer.step()


def test_parameters_are_told_apart_by_name():
    model = Toy()
    groups = parameter_groups(model)
    assert [p.shape for p in groups["embedding"]] == [model.embedding.weight.shape]
    assert [p.shape for p in groups["gate"]] == [model.gate.weight.shape]
    assert len(groups["dense"]) == 2


@pytest.mark.parametrize(("own_gates", "kinds"), [(True, 3), (False, 2)])
def test_each_kind_has_its_optimizer_and_no_parameter_is_forgotten(own_gates: bool, kinds: int):
    model = Toy()
    optimizers = build_optimizers(
        model,
        embedding=lambda p: LazyAdam(p, lr=0.1),
        dense=lambda p: torch.optim.Adam(p, lr=0.2),
        gate=(lambda p: torch.optim.SGD(p, lr=0.3)) if own_gates else None,
        sparse=True,
    )
    assert len(optimizers) == kinds
    held = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}
    assert len(held) == len(list(model.parameters()))
    assert model.embedding.sparse


def test_a_model_without_embeddings_is_refused():
    with pytest.raises(ValueError, match="no parameter of Linear is named like"):
        parameter_groups(nn.Linear(2, 1))


def test_frozen_parameters_and_a_model_with_nothing_left_to_train():
    model = Toy()
    freeze_parameters(model, ["gate"])
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["gate.weight"]
    with pytest.raises(ValueError, match=r"optimizer\.freeze=.* leaves nothing to train: Toy has"):
        freeze_parameters(model, ["gate", "embedding", "dense"])


def test_every_configured_optimizer_steps_every_parameter():
    paths = sorted((conf_folder() / "optimizer").glob("[!_]*.yaml"))
    assert len(paths) >= 7
    for path in paths:
        config = compose([f"optimizer={path.stem}", "dataset=census"]).optimizer
        torch.manual_seed(0)
        model = Toy()
        before = [p.detach().clone() for p in model.parameters()]
        optimizers = build_optimizers(
            model,
            embedding=build(config.embedding, "optimizer.embedding"),
            dense=build(config.dense, "optimizer.dense"),
            gate=None if config.gate is None else build(config.gate, "optimizer.gate"),
            sparse=config.sparse,
        )
        check_node(config.embedding, "optimizer.embedding", given={"params"})
        rows = model.embedding(torch.arange(13))
        (model.tower(rows).sum() + (model.gate(rows) ** 2).sum()).backward()
        for optimizer in optimizers:
            optimizer.step()
        moved = [not torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True)]
        assert all(moved), f"{path.stem}: {moved}"


def test_lazy_adam_has_the_defaults_of_adam():
    ours, torchs = (inspect.signature(kind).parameters for kind in (LazyAdam, torch.optim.Adam))
    assert {name: ours[name].default for name in ("lr", "betas", "eps")} == {
        name: torchs[name].default for name in ("lr", "betas", "eps")
    }


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("lr", (1e-300, 5.0), (0.0, -1.0)),
        ("betas", ([0.0, 0.999],), ([0.9, 1.0], [-0.1, 0.9])),
        ("momentum", (0.0, 0.99), (1.0, -0.1)),
        ("eps", (1e-8, 1.0), (0.0, 1.5, -1e-8)),
        ("weight_decay", (0.0, 2.0), (-0.1,)),
    ],
)
def test_the_ranges_of_hyper_parameters(name: str, allowed: tuple[object, ...], refused: tuple[object, ...]):
    for value in allowed:
        check_hyper_parameters({name: value}, "optimizer.dense")
    for value in refused:
        with pytest.raises(ValueError, match=rf"optimizer\.dense\.{name} is .*; allowed: "):
            check_hyper_parameters({name: value}, "optimizer.dense")
