"""Balancings: hand numbers, TorchJD's own aggregators on dense toys, what each promises, every YAML in a few steps."""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.linalg import fractional_matrix_power
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torchjd import aggregation, scalarization

from mtlbench.balancing.dwa import DynamicWeightAverage
from mtlbench.balancing.famo import FAMO
from mtlbench.balancing.gradnorm import GradNorm
from mtlbench.balancing.gramian import GramianWeights
from mtlbench.balancing.protocol import AfterEpoch, AfterStep, Balancing
from mtlbench.balancing.shared import SharedGradients
from mtlbench.balancing.uncertainty import Uncertainty
from mtlbench.cli.compose import compose
from mtlbench.experiment.build import build, import_object
from mtlbench.experiment.errors import ConfigError
from mtlbench.models.dnn import DNN
from mtlbench.models.mmoe import MMoE
from mtlbench.models.single_task import SingleTask
from mtlbench.schema import Schema, Task
from mtlbench.train import checkpoint
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.optimizers import LazyAdam, build_optimizers, parameter_groups
from mtlbench.train.settings import Settings
from mtlbench.train.step import Step, penalties_of
from synthetic import plain_schema, random_batch

CONF = Path(__file__).parents[2] / "conf" / "balancing"
NAMES = sorted(path.stem for path in CONF.glob("[!_]*.yaml"))
OF_GRAMIAN = {"pcgrad", "cagrad", "mgda", "imtl", "gradvac", "nash", "aligned", "upgrad"}
OF_LOSSES = {"equal", "fixed", "uncertainty", "dwa", "famo"}
AGGREGATORS = {
    "pcgrad": aggregation.PCGrad,
    "cagrad": partial(aggregation.CAGrad, c=0.4),
    "mgda": partial(aggregation.MGDA, epsilon=1e-9, max_iters=4_000),
    "imtl": aggregation.IMTLG,
    "gradvac": aggregation.GradVac,
    "aligned": aggregation.AlignedMTL,
    "upgrad": aggregation.UPGrad,
}
CONFLICT = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
"""Two gradients at 135 degrees, of length 1 and root 2; their Gramian is [[1, -1], [-1, 2]]."""


def tasks(count: int) -> tuple[Task, ...]:
    return tuple(Task(name=f"task{t}", label=f"label{t}") for t in range(count))


@cache
def configured(name: str) -> object:
    weights = ["balancing.weights=[1,0.5]"] if name == "fixed" else []
    return compose([f"balancing={name}", *weights]).balancing


def balancing(name: str, count: int = 2) -> Balancing:
    """As its YAML has it."""
    return build(configured(name), "balancing")(tasks=tasks(count))  # pyright: ignore[reportArgumentType]


def no_gramian() -> Tensor:
    pytest.fail("this balancing needs no gradients")


def weights_of(balance: Balancing, gradients: Tensor, losses: Sequence[float] | None = None) -> Tensor:
    """Weights that a balancing gives to tasks with these gradients."""
    values = torch.ones(len(gradients)) if losses is None else torch.tensor(losses)
    loss_T = values.clone().requires_grad_()
    gramian = gradients.double() @ gradients.double().T
    (weight_T,) = torch.autograd.grad(balance(loss_T, lambda: gramian), loss_T)
    return weight_T


def step_of(balance: Balancing, gradients: Tensor) -> Tensor:
    """The gradient of the followed scalar where the tasks' losses are linear in a vector that they share."""
    vector = nn.Parameter(torch.zeros(gradients.shape[1]))
    shared = SharedGradients(tasks=len(gradients), tables=[], dense=[vector])
    loss_T = gradients @ vector + 1
    balance(loss_T, partial(shared, loss_T)).backward()
    assert vector.grad is not None
    return vector.grad


def random_gradients(count: int, seed: int) -> Tensor:
    return torch.randn(count, 7, generator=torch.Generator().manual_seed(seed))


def test_every_balancing_is_found():
    assert set(NAMES) == OF_GRAMIAN | OF_LOSSES | {"gradnorm"}
    assert len(NAMES) == 14


