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
    """As the paper prints it: without a bias of the masks."""
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "subnetwork_layers": (8,), "tower_layers": (8,), "mask_bias": None} | changes
    return MSSM(plain_schema(tasks=tasks), **arguments)


@pytest.mark.parametrize(
    ("variant", "count"),
    [(MASKED, 1122), (A, 1050), (B, 1224), (A | B, 1152), (SNR_TRANS, 1152), (SNR_AVER, 768)],
    ids=["MSSM", "MSSM-a", "MSSM-b", "MSSM-Basic", "SNR-Trans", "SNR-Aver"],
)
def test_parameter_counts(variant: dict[str, Any], count: int):
    assert sum(p.numel() for name, p in mssm(**variant).named_parameters() if "embedding" not in name) == count


def test_a_bias_of_the_masks_opens_them():
    closed, opened = (mssm(mask_bias=bias).eval().diagnostics(BATCH)["mask_closed"].mean() for bias in (None, 1.0))
    assert closed > 0.3
    assert opened == 0
    assert dense_count(mssm(mask_bias=1.0)) == 1122 + 3 * 6


def test_basic_is_snr_trans():
    basic, snr = mssm(**A, **B), mssm(**SNR_TRANS)
    snr.load_state_dict(basic.state_dict())
    logits = []
    for model in (basic, snr):
        torch.manual_seed(1)
        logits.append(model(BATCH))
    assert torch.equal(*logits)
    assert torch.equal(basic.routing.gates.penalty(), snr.routing.gates.penalty())


@pytest.mark.parametrize("levels", [1, 2])
def test_tied_cells_are_one_gate(levels: int):
    """MSSM-a of full topology, all cells of a link in step, is SNR-Trans of the same depth."""
    cells, links = mssm(**A, topology="full", levels=levels).eval(), mssm(**SNR_TRANS, levels=levels).eval()
    state = links.state_dict()
    gates = [name for name in state if name.endswith("log_alpha")]
    assert len(gates) == levels
    for name in gates:
        torch.nn.init.normal_(state[name])
        state[name] = state[name].expand(-1, -1, -1, 8)
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


# --- more than one level


def cells(units: int, links: int) -> int:
    """Parameters of a routing from 8 to 8 components with a gate for each output cell."""
    return units * links * (8 * 8 + 8)


def dense_count(model: MSSM) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


def test_parameter_counts_of_levels():
    """A restricted level has two links for each task and T + 1 for the shared unit; a full one (T + 1)^2."""
    assert dense_count(mssm(levels=2)) == 1122 + cells(2, 2) + cells(1, 3)
    assert dense_count(mssm(levels=3)) == 1122 + 2 * (cells(2, 2) + cells(1, 3))
    assert dense_count(mssm(**SNR_TRANS, levels=2)) == 1152 + 9 * (8 * 8 + 1)
    assert dense_count(mssm(**SNR_AVER, levels=2)) == 768 + 9
    between = 3 * (8 * 6 + 6 + 6 * 8 + 8)
    assert dense_count(mssm(**SNR_TRANS, levels=2, inner_layers=(6, 8))) == 1152 + 9 * (8 * 8 + 1) + between


def test_basic_is_snr_trans_level_by_level():
    basic, snr = (mssm(**variant, levels=3, inner_layers=(8,)) for variant in (A | B, SNR_TRANS))
    snr.load_state_dict(basic.state_dict())
    logits = []
    for model in (basic, snr):
        torch.manual_seed(1)
        logits.append(model(BATCH))
    assert torch.equal(*logits)
    assert torch.equal(basic.penalty(), snr.penalty())


def closed_where_forbidden(restricted: MSSM, full: MSSM) -> None:
    """Give a model of full topology the weights of a restricted one, and close the links which that one has not."""
    state = restricted.state_dict()
    own = [(0, 0), (1, 1)]
    routings = {"routing": None} | {f"levels.{level}.parts.0": f"levels.{level}.parts.1" for level in (0, 1)}
    for name, shared in routings.items():
        for leaf, closed in (("weight", 0.0), ("gates.log_alpha", -9.0)):
            value = torch.full_like(full.state_dict()[f"{name}.{leaf}"], closed)
            for unit, source in own:
                value[unit, source] = state[f"{name}.{leaf}"][unit, 0]
                value[unit, 2] = state[f"{name}.{leaf}"][unit, 1]
            if shared is not None:
                value[2] = state.pop(f"{shared}.{leaf}")[0]
            state[f"{name}.{leaf}"] = value
    full.load_state_dict(state)


