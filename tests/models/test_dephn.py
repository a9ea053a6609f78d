"""MT-PHN and DEPHN: counts, equations by loops, theorems of the paper, readings of what it leaves open."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.models.dephn import DEPHN, combine_logits
from mtlbench.models.mmoe import MMoE
from mtlbench.models.mtphn import MTPHN, PLACEMENTS
from mtlbench.nn.gate import MappedGates
from mtlbench.nn.heterogeneous import HeterogeneousExperts, Interactions
from mtlbench.nn.virtual_gradient import Implementation, VirtualGradient
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
BATCH = random_batch(FIXTURE, 31)
assert BATCH.labels is not None


def mtphn(tasks: int = 2, **changes: Any) -> MTPHN:
    torch.manual_seed(0)
    return MTPHN(plain_schema(tasks=tasks), **({"embedding_width": 4, "expert_layers": (16, 8)} | changes))


def dephn(tasks: int = 2, **changes: Any) -> DEPHN:
    torch.manual_seed(0)
    return DEPHN(plain_schema(tasks=tasks), **({"embedding_width": 4, "expert_layers": (16, 8)} | changes))


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


def private_count(d: int = 24, fields: int = 6, m: int = 8) -> int:
    """Two cross layers of one scalar residual each, two field layers, and a projection behind either."""
    return 2 * (d * d + d + 1) + d * m + m + 2 * (fields * fields + fields) + d * m + m


PUBLIC = 24 * 16 + 16 + 16 * 8 + 8  # one deep expert
FRONT = 4 * 4 * 4 + 3 * 24  # attention, and G of three structures


# --- counts


def test_parameter_counts():
    expected = FRONT + 4 * PUBLIC + 2 * private_count() + 2 * 24 * 4 + 2 * (8 + 2 * 8 + 1)
    assert parameters(mtphn()) == expected == 5894
    expected = FRONT + 4 * PUBLIC + 2 * private_count() + 2 * 4 * 3 + 2 * (4 * 3 * 8 + 2 * 8 + 1)
    assert parameters(dephn()) == expected == 5902
    assert parameters(dephn(gate="MG")) == 5902 + 2 * 4 * 3 * (24 - 1)
    assert parameters(dephn(gate_vector=True)) == 5902 + 2 * 4 * 3 * (8 - 1)
    assert parameters(dephn(combine="prob_mean")) == 5902 + 2  # a bias for each part
    assert parameters(dephn(residual="none")) == 5902 - 2 * (2 * 1 + 2 * 6)
    assert parameters(dephn(residual="logit_skip")) == parameters(dephn(residual="none")) + 2 * 24
    assert parameters(dephn(attention_residual="autoint")) == 5902 + 16
    assert parameters(dephn(cross_kind="v1")) == 5902 - 2 * 2 * (24 * 24 - 24)
    both = 2 * (2 * (24 + 24 + 1) + 24 * 8)  # a second network, and its half of the projection
    assert parameters(dephn(cross_kind="v1+v2")) == 5902 + both
    assert parameters(dephn(selection_scope="expert")) == 5902 + 24 * (4 - 1 + 2 - 1 + 2 - 1)
    assert parameters(dephn(selection_scope="task_structure")) == 5902 + 24 * (2 - 1 + 2 - 1)
    assert parameters(dephn(expert_layers=(16, 1))) == (
        FRONT + 4 * (24 * 16 + 16 + 16 + 1) + 2 * private_count(m=1) + 2 * 4 * 3 + 2 * (4 * 3 + 2 + 1)
    )


def test_placements_share_their_front():
    models = {placement: mtphn(placement=placement) for placement in PLACEMENTS}
    for model in models.values():
        assert sum(p.numel() for p in model.experts.attention.parameters()) == 64
        assert all(selection.weight.shape == (1, 24) for selection in model.experts.selection.values())
    assert {name: set(model.experts.stacks) for name, model in models.items()} == {
        "Dpub_CFpub": {"deep", "cross", "field"},
        "Dpri_CFpub": {"deep", "cross", "field"},
        "Dpub_CFpri": {"deep", "cross", "field"},
        "Dpub": {"deep"},
    }
    assert models["Dpub_CFpub"].private_towers is None
    assert models["Dpub_CFpub"].experts.stacks == {"deep": 2, "cross": 1, "field": 1}
    assert models["Dpri_CFpub"].experts.stacks == {"cross": 2, "field": 2, "deep": 2}
    assert models["Dpub_CFpri"].experts.stacks == {"deep": 4, "cross": 2, "field": 2}


# --- the heterogeneous layer


def test_without_attention_in_the_mixture_its_weights_are_not_asked():
    model = dephn(selection_start=0.0)
    model(BATCH).sum().backward()
    for parameter in model.experts.attention.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.count_nonzero()
    x_BI = model.fields(BATCH).flatten(1)
    for z in model.experts.select(model.fields(BATCH)).values():
        assert torch.equal(z[0], x_BI)


def test_with_attention_alone_the_fields_are_read_through_it():
    model = dephn(selection_start=1.0)
    with torch.no_grad():
        model.experts.attention.output.weight.zero_()
    x_BFD = model.fields(BATCH)
    assert all(not z.count_nonzero() for z in model.experts.select(x_BFD).values())


@pytest.mark.parametrize("scope", ["structure", "expert", "task_structure"])
def test_experts_read_their_own_mixture(scope: Any):
    """Three structures as a loop over experts, each with the G that its scope gives it."""
    make = Interactions(expert_layers=(5, 3), selection_scope=scope)
    experts = HeterogeneousExperts(6, 4, {"deep": 4, "cross": 6, "field": 6}, {"deep": 1, "cross": 3, "field": 3}, make)
    for selection in experts.selection.values():
        nn.init.normal_(selection.weight)
    x_BFD = torch.randn(7, 6, 4)
    attended = experts.attention(x_BFD).flatten(1)
    selected = experts.select(x_BFD)
    outputs = experts(selected)
    for structure, stacks in experts.stacks.items():
        share = experts.selection[structure].share
        for e in range(stacks):
            mine = {"structure": 0, "expert": e, "task_structure": 0 if structure == "deep" else e // 2}[scope]
            z_BI = share[mine] * attended + (1 - share[mine]) * x_BFD.flatten(1)
            torch.testing.assert_close(outputs[structure][e], experts.experts[structure](z_BI[None])[e])
    assert {structure: len(z) for structure, z in selected.items()} == {
        "structure": {"deep": 1, "cross": 1, "field": 1},
        "expert": {"deep": 4, "cross": 6, "field": 6},
        "task_structure": {"deep": 1, "cross": 3, "field": 3},
    }[scope]


# --- MT-PHN


def test_deep_experts_alone_without_attention_are_mmoe():
    model = mtphn(placement="Dpub", selection_start=0.0)
    mmoe = MMoE(FIXTURE, embedding_width=4, experts=4, expert_layers=(16, 8), tower_layers=())
    state = {
        name.replace("experts.experts.deep", "experts").replace("public_towers", "towers"): value
        for name, value in model.state_dict().items()
        if not name.startswith(("experts.attention", "experts.selection"))
    }
    mmoe.load_state_dict(state)
    torch.testing.assert_close(model(BATCH), mmoe(BATCH))


@pytest.mark.parametrize("placement", list(PLACEMENTS))
def test_mtphn_is_its_equation(placement: str):
    model = mtphn(placement=placement, private_experts=2).eval()
    x_BFD = model.fields(BATCH)
    expert = model.experts(model.experts.select(x_BFD))
    gate_TBE = torch.softmax(torch.einsum("bi,tie->tbe", x_BFD.flatten(1), model.gates.scores.weight), dim=-1)
    public = torch.cat([expert[structure] for structure in PLACEMENTS[placement].public])
    for task in range(2):
        mixed = sum(gate_TBE[task, :, e, None] * public[e] for e in range(4))
        logit = mixed @ model.public_towers.head.weight[task, :, 0] + model.public_towers.head.bias[task]
        heads = [] if model.private_towers is None else model.private_towers.head.weight[task, :, 0].split(8)
        own = [expert[structure][2 * task + k] for structure in PLACEMENTS[placement].private for k in range(2)]
        for output, weight in zip(own, heads, strict=True):
            logit = logit + output @ weight
        torch.testing.assert_close(model(BATCH)[:, task], logit)


def test_gates_may_read_what_the_deep_experts_read():
    raw, deep = mtphn(), mtphn(gate_input="deep")
    assert not torch.equal(raw(BATCH), deep(BATCH))
    same = mtphn(gate_input="deep", selection_start=0.0)
    torch.testing.assert_close(same(BATCH), mtphn(selection_start=0.0)(BATCH))


@pytest.mark.parametrize("make", [mtphn, dephn])
@pytest.mark.parametrize("residual", ["layer", "logit_skip", "none"])
def test_parts_sum_to_the_logits(make: Any, residual: str):
    model = make(residual=residual).eval()
    found = model.diagnostics(BATCH)
    torch.testing.assert_close(found["public_logits"] + found["private_logits"], model(BATCH))
    assert found["public_logits"].count_nonzero()
    assert found["private_logits"].count_nonzero()
    assert found["selection/cross"].shape == (1, 6, 4)


@pytest.mark.parametrize("make", [mtphn, dephn])
def test_a_skip_adds_a_linear_map_of_the_raw_fields(make: Any):
    model = make(residual="logit_skip")
    x_BI = model.fields(BATCH).flatten(1)
    with_skip = model(BATCH)
    skipped = x_BI @ model.skip.head.weight[..., 0].T
    nn.init.zeros_(model.skip.head.weight)
    torch.testing.assert_close(with_skip - model(BATCH), skipped, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [mtphn, dephn])
def test_a_task_does_not_teach_the_private_part_of_another(make: Any):
    model = make()
    model(BATCH)[:, 0].sum().backward()
    own = [
        p.grad for n, p in model.named_parameters() if "experts.cross" in n or "experts.field" in n or "private" in n
    ]
    assert len(own) == 8 + 6 + 1  # cross, field, head
    for gradient in own:
        assert gradient[0].count_nonzero()
        assert not gradient[1].count_nonzero()


@pytest.mark.parametrize("make", [mtphn, dephn])
def test_hidden_layers_in_the_towers(make: Any):
    model = make(tower_layers=(5,))
    assert model.public_towers.hidden.width == model.private_towers.hidden.width == 5
    assert model(BATCH).shape == (31, 2)


# --- DEPHN


@pytest.mark.parametrize("gate_vector", [False, True])
def test_dephn_is_its_equations(gate_vector: bool):
    """Eqs. 4 and 5 summed over experts and mappings one by one, and one sigmoid of their sum."""
    model = dephn(private_experts=2, gate_vector=gate_vector, mappings=("identity", "sin", "cos")).eval()
    expert = model.experts(model.experts.select(model.fields(BATCH)))
    functions = (lambda a: a, torch.sin, torch.cos)
    for task in range(2):
        weight = model.public_towers.head.weight[task, :, 0].view(4, 3, 8)
        logit = model.public_towers.head.bias[task].expand(31)
        for k in range(4):
            for p, function in enumerate(functions):
                logit = logit + (model.gate[task, k, p] * function(expert["deep"][k])) @ weight[k, p]
        own = [expert[structure][2 * task + k] for structure in ("cross", "field") for k in range(2)]
        for output, private in zip(own, model.private_towers.head.weight[task, :, 0].split(8), strict=True):
            logit = logit + output @ private
        torch.testing.assert_close(model(BATCH)[:, task], logit, rtol=1e-4, atol=1e-5)


def test_raw_mapping_and_open_gates_make_a_linear_head_on_the_experts():
    model = dephn(mappings=["identity"], gate_start="ones").eval()
    nn.init.zeros_(model.private_towers.head.weight)
    deep = model.experts(model.experts.select(model.fields(BATCH)))["deep"]
    joined = deep.transpose(0, 1).flatten(1)
    expected = joined @ model.public_towers.head.weight[:, :, 0].T + model.public_towers.head.bias[:, 0]
    torch.testing.assert_close(model(BATCH), expected)


def test_public_experts_end_linear_so_that_waves_are_waves():
    model = dephn()
    assert model.experts(model.experts.select(model.fields(BATCH)))["deep"].min() < 0
    rectified = dephn(deep_activation="relu")
    assert rectified.experts(rectified.experts.select(rectified.fields(BATCH)))["deep"].min() == 0


def test_gradient_of_a_gate_in_closed_form():
    """Eq. 7: the mean of (prediction - label) times W f(a)."""
    model = dephn()
    loss_BT = F.binary_cross_entropy_with_logits(model(BATCH), BATCH.labels, reduction="none")
    loss_BT.mean(dim=0).sum().backward()
    residual_BT = torch.sigmoid(model(BATCH)) - BATCH.labels
    deep = model.experts(model.experts.select(model.fields(BATCH)))["deep"]
    mapped = torch.stack([deep, deep.sin(), deep.cos()], dim=1)
    weight_TKPH = model.public_towers.head.weight.view(2, 4, 3, 8)
    expected = torch.einsum("bt,tkph,kpbh->tkp", residual_BT, weight_TKPH, mapped) / 31
    torch.testing.assert_close(model.gate.grad[..., 0], expected, rtol=1e-4, atol=1e-6)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    F.binary_cross_entropy_with_logits(model(BATCH), BATCH.labels).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_the_virtual_gradient_multiplies_the_gates_gradient_and_no_other(tasks: int):
    batch = random_batch(plain_schema(tasks=tasks), 31)
    plain, bent = dephn(tasks), dephn(tasks, virtual_gradient=VirtualGradient())
    assert torch.equal(plain(batch), bent(batch))
    for model in (plain, bent):
        F.binary_cross_entropy_with_logits(model(batch), batch.labels).backward()
    factor = bent.virtual_gradient.coefficients(bent.gate, batch.labels, None)
    assert (factor == 1).all() == (tasks == 1)
    for (name, p), q in zip(plain.named_parameters(), bent.parameters(), strict=True):
        assert torch.equal(q.grad, factor * p.grad if name == "gate" else p.grad), name
    found = bent.eval().diagnostics(batch)
    assert torch.equal(found["coefficient"][:, 0], factor)


@pytest.mark.parametrize("implementation", ["surrogate", "literal_ratio"])
def test_the_virtual_gradient_does_not_change_what_is_computed(implementation: Implementation):
    bent = dephn(virtual_gradient=VirtualGradient(implementation=implementation))
    torch.testing.assert_close(bent(BATCH), dephn()(BATCH), rtol=1e-5, atol=1e-6)


def test_gradient_of_the_literal_ratio_is_another():
    literal = dephn(virtual_gradient=VirtualGradient(implementation="literal_ratio", shape="square"))
    surrogate = dephn(virtual_gradient=VirtualGradient(shape="square"))
    assert not torch.allclose(gradients(literal)["gate"], gradients(surrogate)["gate"], rtol=0.01)


def test_gates_start_as_asked_for():
    gate = dephn().gate
    assert gate.shape == (2, 4, 3, 1)
    assert 0 <= gate.min() < gate.max() < 1
    assert not torch.equal(gate[0], gate[1])
    for start, value in (("zeros", 0), ("ones", 1), ("mean", 1 / 12)):
        torch.testing.assert_close(dephn(gate_start=start).gate, torch.full((2, 4, 3, 1), value * 1.0))


def test_mapped_gates_sum_to_one_over_experts_and_mappings():
    model = dephn(gate="MG").eval()
    gate = model.diagnostics(BATCH)["gate"]
    assert gate.shape == (2, 31, 4, 3, 1)
    torch.testing.assert_close(gate.sum(dim=(2, 3, 4)), torch.ones(2, 31))
    assert isinstance(model.gate, MappedGates)
    scores = torch.einsum("bi,tie->tbe", model.fields(BATCH).flatten(1), model.gate.scores.weight)
    torch.testing.assert_close(gate[:, :, 1, 2, 0], scores.softmax(dim=-1)[..., 1 * 3 + 2])
    free = dephn(gate="MG", gate_norm="none").eval().diagnostics(BATCH)["gate"]
    assert free.min() < 0


def test_combinations_by_hand():
    public, private = torch.tensor([0.0, 1.0, -40.0, 50.0]), torch.tensor([0.0, -2.0, -40.0, 50.0])
    p, q = public.double().sigmoid(), private.double().sigmoid()
    assert torch.equal(combine_logits(public, private, "logit_sum"), public + private)
    mean = combine_logits(public.double(), private.double(), "prob_mean")
    torch.testing.assert_close(mean[:2], torch.logit((p + q) / 2)[:2])
    torch.testing.assert_close(mean[2:], torch.tensor([-40.0, 50.0], dtype=torch.float64))  # where probabilities round
    clamped = combine_logits(public.double(), private.double(), "prob_sum_clamped")
    # 1/2 + 1/2 is cut to 1 - 1e-6, and so is 1 + 1
    expected = [math.log((1 - 1e-6) / 1e-6), torch.logit((p + q)[1]).item(), -40 + math.log(2)]
    torch.testing.assert_close(clamped, torch.tensor([*expected, expected[0]], dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("combine", ["logit_sum", "prob_mean", "prob_sum_clamped"])
def test_every_combination_is_a_prediction(combine: Any):
    model = dephn(combine=combine).eval()
    logits = model(BATCH)
    assert logits.isfinite().all()
    found = model.diagnostics(BATCH)
    torch.testing.assert_close(logits, combine_logits(found["public_logits"], found["private_logits"], combine))


def test_equation_six_as_printed_exceeds_one():
    """Two parts that agree: their sigmoids add up to more than a probability, one sigmoid of the sum does not."""
    public = private = torch.tensor([1.0])
    assert (public.sigmoid() + private.sigmoid()).item() > 1
    assert combine_logits(public, private, "logit_sum").sigmoid().item() < 1
    assert combine_logits(public, private, "prob_sum_clamped").sigmoid().item() < 1


@pytest.mark.parametrize(
    ("make", "wrong", "message"),
    [
        (mtphn, {"placement": "Cpub"}, "placement is 'Cpub'; allowed: Dpub_CFpub"),
        (mtphn, {"placement": "Dpub_CFpub", "public_experts": 6}, "public_experts is 6; allowed .* a multiple of 4"),
        (mtphn, {"private_experts": 0}, "private_experts is 0"),
        (mtphn, {"gate_input": "cross"}, "gate_input is 'cross'; allowed: raw, deep"),
        (mtphn, {"gate_input": "deep", "selection_scope": "expert"}, "needs selection_scope=structure; found 'expert'"),
        (mtphn, {"expert_layers": ()}, "expert_layers is empty"),
        (mtphn, {"attention_heads": 3}, "attention_heads is 3 at a width of 4"),
        (dephn, {"public_experts": 0}, "public_experts is 0"),
        (dephn, {"combine": "prob_sum"}, "combine is 'prob_sum'; allowed: logit_sum, prob_mean, prob_sum_clamped"),
        (dephn, {"gate": "softmax"}, "gate is 'softmax'; allowed: TVG, MG"),
        (dephn, {"gate": "MG", "gate_vector": True}, "gate_vector is true with gate=MG"),
        (dephn, {"gate_start": "normal"}, "gate_start is 'normal'"),
        (dephn, {"cross_kind": "v3"}, r"cross_kind is 'v3'; allowed: v2, v1, v1\+v2"),
        (dephn, {"residual": "all"}, "residual is 'all'; allowed: layer, logit_skip, none"),
        (dephn, {"selection_scope": "task"}, "selection_scope is 'task'"),
        (dephn, {"mappings": ["tan"]}, "mappings is .*; allowed: one or more of identity, square"),
        (dephn, {"mappings": []}, r"mappings is \[\]; allowed"),
        (dephn, {"mappings": ["sin", "sin"]}, "mappings is .*, each once"),
    ],
)
def test_refusals(make: Any, wrong: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        make(**wrong)