# What the papers ask for, in numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pcgrad", [1 + 1, 0.5 + 1]),  # g1 + g2 / 2 stands at right angles to g2, g2 + g1 to g1
        ("mgda", [3 / 5, 2 / 5]),  # the foot of the perpendicular on the line from g1 to g2
        ("imtl", [math.sqrt(2) / (1 + math.sqrt(2)), 1 / (1 + math.sqrt(2))]),  # in proportion to 1 / length
        ("gradvac", [1 + 1, 0.5 + 1]),  # at first the usual angle is a right one: PCGrad
        ("upgrad", [(1 + 1) / 2, (0.5 + 1) / 2]),  # both projections lie in the cone: half of PCGrad's sum
    ],
)
def test_two_conflicting_gradients_by_hand(name: str, expected: list[float]):
    torch.testing.assert_close(weights_of(balancing(name), CONFLICT), torch.tensor(expected), rtol=1e-3, atol=0)


def test_cagrad_by_a_search_on_the_line():
    """w minimises g_w . g_0 + c |g_0| |g_w|; the step is g_0 + c |g_0| g_w / |g_w|."""
    g = CONFLICT.double().numpy()
    mean = g.mean(axis=0)
    radius = 0.4 * np.linalg.norm(mean)

    def worst(share: float) -> float:
        mixed = share * g[0] + (1 - share) * g[1]
        return float(mixed @ mean + radius * np.linalg.norm(mixed))

    share = minimize_scalar(worst, bounds=(0, 1), method="bounded", options={"xatol": 1e-10}).x
    mixed = share * g[0] + (1 - share) * g[1]
    expected = 0.5 + radius / np.linalg.norm(mixed) * np.array([share, 1 - share])
    found = weights_of(balancing("cagrad"), CONFLICT)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-4, atol=0)


def test_aligned_gradients_are_orthogonal_and_of_the_least_singular_value():
    gramian = (CONFLICT @ CONFLICT.T).double().numpy()
    expected = math.sqrt((3 - math.sqrt(5)) / 2) * fractional_matrix_power(gramian, -0.5) @ [0.5, 0.5]
    found = weights_of(balancing("aligned"), CONFLICT)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-5, atol=0)


def test_a_bargain_gives_every_task_the_same_relative_gain():
    """G w = 1 / w: each task's gain times its weight is 1, before the step is cut to the norm asked for."""
    for seed in range(3):
        gradients = random_gradients(3, seed)
        weight_T = weights_of(balancing("nash", 3), gradients)
        gain_T = weight_T * (gradients @ gradients.T @ weight_T)
        torch.testing.assert_close(gain_T, gain_T.mean().expand(3), rtol=0.02, atol=0)
        assert (gradients.T @ weight_T).norm().item() == pytest.approx(1.0, rel=1e-4)


def test_gradients_that_agree_are_left_alone():
    agree = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    for name in ("pcgrad", "gradvac"):
        torch.testing.assert_close(weights_of(balancing(name), agree), torch.ones(2))
    torch.testing.assert_close(weights_of(balancing("upgrad"), agree), torch.full((2,), 0.5), rtol=1e-3, atol=0)


def test_uncertainty_weighs_by_the_learnt_noise():
    balance = Uncertainty(tasks=tasks(2), lr=0.01)
    loss_T = torch.tensor([0.5, 0.25], requires_grad=True)
    total = balance(loss_T, no_gramian)
    assert total.item() == pytest.approx(0.75)
    # d/ds = 1/2 - loss: nothing for the first, 1/4 for the second, which Adam makes a step of lr.
    torch.testing.assert_close(balance.log_variance.value.detach(), torch.tensor([0.0, -0.01]))
    for _ in range(3000):
        balance(loss_T, no_gramian)
    torch.testing.assert_close(balance.log_variance.value.exp().detach(), torch.tensor([1.0, 0.5]), rtol=1e-3, atol=0)
    # TorchJD has the form for regression, half of the loss: with twice the loss it is ours.
    peer = scalarization.UW(2)
    peer.log_var.data.copy_(balance.log_variance.value)
    torch.testing.assert_close(balance(loss_T, no_gramian), peer(2 * loss_T), rtol=1e-6, atol=0)


