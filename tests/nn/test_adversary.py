"""The source discriminator: its loss by hand, which way gradients point, and what training makes of both sides."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.nn.adversary import SourceDiscriminator, reversed_gradient

MAPPED = torch.randn(11, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SOURCE = torch.arange(11) % 3


def discriminator(kind: str = "kway", sources: int = 3, weight: float = 0.5, **changes: Any) -> SourceDiscriminator:
    torch.manual_seed(0)
    return SourceDiscriminator(sources, 4, (5,), kind=kind, weight=weight, **changes).double()


def test_the_reversed_gradient_is_the_identity_to_the_bit():
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(101).to(dtype).requires_grad_()
        found = reversed_gradient(x)
        assert torch.equal(found, x)
        assert x.grad is None
        (3 * found).sum().backward()
        assert (x.grad == -3).all()


def test_the_loss_by_hand():
    block = discriminator()
    block(MAPPED, SOURCE)
    hidden_BH = torch.relu(MAPPED @ block.hidden.layers[0].weight[0])
    p_BK = (hidden_BH @ block.head.weight[0]).softmax(dim=1)
    torch.testing.assert_close(block.penalty(), -0.5 * p_BK[torch.arange(11), SOURCE].log().mean())
    block = discriminator("binary")
    block(MAPPED, SOURCE)
    expected = torch.zeros((), dtype=torch.float64)
    for source in range(3):
        hidden_BH = torch.relu(MAPPED @ block.hidden.layers[0].weight[source])
        p_B = (hidden_BH @ block.head.weight[source]).sigmoid()[:, 0]
        expected -= torch.where(source == SOURCE, p_B, 1 - p_B).log().mean()
    torch.testing.assert_close(block.penalty(), 0.5 * expected)


@pytest.mark.parametrize("kind", ["kway", "binary"])
def test_what_maps_learns_the_opposite_once_weighted(kind: str):
    """The weight acts once on each side: on the discriminator as it is, on the mapping with its sign turned."""
    block, mapped = discriminator(kind), MAPPED.clone().requires_grad_()
    block(mapped, SOURCE)
    block.penalty().backward()
    plain, straight = discriminator(kind), MAPPED.clone().requires_grad_()
    logits = plain.logits(straight)
    if kind == "kway":
        loss = F.cross_entropy(logits, SOURCE)
    else:
        loss = 3 * F.binary_cross_entropy_with_logits(logits, F.one_hot(SOURCE, 3).double())
    loss.backward()
    assert straight.grad is not None
    torch.testing.assert_close(mapped.grad, -0.5 * straight.grad)
    for p, q in zip(block.parameters(), plain.parameters(), strict=True):
        assert q.grad is not None
        torch.testing.assert_close(p.grad, 0.5 * q.grad)


def test_in_turns_each_side_learns_what_it_learns_at_once_and_the_other_nothing():
    """First the discriminator, then the mapping; a pass that only measures is nobody's turn."""
    at_once, mapped = discriminator(), MAPPED.clone().requires_grad_()
    at_once(mapped, SOURCE)
    at_once.penalty().backward()
    assert mapped.grad is not None
    block = discriminator(mode="alternate")
    for turn in range(4):
        with torch.no_grad():
            block(MAPPED, SOURCE)
        other = MAPPED.clone().requires_grad_()
        block.zero_grad()
        block(other, SOURCE)
        block.penalty().backward()
        for p, q in zip(block.parameters(), at_once.parameters(), strict=True):
            assert p.requires_grad
            assert (p.grad is None) == bool(turn % 2)
            assert p.grad is None or torch.equal(p.grad, q.grad)  # pyright: ignore[reportArgumentType]
        assert (other.grad is None) != bool(turn % 2)
        assert other.grad is None or torch.equal(other.grad, mapped.grad)
        resumed = discriminator(mode="alternate")
        resumed.load_state_dict(block.state_dict())
        assert resumed.learns == block.learns == bool(turn % 2)
    assert "learns" not in at_once.state_dict()


def test_one_source_teaches_nothing():
    block, mapped = discriminator(sources=1), MAPPED.clone().requires_grad_()
    block(mapped, torch.zeros(11, dtype=torch.int64))
    penalty = block.penalty()
    penalty.backward()
    assert penalty == 0
    assert mapped.grad is not None
    assert not mapped.grad.count_nonzero()


