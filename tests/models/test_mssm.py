"""MSSM, its variants and SNR: counts, which variant is which, isolation of tasks, penalties."""

from typing import Any

import pytest
import torch

from mtlbench.models.mssm import MSSM
from mtlbench.nn.stacked import StackedLinear
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
BATCH = random_batch(FIXTURE, 17)
MASKED: dict[str, Any] = {}
A: dict[str, Any] = {"field_masks": "none"}
B: dict[str, Any] = {"gate_axis": "link", "topology": "full"}
SNR_TRANS: dict[str, Any] = A | B | {"subnetworks": 3}
SNR_AVER: dict[str, Any] = SNR_TRANS | {"transform": False}


def mssm(tasks: int = 2, **changes: Any) -> MSSM:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "subnetwork_layers": (8,), "tower_layers": (8,)} | changes
    return MSSM(plain_schema(tasks=tasks), **arguments)


@pytest.mark.parametrize(
    ("variant", "count"),
    [(MASKED, 1122), (A, 1050), (B, 1224), (A | B, 1152), (SNR_TRANS, 1152), (SNR_AVER, 768)],
    ids=["MSSM", "MSSM-a", "MSSM-b", "MSSM-Basic", "SNR-Trans", "SNR-Aver"],
)
def test_parameter_counts(variant: dict[str, Any], count: int):
    assert sum(p.numel() for name, p in mssm(**variant).named_parameters() if "embedding" not in name) == count


def test_basic_is_snr_trans():
    basic, snr = mssm(**A, **B), mssm(**SNR_TRANS)
    snr.load_state_dict(basic.state_dict())
    logits = []
    for model in (basic, snr):
        torch.manual_seed(1)
        logits.append(model(BATCH))
    assert torch.equal(*logits)
    assert torch.equal(basic.routing.gates.penalty(), snr.routing.gates.penalty())


def test_tied_cells_are_one_gate():
    """MSSM-a of full topology, all cells of a link in step, is SNR-Trans."""
    cells, links = mssm(**A, topology="full").eval(), mssm(**SNR_TRANS).eval()
    with torch.no_grad():
        links.routing.gates.log_alpha.normal_()
    state = links.state_dict()
    state["routing.gates.log_alpha"] = state["routing.gates.log_alpha"].expand(-1, -1, -1, 8)
    cells.load_state_dict(state)
    torch.testing.assert_close(cells(BATCH), links(BATCH))


@pytest.mark.parametrize("masks", ["none", "scalar"])
def test_a_task_does_not_teach_the_subnetwork_of_another(masks: str):
    model = mssm(field_masks=masks)
    model(BATCH)[:, 0].sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    own_and_shared = ["subnetworks.layers.0.weight", *(["masks.weight"] if masks == "scalar" else [])]
    for name in own_and_shared:
        assert [bool(part.count_nonzero()) for part in gradients[name]] == [True, False, True], name
    for name in ("routing.weight", "routing.gates.log_alpha", "towers.head.weight"):
        assert [bool(part.count_nonzero()) for part in gradients[name]] == [True, False], name


def test_without_the_shared_subnetwork_tasks_share_embeddings_alone():
    model = mssm().eval()
    with torch.no_grad():
        model.routing.gates.log_alpha[:, 1] = -9
    before = model(BATCH)
    with torch.no_grad():
        model.subnetworks.layers[0].weight[2] += 1
        model.subnetworks.layers[0].weight[1] += 1
    after = model(BATCH)
    assert torch.equal(after[:, 0], before[:, 0])
    assert not torch.equal(after[:, 1], before[:, 1])


@pytest.mark.parametrize("variant", [MASKED, SNR_TRANS, SNR_AVER], ids=["MSSM", "SNR-Trans", "SNR-Aver"])
def test_closed_gates_leave_the_tower_alone(variant: dict[str, Any]):
    logits = mssm(**variant, gate_force="zeros")(BATCH)
    assert torch.equal(logits, logits[:1].expand_as(logits))


def test_noise_in_training_alone():
    model = mssm()
    assert not torch.equal(model(BATCH), model(BATCH))
    model.eval()
    assert torch.equal(model(BATCH), model(BATCH))


def test_the_shared_subnetwork_may_read_the_fields_as_they_are():
    model = mssm(shared_mask=False)
    x_BFD = model.fields(BATCH)
    seen_SBI = model._seen(x_BFD)
    assert model.masks is not None
    assert model.masks.weight.shape == (2, 6, 4)
    assert torch.equal(seen_SBI[2], x_BFD.flatten(1))
    assert torch.equal(seen_SBI[:2], model.masks(x_BFD))


def test_squares_are_charged_without_biases_gates_masks_and_embeddings():
    model = mssm(weight_penalty=0.5)
    charged = [model.subnetworks.layers[0], model.towers.hidden.layers[0], model.towers.head]
    expected = sum(layer.weight.square().sum() for layer in charged) + model.routing.weight.square().sum()
    torch.testing.assert_close(model.penalty(), 0.5 * expected)
    all_matrices = [m for m in model.modules() if isinstance(m, StackedLinear)]
    assert len(all_matrices) == len(charged)
    assert mssm(weight_penalty=0).penalty() == 0
    with_table = mssm(weight_penalty=0.5, penalise_embeddings=True)
    torch.testing.assert_close(with_table.penalty(), 0.5 * (expected + model.fields.embedding.square().sum()))


def test_open_gates_are_charged():
    """Four links of eight cells, of which 0.83 are open at the start, at 0.01 each."""
    assert mssm().routing.gates.penalty().item() == pytest.approx(0.01 * 4 * 8 * 0.832, rel=0.01)


def test_diagnostics():
    found = mssm().eval().diagnostics(BATCH)
    assert found["gate"].shape == (2, 2, 1, 8)
    assert found["gate_closed"] == 0
    assert found["mask"].shape == found["mask_closed"].shape == (3, 6)
    assert set(mssm(**A).eval().diagnostics(BATCH)) == {"gate", "gate_closed"}


def test_refusals():
    with pytest.raises(ValueError, match="subnetworks is 4 for 2 tasks with field_masks=scalar; allowed: 3"):
        mssm(subnetworks=4)
    with pytest.raises(ValueError, match="allowed with topology=restricted: 3"):
        mssm(subnetworks=4, **A)
    with pytest.raises(ValueError, match="subnetworks is 0"):
        mssm(subnetworks=0)
    with pytest.raises(ValueError, match="subnetwork_layers is empty"):
        mssm(subnetwork_layers=())
    with pytest.raises(ValueError, match="routed_width is 5 with transform=false"):
        mssm(**SNR_AVER, routed_width=5)
    with pytest.raises(ValueError, match="weight_penalty is -1"):
        mssm(weight_penalty=-1)
    model = mssm(penalise_embeddings=True)
    model.fields.sparse = True
    with pytest.raises(ValueError, match="choose a dense optimizer"):
        model.penalty()
