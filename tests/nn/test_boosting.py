"""Boosting experts: chains of networks."""

import pytest
import torch
from torch import nn

from mtlbench.nn.boosting import BoostingExperts
from mtlbench.nn.stacked import StackedMLP

X = torch.randn(1, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def boosting(experts: int = 3, link: str = "last", detach: bool = False) -> BoostingExperts:
    torch.manual_seed(0)
    return BoostingExperts(experts, 5, (4, 3), link=link, detach=detach).double()


@pytest.mark.parametrize("link", ["last", "all"])
def test_experts_are_a_loop(link: str):
    block = boosting(link=link)
    said: list[torch.Tensor] = []
    for expert in block.experts:
        h_BH = torch.cat([X[0], *(said if link == "all" else said[-1:])], dim=1)
        for layer in expert.layers:
            h_BH = torch.relu(h_BH @ layer.weight[0] + layer.bias[0])
        said.append(h_BH)
    torch.testing.assert_close(block(X), torch.stack(said))


def test_without_links_they_are_experts_side_by_side():
    block = boosting()
    stack = StackedMLP(3, 5, (4, 3)).double()
    with torch.no_grad():
        for place, expert in enumerate(block.experts):
            first, second = expert.layers
            first.weight[:, 5:].zero_()
            stack.layers[0].weight[place] = first.weight[0, :5]
            stack.layers[1].weight[place] = second.weight[0]
    torch.testing.assert_close(block(X), stack(X))


@pytest.mark.parametrize("link", ["last", "all"])
def test_an_expert_learns_from_those_behind_it_unless_detached(link: str):
    for detach in (False, True):
        block = boosting(link=link, detach=detach)
        block(X)[2].sum().backward()
        reached = [any(p.grad is not None and p.grad.count_nonzero() for p in e.parameters()) for e in block.experts]
        assert reached == ([False, False, True] if detach else [True, True, True])


def test_detaching_changes_no_output():
    assert torch.equal(boosting()(X), boosting(detach=True)(X))


def test_one_expert_reads_the_input_alone():
    block, stack = boosting(1), StackedMLP(1, 5, (4, 3)).double()
    stack.load_state_dict({name.removeprefix("experts.0."): value for name, value in block.state_dict().items()})
    torch.testing.assert_close(block(X), stack(X))


def test_parameter_counts():
    def count(block: nn.Module) -> int:
        return sum(p.numel() for p in block.parameters())

    assert count(boosting()) == (5 * 4 + 4 + 4 * 3 + 3) + 2 * (8 * 4 + 4 + 4 * 3 + 3)
    assert count(boosting(link="all")) == count(boosting()) + 3 * 4


def test_gradients():
    assert torch.autograd.gradcheck(boosting(link="all"), X[:, :3].clone().requires_grad_())


def test_an_unknown_link_is_refused():
    with pytest.raises(ValueError, match="boost is 'first'; allowed: last, all, or none"):
        boosting(link="first")