def test_the_penalty_is_taken_once():
    block = discriminator()
    block(MAPPED, SOURCE)
    block.penalty()
    with pytest.raises(AssertionError, match="taken once"):
        block.penalty()
    with pytest.raises(AssertionError, match="a batch without them"):
        block(MAPPED, None)


def test_accuracy_by_hand():
    block = discriminator()
    block.logits = lambda _: torch.tensor([[1.0, 2, 0], [3, 0, 1], [0, 0, 5]])  # pyright: ignore[reportAttributeAccessIssue]
    assert block.accuracy(MAPPED[:3], torch.tensor([1, 1, 2])).item() == pytest.approx(2 / 3)


def two_sources(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows whose first component tells the source (84 in 100 times), and whose second decides the label."""
    x_BI = torch.randn(256, 2, generator=torch.Generator().manual_seed(seed))
    source_B = torch.arange(256) % 2
    label_B = (x_BI[:, 1] > 0).float()
    x_BI[:, 0] += 2.0 * source_B - 1.0
    return x_BI, source_B, label_B


@pytest.mark.parametrize("kind", ["kway", "binary"])
def test_training_hides_the_source_and_keeps_the_label(kind: str):
    """A mapping that learns against the discriminator leaves it at chance; one that does not, does not.

    Plain gradient steps and a decay of the discriminator's weights, without which both sides circle for ever.
    """
    accuracies, losses = [], []
    for hides in (False, True):
        torch.manual_seed(0)
        mapping, head = nn.Linear(2, 4), nn.Linear(4, 1)
        block = SourceDiscriminator(2, 4, (), kind=kind, weight=1.0)
        mine, adversary = [*mapping.parameters(), *head.parameters()], list(block.parameters())
        optimizer = torch.optim.SGD([{"params": mine}, {"params": adversary, "weight_decay": 0.3}], lr=0.1)
        right: list[float] = []
        for step in range(500):
            x_BI, source_B, label_B = two_sources(step)
            mapped_BI = mapping(x_BI)
            block(mapped_BI if hides else mapped_BI.detach(), source_B)
            loss = F.binary_cross_entropy_with_logits(head(mapped_BI)[:, 0], label_B)
            optimizer.zero_grad()
            (loss + block.penalty()).backward()
            optimizer.step()
            right.append(block.accuracy(mapped_BI, source_B).item())
        accuracies.append(sum(right[-50:]) / 50)
        losses.append(loss.item())
    assert accuracies[0] > 0.8
    assert abs(accuracies[1] - 0.5) < 0.1
    assert max(losses) < 0.1


def test_turns_hide_the_source_without_a_decay():
    """Plain gradient steps, and Adam without momentum; with momentum the discriminator stays at 0.84."""
    for optimizer_of in (partial(torch.optim.SGD, lr=0.1), partial(torch.optim.Adam, lr=0.01, betas=(0.0, 0.999))):
        torch.manual_seed(0)
        mapping, head = nn.Linear(2, 4), nn.Linear(4, 1)
        block = SourceDiscriminator(2, 4, (), weight=1.0, mode="alternate")
        optimizer = optimizer_of([*mapping.parameters(), *head.parameters(), *block.parameters()])
        right: list[float] = []
        for step in range(1000):
            x_BI, source_B, label_B = two_sources(step)
            mapped_BI = mapping(x_BI)
            block(mapped_BI, source_B)
            loss = F.binary_cross_entropy_with_logits(head(mapped_BI)[:, 0], label_B)
            optimizer.zero_grad()
            (loss + block.penalty()).backward()
            optimizer.step()
            right.append(block.accuracy(mapped_BI, source_B).item())
        assert abs(sum(right[-100:]) / 100 - 0.5) < 0.1
        assert loss.item() < 0.1


def test_refusals():
    with pytest.raises(ValueError, match="cognitive_mode is 'gan'; allowed: reversal, alternate"):
        discriminator(mode="gan")
    with pytest.raises(ValueError, match=r"these data do not say: choose data with sources \(dataset=aliccp\)"):
        discriminator(sources=0)
    with pytest.raises(ValueError, match="cognitive is 'gan'; allowed: kway, binary, or none"):
        discriminator("gan")
    with pytest.raises(ValueError, match="cognitive_weight is -1; allowed: 0 or more"):
        discriminator(weight=-1)