def test_dwa_by_hand_and_beside_torchjd():
    balance, peer = DynamicWeightAverage(tasks=tasks(2), temperature=2.0), scalarization.DWA(2.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        for _ in range(3):
            loss_T = 0.1 + torch.rand(2, generator=generator)
            torch.testing.assert_close(balance(loss_T, no_gramian), peer(loss_T))
        balance.after_epoch()
        peer.step()
    by_hand = DynamicWeightAverage(tasks=tasks(2), temperature=2.0)
    for losses in ([1.0, 1.0], [0.5, 1.0]):
        torch.testing.assert_close(by_hand.weights(), torch.ones(2, dtype=torch.float64))
        by_hand(torch.tensor(losses), no_gramian)
        by_hand.after_epoch()
    share = math.exp(0.25) / (math.exp(0.25) + math.exp(0.5))
    torch.testing.assert_close(by_hand.weights(), 2 * torch.tensor([share, 1 - share], dtype=torch.float64))


def test_famo_beside_torchjd():
    balance, peer = FAMO(tasks=tasks(3), lr=0.025, weight_decay=0.001), scalarization.FAMO(3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        before_T, after_T = (0.1 + torch.rand(2, 3, generator=generator)).unbind(0)
        ours, theirs = before_T.clone().requires_grad_(), before_T.clone().requires_grad_()
        balance(ours, no_gramian).backward()
        peer(theirs).backward()
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad)
        assert ours.grad.sum().item() == pytest.approx(1)
        balance.after_step(lambda after_T=after_T: after_T)
        peer.update(after_T)
        torch.testing.assert_close(balance.logits.value, peer._w)
    assert balance.logits.value.abs().max() > 0.01


def test_famo_leaves_out_a_task_whose_loss_has_vanished():
    balance = FAMO(tasks=tasks(2), lr=0.1, weight_decay=0.0)
    balance(torch.tensor([0.5, 0.5], requires_grad=True), no_gramian)
    balance.after_step(lambda: torch.tensor([0.25, 0.0]))
    # Logarithms fell by log 2 and, where there is no logarithm, by nothing; Adam's first step is its rate.
    torch.testing.assert_close(balance.logits.value.detach(), torch.tensor([-0.1, 0.1]).to(balance.logits.value.dtype))


def test_gradnorm_by_hand():
    balance = GradNorm(tasks=tasks(2), asymmetry=0.0, lr=0.1)
    gradients = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    # The weights of a step are those from before it; norms 3 and 1 are to meet at 2: one falls by lr, one rises.
    torch.testing.assert_close(weights_of(balance, gradients), torch.ones(2))
    torch.testing.assert_close(balance.weights.value.detach(), torch.tensor([0.9, 1.1]))
    for _ in range(300):
        weights_of(balance, gradients)
    torch.testing.assert_close(balance.weights.value.detach(), torch.tensor([0.5, 1.5]), rtol=0, atol=0.05)


def test_gradnorm_follows_the_derivative_of_its_loss_and_favours_the_slow():
    balance = GradNorm(tasks=tasks(2), asymmetry=1.5, lr=0.0)
    # The first norm stands between the targets of asymmetry 1 and 1.5, so that the exponent decides a sign.
    gradients, seen = torch.tensor([[0.33, 0.0], [0.0, 1.67]]), []
    balance.weights.descend = seen.append  # pyright: ignore[reportAttributeAccessIssue]
    weights_of(balance, gradients, [1.0, 1.0])
    weights_of(balance, gradients, [0.2, 0.8])  # the second has come a shorter way
    w_T, norm_T = torch.ones(2, requires_grad=True), torch.tensor([0.33, 1.67])
    rate_T = torch.tensor([0.2, 0.8]) / 0.5
    distance = (w_T * norm_T - (w_T * norm_T).mean().detach() * rate_T**1.5).abs().sum()
    (expected,) = torch.autograd.grad(distance, w_T)
    torch.testing.assert_close(seen[1], expected)
    slow = GradNorm(tasks=tasks(2), asymmetry=1.5, lr=0.1)
    for losses in [[1.0, 1.0], *[[0.2, 0.8]] * 50]:
        weights_of(slow, torch.eye(2), losses)
    assert slow.weights.value[1] > 1.3


# TorchJD on the dense matrix of gradients --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_the_step_is_what_torchjd_makes_of_all_gradients(name: str, count: int):
    ours, peer = balancing(name, count), AGGREGATORS[name]()
    for seed in range(4):  # what remembers must remember alike
        gradients = random_gradients(count, seed)
        torch.manual_seed(seed)
        expected = peer(gradients)
        torch.manual_seed(seed)
        near = 2e-3 if name == "mgda" else 1e-4  # Frank-Wolfe approaches slowly what ours finds at once
        torch.testing.assert_close(step_of(ours, gradients), expected, rtol=1e-3, atol=near)


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem that is not DPP")
@pytest.mark.parametrize("count", [2, 3])
def test_nash_is_torchjds_though_it_sees_the_gramian_alone(count: int):
    ours, peer = balancing("nash", count), aggregation.NashMTL(n_tasks=count, max_norm=1.0, optim_niter=20)
    for seed in range(4):
        gradients = random_gradients(count, seed)
        torch.testing.assert_close(step_of(ours, gradients), peer(gradients), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", sorted(OF_GRAMIAN - {"nash"}))
def test_short_gradients_are_balanced_as_long_ones(name: str):
    """TorchJD itself takes the first for zero: CAGrad would stop there."""
    gradients = random_gradients(3, 1)
    found = []
    for scale in (1.0, 1e-5):
        torch.manual_seed(0)  # PCGrad draws an order of the tasks
        found.append(weights_of(balancing(name, 3), scale * gradients))
    long, short = found
    torch.testing.assert_close(short, long, rtol=1e-3, atol=1e-4)


def test_without_scaling_short_gradients_are_nothing_to_cagrad():
    """Why the Gramian is scaled."""
    weighting = aggregation.CAGradWeighting(c=0.4)
    bare = GramianWeights(tasks=tasks(3), weighting=weighting, scaled=False)
    assert (weights_of(bare, 1e-5 * random_gradients(3, 1)) == 0).all()


@pytest.mark.parametrize("name", ["imtl", "nash"])
def test_the_scale_of_one_loss_does_not_turn_the_step(name: str):
    gradients = random_gradients(3, 2)
    scaled = gradients * torch.tensor([[1.0], [30.0], [0.1]])
    steps = [nn.functional.normalize(step_of(balancing(name, 3), g), dim=0) for g in (gradients, scaled)]
    torch.testing.assert_close(steps[0], steps[1], rtol=0, atol=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_what_steps_promise(seed: int):
    gradients = random_gradients(3, seed)
    imtl = step_of(balancing("imtl", 3), gradients)
    along = nn.functional.normalize(gradients, dim=1) @ imtl
    torch.testing.assert_close(along, along.mean().expand(3), rtol=1e-3, atol=1e-4)
    assert (gradients @ step_of(balancing("upgrad", 3), gradients) > -1e-3).all(), "no task is harmed"
    shortest = step_of(balancing("mgda", 3), gradients)
    assert (gradients @ shortest > (1 - 0.1) * shortest.square().sum()).all(), "all gain, as the shortest vector says"


# Batches that observe no label of a task ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(OF_GRAMIAN))
def test_a_task_without_gradient_leaves_the_weights_as_they_were(name: str):
    balance, gradients = balancing(name), random_gradients(2, 3)
    missing = gradients * torch.tensor([[1.0], [0.0]])
    torch.testing.assert_close(weights_of(balance, missing), torch.ones(2))
    first = weights_of(balance, gradients)
    torch.testing.assert_close(weights_of(balance, missing), first)


def test_a_task_without_loss_does_not_stop_the_others():
    balances = [balancing(name) for name in ("gradnorm", *sorted(OF_LOSSES))]
    for balance in balances:
        missing = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        weight_T = weights_of(balance, missing, [0.7, 0.0])
        if isinstance(balance, AfterStep):
            balance.after_step(lambda: torch.tensor([0.6, 0.0]))
        if isinstance(balance, AfterEpoch):
            balance.after_epoch()
        assert weight_T[0] >= 0.5
        assert weights_of(balance, CONFLICT, [0.6, 0.3]).isfinite().all()


def test_a_gradient_that_is_not_finite_is_not_for_a_solver():
    for name in sorted(OF_GRAMIAN):
        assert weights_of(balancing(name), torch.tensor([[1.0, math.nan], [1.0, 1.0]])).tolist() == [1, 1]


# Steps of real models ----------------------------------------------------------------------------------------------

SETTINGS = Settings(
    epochs=1, batch_size=31, evaluation_batch_size=31, patience=None, select="auc", precision="fp32", compile=False,
    clip=None, log_steps=1, checkpoint_minutes=60,
)  # fmt: skip


def mmoe(schema: Schema) -> nn.Module:
    return MMoE(schema, embedding_width=4, experts=3, expert_layers=[8], tower_layers=[5], dropout=0.2)


def single(schema: Schema) -> nn.Module:
    return SingleTask(schema, network=partial(DNN, embedding_width=4, layers=[8]))


class Run:
    """A model under a balancing, step by step."""

    def __init__(self, name: str, model: nn.Module, count: int, settings: Settings = SETTINGS) -> None:
        self.model, self.balance = model.train(), balancing(name, count)
        self.optimizers = build_optimizers(
            model, embedding=LazyAdam, dense=partial(torch.optim.Adam, lr=0.01), gate=None, sparse=True
        )
        groups = parameter_groups(model)
        self.shared = SharedGradients(tasks=count, tables=groups["embedding"], dense=groups["gate"] + groups["dense"])
        self.step = Step(
            model=model,
            compiled=torch.compile(model, dynamic=False) if settings.compile else model,
            optimizers=self.optimizers,
            objective=Objective(losses=TaskLosses(pos_weight=None, given=()), balance=self.balance),
            shared=self.shared,
            penalties=penalties_of(model),
            settings=settings,
        )

    def steps(self, first: int, last: int, schema: Schema) -> list[list[float]]:
        terms = []
        for number in range(first, last):
            terms.append(self.step(random_batch(schema, 31, seed=number), compare=False)[0].tolist())
            if isinstance(self.balance, AfterEpoch):  # epochs of one step
                self.balance.after_epoch()
        return terms

    def state(self) -> dict[str, object]:
        return {
            "identity": "toy",
            "model": self.model.state_dict(),
            "balancing": self.balance.state_dict(),
            "shared": self.shared.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": torch.get_rng_state(),
        }

    def resume(self, path: Path) -> None:
        state = checkpoint.load(path, identity="toy")
        for name in ("model", "balancing", "shared"):
            getattr(self, name if name != "balancing" else "balance").load_state_dict(state[name])
        for optimizer, content in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        torch.set_rng_state(state["random"])


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_balancing_trains_and_resumes_to_the_bit(name: str, count: int, tmp_path: Path):
    if (name, count) == ("fixed", 3):
        pytest.skip("configured with two weights")
    schema = plain_schema(tasks=count)
    torch.manual_seed(0)
    run = Run(name, mmoe(schema), count)
    start = [p.detach().clone() for p in run.model.parameters()]
    run.steps(0, 3, schema)
    checkpoint.save(tmp_path / "state.pt", run.state())
    whole = run.steps(3, 6, schema)
    assert all((p != q).any() for p, q in zip(run.model.parameters(), start, strict=True))
    torch.manual_seed(1)
    again = Run(name, mmoe(schema), count)
    again.resume(tmp_path / "state.pt")
    assert again.steps(3, 6, schema) == whole
    assert all(torch.equal(p, q) for p, q in zip(run.model.parameters(), again.model.parameters(), strict=True))


def test_balancings_that_remember_would_differ_if_they_forgot(tmp_path: Path):
    """Without its state the resumed run is another one: the test above is able to fail."""
    schema = plain_schema()
    for name in ("uncertainty", "dwa", "gradnorm", "famo", "gradvac"):
        torch.manual_seed(0)
        run = Run(name, mmoe(schema), 2)
        run.steps(0, 3, schema)
        fresh = balancing(name).state_dict()
        checkpoint.save(tmp_path / "state.pt", {**run.state(), "balancing": fresh})
        whole = run.steps(3, 6, schema)
        again = Run(name, mmoe(schema), 2)
        again.resume(tmp_path / "state.pt")
        assert again.steps(3, 6, schema) != whole, name


@pytest.mark.parametrize("name", NAMES)
def test_tasks_that_share_nothing_are_refused_by_what_compares_gradients(name: str):
    schema = plain_schema()
    run = Run(name, single(schema), 2)
    if name in OF_LOSSES:
        assert all(math.isfinite(term) for terms in run.steps(0, 2, schema) for term in terms)
    else:
        with pytest.raises(ValueError, match="no two tasks share any parameter"):
            run.steps(0, 1, schema)


@pytest.mark.parametrize("name", NAMES)
def test_one_task_alone(name: str):
    """What weighs losses goes on (with weight 1, but for that of the noise); what compares gradients has nothing to."""
    if name == "fixed":
        pytest.skip("configured with two weights")
    schema = plain_schema(tasks=1)
    run = Run(name, mmoe(schema), 1)
    if name in OF_LOSSES:
        weights = [weight for _, weight in run.steps(0, 3, schema)]
        assert weights == pytest.approx([1, 1, 1], rel=0.01 if name == "uncertainty" else 1e-6)
    else:
        with pytest.raises(ValueError, match="no two tasks share any parameter"):
            run.steps(0, 1, schema)


@pytest.mark.parametrize("virtual_gradient", ["none", "add_sqrt"])
def test_equal_weights_under_a_gramian_are_the_plain_sum(virtual_gradient: str):
    """A weighting of ones gives the run of `equal`, bit for bit: probing changes nothing, whatever bends gates."""
    schema = plain_schema()
    states = []
    for gramian in (False, True):
        torch.manual_seed(0)
        bend = compose([f"virtual_gradient={virtual_gradient}"]).virtual_gradient
        model = MMoE(
            schema,
            embedding_width=4,
            experts=3,
            expert_layers=[8],
            tower_layers=[5],
            virtual_gradient=None if bend._target_ is None else build(bend, "virtual_gradient")(),
        )
        run = Run("equal", model, 2)
        if gramian:
            ones = GramianWeights(tasks=tasks(2), weighting=lambda g: torch.ones(len(g), dtype=g.dtype))
            run.step = Step(
                **{
                    **{name: getattr(run.step, name) for name in run.step.__dataclass_fields__},
                    "objective": Objective(losses=run.step.objective.losses, balance=ones),
                }
            )
        run.steps(0, 4, schema)
        states.append([p.detach().clone() for p in run.model.parameters()])
    assert all(torch.equal(p, q) for p, q in zip(*states, strict=True))


@pytest.mark.parametrize("name", ["pcgrad", "gradnorm", "famo"])
def test_bf16(name: str):
    schema = plain_schema()
    found = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        found.append(Run(name, mmoe(schema), 2, replace(SETTINGS, precision=precision)).steps(0, 4, schema))
    assert torch.tensor(found[1]).sub(torch.tensor(found[0])).abs().max() < 0.05


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # inductor imports one
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.long
@pytest.mark.parametrize("name", ["pcgrad", "gradnorm", "famo"])
def test_compiled_is_eager(name: str):
    schema = plain_schema()
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = mmoe(schema)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # a compiled graph draws other numbers
        found.append(Run(name, model, 2, replace(SETTINGS, compile=compiled)).steps(0, 4, schema))
    torch.testing.assert_close(torch.tensor(found[1]), torch.tensor(found[0]), rtol=1e-4, atol=1e-5)


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(DynamicWeightAverage, temperature=0.0), r"balancing.temperature is 0.0; allowed: above 0"),
        (partial(GradNorm, asymmetry=-1.0, lr=0.1), r"balancing.asymmetry is -1.0"),
        (partial(GradNorm, asymmetry=1.0, lr=-0.1), r"balancing.lr is -0.1; allowed: 0 or more"),
        (partial(FAMO, lr=0.1, weight_decay=math.inf), r"balancing.weight_decay is inf"),
        (partial(Uncertainty, lr=math.nan), r"balancing.lr is nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: partial[Balancing], message: str):
    with pytest.raises(ValueError, match=message):
        make(tasks=tasks(2))


def test_a_missing_torchjd_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    target = OmegaConf.select(configured("pcgrad"), "weighting._target_")  # pyright: ignore[reportArgumentType]
    assert import_object(target, "balancing.weighting") is aggregation.PCGradWeighting
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(ConfigError, match=r"needs torchjd.aggregation: pip install 'mtlbench\[balancing\]'"):
        import_object(target, "balancing.weighting")
