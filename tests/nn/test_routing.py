"""Sparse routing and field masks: loops by hand, the axes of gates, what is closed."""

from functools import partial

import pytest
import torch

from mtlbench.nn.hard_concrete import HardConcrete
from mtlbench.nn.masks import FieldMasks
from mtlbench.nn.routing import GateAxis, RoutedLevel, SparseRouting, Topology

U_SBH = torch.randn(3, 11, 5, generator=torch.Generator().manual_seed(0))


def routing(axis: GateAxis = "link", topology: Topology = "full", outputs: int | None = 7) -> SparseRouting:
    torch.manual_seed(0)
    block = SparseRouting(2, 3, 5, outputs, topology=topology, axis=axis).eval()
    with torch.no_grad():
        block.gates.log_alpha.normal_()
    return block


@pytest.mark.parametrize("axis", ["link", "out", "in", "full"])
@pytest.mark.parametrize("topology", ["full", "restricted"])
def test_routing_is_a_loop(axis: GateAxis, topology: Topology):
    block = routing(axis, topology)
    assert block.weight is not None
    gate = block.gates()
    read = [[0, 1, 2]] * 2 if topology == "full" else [[0, 2], [1, 2]]
    sizes = {"link": (1, 1), "out": (1, 7), "in": (5, 1), "full": (5, 7)}
    assert gate.shape == (2, len(read[0]), *sizes[axis])
    for unit in range(2):
        expected = torch.zeros(11, 7)
        for link, source in enumerate(read[unit]):
            u_BH, m = U_SBH[source], gate[unit, link]
            if axis == "in":
                u_BH, m = u_BH * m[:, 0], torch.ones(1)
            if axis == "full":
                expected += u_BH @ (m * block.weight[unit, link])
            else:
                expected += m.flatten() * (u_BH @ block.weight[unit, link])
        torch.testing.assert_close(block(U_SBH)[unit], expected)


def test_open_gates_make_one_linear_map():
    open_gates = partial(HardConcrete, force="ones")
    block = SparseRouting(2, 3, 5, 7, gates=open_gates)
    assert block.weight is not None
    joined_BI = torch.cat(list(U_SBH), dim=1)
    torch.testing.assert_close(block(U_SBH), torch.stack([joined_BI @ block.weight[i].flatten(0, 1) for i in range(2)]))


def test_one_open_gate_selects_a_subnetwork():
    block = routing(outputs=None)
    chosen = torch.tensor([[False, False, True], [True, False, False]])
    with torch.no_grad():
        block.gates.log_alpha.copy_(torch.where(chosen, 9.0, -9.0)[..., None, None])
    assert torch.equal(block(U_SBH), U_SBH[[2, 0]])


def test_averages():
    block = SparseRouting(2, 3, 5, None, gates=partial(HardConcrete, force="ones"), normalise=True)
    torch.testing.assert_close(block(U_SBH), U_SBH.mean(dim=0).expand(2, -1, -1))
    closed = SparseRouting(2, 3, 5, None, gates=partial(HardConcrete, force="zeros"), normalise=True)
    assert not closed(U_SBH).count_nonzero()


@pytest.mark.parametrize("axis", ["link", "out", "in", "full"])
def test_the_shared_unit_of_a_restricted_level_reads_all(axis: GateAxis):
    def of(units: int, width: int, topology: Topology) -> SparseRouting:
        return SparseRouting(units, 3, width, 7, topology=topology, axis=axis).eval()

    level = RoutedLevel(2, 3, 5, "restricted", of)
    tasks, shared = level.parts
    found = level(U_SBH)
    assert found.shape == (3, 11, 7)
    assert isinstance(tasks, SparseRouting)
    assert isinstance(shared, SparseRouting)
    assert tasks.links.tolist() == [[0, 2], [1, 2]]
    assert shared.links.tolist() == [[0, 1, 2]]
    torch.testing.assert_close(found, torch.cat([tasks(U_SBH), shared(U_SBH)]))
    assert [part.links.tolist() for part in RoutedLevel(2, 3, 5, "full", of).parts] == [[[0, 1, 2]] * 3]  # pyright: ignore[reportCallIssue,reportAttributeAccessIssue]


def test_refusals():
    with pytest.raises(ValueError, match="topology is 'ring'; allowed: full, restricted"):
        routing(topology="ring")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="gate_axis is 'up'; allowed: link, out, in, full"):
        routing("up")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="gate_axis is 'out' with transform=false"):
        routing("out", outputs=None)
    with pytest.raises(ValueError, match="subnetworks is 4 for 2 tasks; allowed with topology=restricted: 3"):
        SparseRouting(2, 4, 5, 7, topology="restricted")
    with pytest.raises(ValueError, match="normalise is true with transform=true"):
        SparseRouting(2, 3, 5, 7, normalise=True)


# --- field masks

X_BFD = torch.randn(11, 3, 5, generator=torch.Generator().manual_seed(1))


def test_masks_by_hand():
    block = FieldMasks(1, 2, 2)
    with torch.no_grad():
        block.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -4.0]]))
    x_BFD = torch.tensor([[[0.5, 0.25], [1.0, 1.0]]])  # scores 1 and -1
    open_part = torch.tensor(1.0).tanh() * x_BFD[0, 0]
    torch.testing.assert_close(block(x_BFD)[0, 0], torch.cat([open_part, torch.zeros(2)]))


@pytest.mark.parametrize("kind", ["scalar", "element", "scalar_weight"])
@pytest.mark.parametrize("bias", [None, 0.3])
def test_masks_are_a_loop(kind: str, bias: float | None):
    block = FieldMasks(2, 3, 5, kind, bias)  # pyright: ignore[reportArgumentType]
    found = block(X_BFD).view(2, 11, 3, 5)
    for reader in range(2):
        for field in range(3):
            x_BD, g = X_BFD[:, field], block.weight[reader, field]
            score = (x_BD @ g)[:, None] if kind == "scalar" else x_BD * g
            expected = (score + (bias or 0)).tanh().relu() * x_BD
            torch.testing.assert_close(found[reader, :, field], expected)


def test_a_closed_field_is_exactly_zero_and_learns_nothing():
    block = FieldMasks(2, 3, 5)
    x_BFD = X_BFD.clone().requires_grad_()
    mask = block.masks(x_BFD)
    assert mask.min() == 0
    assert mask.max() <= 1
    assert 0.2 < (mask == 0).float().mean() < 0.8
    block(x_BFD)[0].sum().backward()
    closed = mask[0, ..., 0] == 0
    assert x_BFD.grad is not None
    assert not x_BFD.grad[closed].count_nonzero()
    assert x_BFD.grad[~closed].count_nonzero()


def test_a_bias_opens_masks():
    torch.manual_seed(0)
    assert FieldMasks(2, 3, 5, bias=5.0).masks(X_BFD).min() > 0.5
    with pytest.raises(ValueError, match="field_masks is 'row'; allowed: scalar, element, scalar_weight, or none"):
        FieldMasks(2, 3, 5, "row")  # pyright: ignore[reportArgumentType]
