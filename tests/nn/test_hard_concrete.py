"""Hard concrete gates: what is known of them in closed form, their noise, and what it costs to be open."""

import pytest
import torch

from mtlbench.nn.hard_concrete import HardConcrete


def gates(*log_alpha: float, copies: int = 1, **changes: object) -> HardConcrete:
    torch.manual_seed(0)
    block = HardConcrete((len(log_alpha), copies), **changes)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        block.log_alpha.copy_(torch.tensor(log_alpha)[:, None].expand(-1, copies))
    return block


def test_without_noise():
    block = gates(0.0, -2.399, -2.397, 2.397, 2.399).eval()
    z = block().detach()[:, 0]
    assert z[0] == pytest.approx(0.5)
    assert z[1] == 0 < z[2]
    assert z[3] < 1 == z[4]
    assert torch.equal(block(), block())
    # sigmoid(ln 3) = 3/4, stretched: 3/4 * 1.2 - 0.1; the temperature has no part in it
    torch.testing.assert_close(gates(torch.tensor(3.0).log().item(), temperature=0.1).eval()(), torch.tensor([[0.8]]))


def test_noise_is_drawn_each_time():
    block = gates(0.0, copies=1000)
    first, second = block(), block()
    assert (first != second).float().mean() > 0.9
    assert first.min() == 0
    assert first.max() == 1


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.5])
def test_probabilities_in_closed_form(log_alpha: float):
    block = gates(log_alpha, copies=200_000)
    z = block()
    open_probability = block.open_probability()[0, 0].item()
    assert (z > 0).float().mean().item() == pytest.approx(open_probability, abs=0.005)
    if log_alpha == 0:
        assert open_probability == pytest.approx(0.832, abs=5e-4)
        assert (z == 1).float().mean().item() == pytest.approx(0.168, abs=0.005)
        assert z.mean().item() == pytest.approx(0.5, abs=0.005)


def test_noise_of_one_gate_by_hand():
    block = gates(0.4)
    torch.manual_seed(3)
    z = block()
    torch.manual_seed(3)
    u = torch.empty(1, 1).uniform_(1e-6, 1 - 1e-6)
    s = ((u.log() - (1 - u).log() + 0.4) * 3 / 2).sigmoid()  # the noise stands within the temperature
    torch.testing.assert_close(z, (s * 1.2 - 0.1).clamp(0, 1))


def test_the_penalty_is_a_sum_and_closes_gates():
    block = gates(0.0, 1.0, -1.0, weight=0.5)
    assert block.penalty().item() == pytest.approx(0.5 * block.open_probability().sum().item())
    assert gates(0.0, 1.0, -1.0, weight=0.5, reduce="mean").penalty().item() == pytest.approx(
        0.5 * block.open_probability().mean().item()
    )
    block.penalty().backward()
    assert block.log_alpha.grad is not None
    assert (block.log_alpha.grad > 0).all(), "descent moves log_alpha down"


def test_noise_teaches_every_gate():
    block = HardConcrete((500,))
    sum(block().sum() for _ in range(20)).backward()
    assert block.log_alpha.grad is not None
    assert (block.log_alpha.grad > 0).all()


def test_initial_values_follow_the_drop_probability():
    torch.manual_seed(0)
    log_alpha = HardConcrete((5000,), drop=0.2).log_alpha
    assert log_alpha.mean().item() == pytest.approx(torch.tensor(4.0).log().item(), abs=1e-3)
    assert log_alpha.std().item() == pytest.approx(0.01, rel=0.05)


def test_gates_can_be_held():
    assert torch.equal(gates(-9.0, force="ones")(), torch.ones(1, 1))
    assert torch.equal(gates(9.0, force="zeros")(), torch.zeros(1, 1))
    assert gates(9.0, force="ones").penalty() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "gate_temperature is 0"),
        ({"low": 0.0}, "gate_low is 0"),
        ({"high": 1.0}, "gate_high is 1"),
        ({"drop": 1.0}, "gate_drop is 1"),
        ({"weight": -1.0}, "sparsity_weight is -1"),
        ({"reduce": "max"}, "gate_reduce is 'max'; allowed: sum, mean"),
        ({"force": "twos"}, "gate_force is 'twos'; allowed: ones, zeros, or null"),
    ],
)
def test_refusals(changes: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        gates(0.0, **changes)
