"""Stacked networks are loops over networks."""

import pytest
import torch
from torch import nn

from mtlbench.nn.stacked import MLP, StackedLinear, StackedMLP, Towers


def test_hand_numbers():
    linear = StackedLinear(2, 3, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[[1.0], [1.0], [1.0]], [[1.0], [0.0], [-1.0]]]))
        assert linear.bias is not None
        linear.bias.copy_(torch.tensor([[0.5], [10.0]]))
    x_1BI = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]]])
    assert linear(x_1BI)[..., 0].tolist() == [[6.5, 16.5], [8.0, 7.0]]


@pytest.mark.parametrize("readers", [1, 5], ids=["one input for all", "an input for each"])
def test_a_stack_is_a_loop(readers: int):
    stack = StackedMLP(5, 7, (3, 2), last_activation="none").double()
    x_EBI = torch.randn(readers, 11, 7, dtype=torch.float64)
    for expert in range(5):
        loop = nn.Sequential(nn.Linear(7, 3), nn.ReLU(), nn.Linear(3, 2)).double()
        for place, linear in ((0, stack.layers[0]), (2, stack.layers[1])):
            loop[place].load_state_dict({"weight": linear.weight[expert].T, "bias": linear.bias[expert]})
        torch.testing.assert_close(stack(x_EBI)[expert], loop(x_EBI[expert % readers]))


def test_gradients():
    stack = StackedMLP(2, 3, (5, 2)).double()
    towers = Towers(2, 2, ()).double()
    x_1BI = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: towers(stack(x)), x_1BI)


def test_activations_stand_behind_the_layers_that_ask_for_them():
    names = [
        type(activation).__name__ for activation in StackedMLP(1, 3, (2, 2, 2), last_activation="none").activations
    ]
    assert names == ["ReLU", "ReLU", "Identity"]
    x_1BI = torch.randn(1, 101, 3)
    assert StackedMLP(1, 3, (5,))(x_1BI).min() == 0
    assert StackedMLP(1, 3, (5,), last_activation="none")(x_1BI).min() < 0


def test_no_layers_are_the_identity():
    x_BI = torch.randn(5, 3)
    assert torch.equal(MLP(3, ())(x_BI), x_BI)
    assert MLP(3, ()).width == 3
    assert not list(MLP(3, ()).parameters())


def test_one_stack_is_a_perceptron():
    single, stack = MLP(3, (5, 2)), StackedMLP(1, 3, (5, 2))
    single.stack.load_state_dict(stack.state_dict())
    x_BI = torch.randn(7, 3)
    torch.testing.assert_close(single(x_BI), stack(x_BI[None])[0])


def test_towers_are_heads_of_their_own():
    towers = Towers(2, 3, ())
    x_TBI = torch.randn(2, 5, 3)
    assert towers.head.bias is not None
    with torch.no_grad():
        towers.head.bias.copy_(torch.tensor([[1.0], [2.0]]))
    expected = torch.stack([x_TBI[t] @ towers.head.weight[t, :, 0] + 1 + t for t in range(2)], dim=1)
    torch.testing.assert_close(towers(x_TBI), expected)
    assert Towers(2, 3, (), bias=False).head.bias is None


@pytest.mark.parametrize("layers", [(), (4,)], ids=["no hidden layers", "a hidden layer"])
def test_a_scale_of_each_task_multiplies_its_input(layers: tuple[int, ...]):
    towers, x_BI, scale_TI = Towers(3, 5, layers), torch.randn(7, 5), torch.rand(3, 5)
    with torch.no_grad():
        assert towers.head.bias is not None
        towers.head.bias.normal_()
    torch.testing.assert_close(towers.scaled(x_BI, scale_TI), towers(scale_TI[:, None] * x_BI))


def test_logits_of_a_scaled_input_are_not_rounded_to_bfloat16():
    towers, x_BI, scale_TI = Towers(2, 64, ()), torch.randn(9, 64), torch.rand(2, 64)
    exact_BT = towers.scaled(x_BI, scale_TI)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(towers.scaled(x_BI, scale_TI), exact_BT)


def test_logits_are_not_rounded_to_bfloat16():
    towers = Towers(1, 64, (8,))
    x_1BI = torch.randn(1, 4096, 64)
    with torch.autocast("cpu", torch.bfloat16):
        logits = towers(x_1BI)
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 4000  # of 4,096 rows; rounded to eight bits, fewer than 1,000 values would be left


def test_initial_values_are_xavier_for_each_map_by_itself():
    linear = StackedLinear(100, 30, 10)
    bound = (6 / 40) ** 0.5
    assert linear.weight.abs().max() <= bound
    assert linear.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert linear.bias is not None
    assert not linear.bias.count_nonzero()


def test_dropout_acts_in_training_alone():
    stack = StackedMLP(1, 50, (50,), dropout=0.5)
    x_1BI = torch.randn(1, 100, 50)
    open_units = stack.eval()(x_1BI).count_nonzero()
    assert stack.train()(x_1BI).count_nonzero() / open_units == pytest.approx(0.5, abs=0.05)


def test_refusals():
    with pytest.raises(ValueError, match="outputs of a stacked linear map is 0; allowed: 1 or more"):
        StackedLinear(1, 3, 0)
    with pytest.raises(ValueError, match=r"widths \[3, 0\] is 0; allowed: 1 or more"):
        StackedMLP(1, 3, (3, 0))
    with pytest.raises(ValueError, match=r"dropout is 1\.0"):
        StackedMLP(1, 3, (3,), dropout=1.0)
    with pytest.raises(ValueError, match="activation is 'swish'; allowed: relu, none"):
        StackedMLP(1, 3, (3,), activation="swish")  # pyright: ignore[reportArgumentType]
