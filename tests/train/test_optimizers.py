"""Lazy Adam is Adam on the rows it touches; parameters are grouped by what they are."""

import inspect
import math

import pytest
import torch
from torch import nn

from mtlbench.cli.compose import compose
from mtlbench.cli.search_path import conf_folder
from mtlbench.experiment.build import build, check_node
from mtlbench.nn.bf16_tables import lookup_table, store_in_bf16
from mtlbench.train import optimizers
from mtlbench.train.optimizers import (
    LazyAdam,
    build_optimizers,
    check_hyper_parameters,
    freeze_parameters,
    parameter_groups,
    store_tables_in_bf16,
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


class Rows(nn.Module):
    """A table whose loss pulls each of the given rows with a gradient of its own."""

    def __init__(self, values: torch.Tensor, *, bf16: bool) -> None:
        super().__init__()
        self.held, self.embedding = range(len(values)), nn.Parameter(values.clone())
        if bf16:
            store_in_bf16(self.embedding)

    def move(self, optimizer: torch.optim.Optimizer, rows: torch.Tensor, gradient: torch.Tensor) -> None:
        optimizer.zero_grad()
        places, table, _ = lookup_table(rows, self.embedding, self.held, sparse=True)
        (nn.functional.embedding(places, table, sparse=table is self.embedding) * gradient).sum().backward()
        optimizer.step()


def to_nearest(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16()


def test_a_step_in_bfloat16_is_that_of_float32_rounded_to_a_neighbour():
    torch.manual_seed(0)
    start, rows, gradient = torch.randn(7, 64).bfloat16().float(), torch.tensor([2, 5, 2]), torch.randn(3, 64)
    exact, stored = Rows(start, bf16=False), Rows(start, bf16=True)
    states: list[dict[str, torch.Tensor]] = []
    for layer in (exact, stored):
        optimizer = LazyAdam(layer.parameters(), lr=0.01)
        layer.move(optimizer, rows, gradient)
        states.append(optimizer.state[layer.embedding])
    assert states[1]["moments"].dtype == stored.embedding.dtype == torch.bfloat16
    for one, other in ((exact.embedding, stored.embedding), (states[0]["moments"], states[1]["moments"])):
        apart = (one - other.float()).abs()
        assert bool((apart <= 2**-7 * one.abs()).all())  # at most a unit in the last place
        assert 0 < apart.mean() < 2**-8 * one.abs().mean()
    untouched = torch.tensor([0, 1, 3, 4, 6])
    assert torch.equal(stored.embedding[untouched].float(), start[untouched])


def test_small_steps_move_weights_by_their_sum_on_average_and_to_nearest_not_at_all(monkeypatch: pytest.MonkeyPatch):
    """Weights of 1, whose next ones are 1/128 above and 1/256 below; 200 steps of 1e-4 each."""
    torch.manual_seed(0)
    columns, steps, lr = 20_000, 200, 1e-4
    rows, gradient = torch.tensor([1]), torch.ones(1, columns)

    def moved() -> torch.Tensor:
        layer = Rows(torch.ones(2, columns), bf16=True)
        optimizer = LazyAdam(layer.parameters(), lr=lr)
        for _ in range(steps):
            layer.move(optimizer, rows, gradient)
        assert bool((layer.embedding[0] == 1).all())
        return layer.embedding[1].detach().double() - 1

    found = moved()
    # Below 1 numbers are 1/256 apart: the variance of a step is at most lr / 256.
    error = math.sqrt(steps * lr / 256 / columns)
    assert abs(float(found.mean()) + steps * lr) < 5 * error + 0.01 * steps * lr  # of a step's length, see LazyAdam
    assert float(found.std()) < 1.1 * math.sqrt(steps * lr / 256)
    monkeypatch.setattr(optimizers, "stochastically_rounded", to_nearest)
    assert bool((moved() == 0).all())


def test_the_second_moment_decays_and_to_nearest_it_would_not(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    columns, steps = 2_000, 1_000
    rows, gradients = torch.tensor([1]), [torch.ones(1, columns), torch.zeros(1, columns)]

    def second() -> torch.Tensor:
        layer = Rows(torch.ones(2, columns), bf16=True)
        optimizer = LazyAdam(layer.parameters())
        for at in range(steps):
            layer.move(optimizer, rows, gradients[min(at, 1)])
        return optimizer.state[layer.embedding]["moments"][1, 1].double()

    found, expected = second(), 0.001 * 0.999 ** (steps - 1)
    assert abs(float(found.mean()) - expected) < 5 * float(found.std()) / math.sqrt(columns)
    assert float(found.std()) < 0.08 * expected
    monkeypatch.setattr(optimizers, "stochastically_rounded", to_nearest)
    assert float(second().mean()) == pytest.approx(0.001, rel=0.004)


def test_a_table_in_bfloat16_learns_what_one_in_float32_learns(monkeypatch: pytest.MonkeyPatch):
    """200 steps on skewed ids towards targets, with noisy gradients."""
    random = torch.Generator().manual_seed(0)
    table_rows, width, steps = 50, 16, 200
    target, start = (torch.randn(table_rows, width, generator=random).bfloat16().float() for _ in range(2))
    ids = (torch.rand(steps, 64, generator=random) ** 3 * table_rows).long()
    noise = 0.1 * torch.randn(steps, 64, width, generator=random)

    def learnt(*, bf16: bool) -> torch.Tensor:
        torch.manual_seed(0)
        layer = Rows(start, bf16=bf16)
        optimizer = LazyAdam(layer.parameters(), lr=0.002)
        for rows, off in zip(ids, noise, strict=True):
            layer.move(optimizer, rows, layer.embedding.detach().float()[rows] - target[rows] + off)
        return layer.embedding.detach().float()

    exact, stored = learnt(bf16=False), learnt(bf16=True)
    way = (exact - start).abs().mean()
    apart = stored - exact
    # A step of 0.002 at a number below 4, whose neighbours are at most 2**-6 away: a variance of 0.002 / 64 per step.
    assert float(apart.square().mean()) < steps * 0.002 / 64
    assert abs(float((apart * (exact - start).sign()).mean())) < 0.03 * way
    monkeypatch.setattr(optimizers, "stochastically_rounded", to_nearest)
    short = learnt(bf16=True) - exact
    assert float((short * (exact - start).sign()).mean()) < -0.1 * way


def test_lazy_adam_in_bfloat16_goes_on_from_its_state_and_the_state_of_the_generator():
    start, ids = torch.randn(7, 5), torch.randint(7, (6, 3))
    gradients = torch.randn(6, 3, 5)

    def trained(stop: int) -> torch.Tensor:
        torch.manual_seed(0)
        layer = Rows(start, bf16=True)
        optimizer = LazyAdam(layer.parameters(), lr=0.01)
        for at, (rows, gradient) in enumerate(zip(ids, gradients, strict=True)):
            if at == stop:
                saved, generator = optimizer.state_dict(), torch.get_rng_state()
                torch.randn(9)
                optimizer = LazyAdam(layer.parameters(), lr=0.01)
                optimizer.load_state_dict(saved)
                torch.set_rng_state(generator)
            layer.move(optimizer, rows, gradient)
        return layer.embedding.detach()

    assert torch.equal(trained(3), trained(-1))


def test_a_table_that_no_block_of_ours_looks_up_is_refused_in_bfloat16():
    with pytest.raises(ValueError, match=r"table_precision=bf16: Toy has its own tables: embedding\.weight\. Use "):
        store_tables_in_bf16(Toy())


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
    with pytest.raises(ValueError, match="no parameter name of Linear matches"):
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