@pytest.mark.parametrize("changes", [{}, {"inner_layers": (8, 8)}, {"routed_activation": "relu"}], ids=str)
def test_a_restricted_level_is_a_full_one_with_links_closed(changes: dict[str, Any]):
    restricted = mssm(levels=3, **changes).eval()
    full = mssm(levels=3, topology="full", **changes).eval()
    with torch.no_grad():
        for parameter in restricted.parameters():
            parameter.normal_(std=0.5)
    closed_where_forbidden(restricted, full)
    torch.testing.assert_close(full(BATCH), restricted(BATCH))


def test_levels_are_a_loop():
    """The three rows of the matrix of 2.2, without m_12 and m_21, then one row for each task."""
    model = mssm(**A, levels=2, routed_activation="relu", inner_layers=(7,), routed_width=5).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    u = list(model.subnetworks(model.fields(BATCH).flatten(1)[None]))

    def routed(part: Any, unit: int, sources: list[int]) -> torch.Tensor:
        gate, weight = part.gates()[unit], part.weight[unit]
        return sum(gate[k, 0] * (u[j] @ weight[k]) for k, j in enumerate(sources)).relu()  # pyright: ignore[reportAttributeAccessIssue]

    tasks, shared = model.levels[0].parts  # pyright: ignore[reportGeneralTypeIssues,reportAttributeAccessIssue]
    v = torch.stack([routed(tasks, 0, [0, 2]), routed(tasks, 1, [1, 2]), routed(shared, 0, [0, 1, 2])])
    u = list(model.inner[0](v))
    last = torch.stack([routed(model.routing, 0, [0, 2]), routed(model.routing, 1, [1, 2])])
    torch.testing.assert_close(model(BATCH), model.towers(last))


@pytest.mark.parametrize(("levels", "reaches"), [(1, False), (2, True)])
def test_another_tasks_subnetwork_reaches_a_task_by_the_shared_unit(levels: int, reaches: bool):
    model = mssm(levels=levels).eval()
    model(BATCH)[:, 0].sum().backward()
    gradient = model.subnetworks.layers[0].weight.grad
    assert isinstance(gradient, torch.Tensor)
    assert [bool(part.count_nonzero()) for part in gradient] == [True, reaches, True]


def test_every_level_learns():
    model = mssm(levels=3, inner_layers=(8,))
    torch.nn.functional.binary_cross_entropy_with_logits(model(BATCH), BATCH.labels).backward()  # pyright: ignore[reportArgumentType]
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.count_nonzero()] == []


def test_gates_and_matrices_of_all_levels_are_charged():
    model = mssm(levels=2, weight_penalty=0.5, inner_layers=(8,))
    routings = [model.routing, *model.levels[0].parts]  # pyright: ignore[reportGeneralTypeIssues,reportAttributeAccessIssue]
    linear = [m for m in model.modules() if isinstance(m, StackedLinear)]
    assert len(linear) == 4
    squares = [block.weight.square().sum() for block in (*routings, *linear)]  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(model.penalty(), 0.5 * sum(squares, start=torch.zeros(())))
    charged = [m for m in model.modules() if hasattr(m, "penalty")]
    assert len(charged) == 1 + len(routings)
    with torch.no_grad():
        model.levels[0].parts[1].gates.log_alpha.fill_(-9)  # pyright: ignore[reportIndexIssue,reportAttributeAccessIssue]
    found = model.eval().diagnostics(BATCH)
    assert found["gate"].shape == (2, 2, 1, 8)
    assert found["gate_closed"].item() == pytest.approx(3 / (4 + 4 + 3))


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
    with pytest.raises(ValueError, match="levels is 0"):
        mssm(levels=0)
    with pytest.raises(
        ValueError, match=r"levels is 1 with inner_layers=\[8\]; allowed: 1 or more, and layers between"
    ):
        mssm(inner_layers=(8,))
    with pytest.raises(ValueError, match="weight_penalty is -1"):
        mssm(weight_penalty=-1)
    model = mssm(penalise_embeddings=True)
    model.fields.sparse = True
    with pytest.raises(ValueError, match="choose a dense optimizer"):
        model.penalty()
