"""MPA: counts, what equals MMoE, how its perspectives are put together, and what is refused."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from mtlbench.models.mmoe import MMoE
from mtlbench.models.mpa import MPA
from mtlbench.nn.dice import Dice
from mtlbench.nn.gate import mix
from mtlbench.nn.virtual_gradient import VirtualGradient
from mtlbench.schema import Schema
from synthetic import plain_schema, random_batch, rich_schema

CONF = Path(__file__).parents[2] / "conf" / "model"
FIXTURE = plain_schema()
"""Six fields of eleven ids, two tasks; embeddings of four components: x has 24."""
BATCH = random_batch(FIXTURE, 17)
SEEN = plain_schema(history=5, source=3)
"""The same with a history and three sources."""
SEEN_BATCH = random_batch(SEEN, 17)
COMBINED: dict[str, Any] = {"gate": "coarse", "interaction": "hadamard", "sequence": True, "cognitive": "kway"}


def mpa(schema: Schema = FIXTURE, **changes: Any) -> MPA:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "experts": 4, "expert_layers": (16, 8), "tower_layers": (8,)} | changes
    return MPA(schema, **arguments)


def mmoe() -> MMoE:
    return MMoE(FIXTURE, embedding_width=4, experts=4, expert_layers=(16, 8), tower_layers=(8,))


def count(model: nn.Module) -> int:
    """Embedding tables excluded, as the papers do not say whether they count them."""
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


def perceptron(inputs: int, *layers: int) -> int:
    widths = [inputs, *layers]
    return sum(a * b + b for a, b in zip(widths, layers, strict=False))


def test_parameter_counts():
    experts, towers = 4 * perceptron(24, 16, 8), 2 * perceptron(8, 8, 1)
    assert count(mpa(gate="coarse")) == experts + 2 * 8 + towers == 2322
    assert count(mpa(gate="fine")) == experts + 2 * 4 * 8 + towers == 2370
    assert count(mpa(boost="last")) == perceptron(24, 16, 8) + 3 * perceptron(32, 16, 8) + 2 * 24 * 4 + towers == 2882
    assert count(mpa(boost="all")) == 2882 + (1 + 2) * 8 * 16
    assert count(mpa(interaction="hadamard")) == experts + 3 * 8 * 8 + 2 * 24 * 4 + towers == 2690
    assert count(mpa(gate="coarse", activation="dice")) == 2322 + 4 * (16 + 8) + 2 * 8
    attention = perceptron(16, 80, 40, 1)
    inputs = 28 - 24  # of the interest beside the six fields
    more = 4 * 16 * inputs + 2 * 4 * inputs
    assert count(mpa(SEEN, sequence=True)) == count(mpa()) + attention + more
    mapping, discriminator = perceptron(28, 12, 10), perceptron(10, 64, 3)
    assert (
        count(mpa(SEEN, cognitive="kway", mapping_layers=(12, 10)))
        == mapping + discriminator + 4 * perceptron(10, 16, 8) + 2 * 10 * 4 + towers
    )
    assert (
        count(mpa(SEEN, cognitive="binary", mapping_layers=(12, 10)))
        == mapping + 3 * perceptron(10, 64, 1) + 4 * perceptron(10, 16, 8) + 2 * 10 * 4 + towers
    )
    assert (
        count(mpa(SEEN, **COMBINED, mapping_layers=(12, 10)))
        == attention + mapping + discriminator + 4 * perceptron(10, 16, 8) + 3 * 8 * 8 + 2 * 8 + towers
    )


# --- what it equals


def test_switched_off_it_is_mmoe():
    model, other = mpa(), mmoe()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(BATCH), other(BATCH))


@pytest.mark.parametrize("gate", ["coarse", "fine"])
def test_queries_of_zero_take_the_mean_of_experts(gate: str):
    model, other = mpa(gate=gate), mmoe()
    nn.init.zeros_(model.gates.vectors)
    other.load_state_dict({"gates.scores.weight": torch.zeros(2, 24, 4)} | without(model, "gates"))
    torch.testing.assert_close(model(BATCH), other(BATCH))


def test_boosting_without_links_is_mmoe():
    model, other = mpa(boost="last"), mmoe()
    state = without(model, "experts")
    with torch.no_grad():
        for expert in model.experts.experts[1:]:
            expert.layers[0].weight[:, 24:].zero_()
        for layer in range(2):
            layers = [expert.layers[layer] for expert in model.experts.experts]
            inputs = (24, 16)[layer]
            state[f"experts.layers.{layer}.weight"] = torch.cat([linear.weight[:, :inputs] for linear in layers])
            state[f"experts.layers.{layer}.bias"] = torch.cat([linear.bias for linear in layers])
    other.load_state_dict(state)
    torch.testing.assert_close(model(BATCH), other(BATCH))


def test_without_entries_it_is_mmoe_beside_an_interest_of_zero():
    model, other = mpa(SEEN, sequence=True), mpa()
    batch = replace(SEEN_BATCH, ids=torch.cat([SEEN_BATCH.ids[:, :6], torch.zeros(17, 5, dtype=torch.int32)], dim=1))
    state = without(model, "interests", "fields") | {"fields.embedding": model.fields.fields.embedding}
    for name in ("experts.layers.0.weight", "gates.scores.weight"):
        state[name] = state[name][:, :24]
    other.load_state_dict(state)
    torch.testing.assert_close(model(batch), other(replace(batch, ids=batch.ids[:, :6])))


def test_a_mapping_without_layers_leaves_the_logits_as_they_are():
    model, other = mpa(SEEN, cognitive="kway"), mpa(SEEN)
    other.load_state_dict(without(model, "discriminator"))
    torch.testing.assert_close(model(SEEN_BATCH), other(SEEN_BATCH))


def without(model: nn.Module, *prefixes: str) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.startswith(prefixes)}


# --- how it is put together


@pytest.mark.parametrize("gate_on", ["interacted", "raw"])
def test_the_combination_by_hand(gate_on: str):
    """Sequence, then the mapping, experts, their interaction, and a coarse gate that mixes what came of it."""
    model = mpa(SEEN, **COMBINED, mapping_layers=(12,), gate_on=gate_on).eval()
    x_BFD, histories = model.fields(SEEN_BATCH)
    x_BI = torch.cat(
        [x_BFD.flatten(1), model.interests.units[0](histories[0], torch.zeros(17, 5, 0), torch.zeros(17, 0))], dim=1
    )
    (linear,) = model.mapping.stack.layers
    z_BI = torch.relu(x_BI @ linear.weight[0] + linear.bias[0])
    y_EBH = model.experts(z_BI[None])
    high_EBH, _ = model.interaction.attend(y_EBH)
    met_EBH = y_EBH if gate_on == "raw" else y_EBH * high_EBH
    gate_TBE = torch.einsum("th,ebh->tbe", model.gates.vectors[:, 0], met_EBH).softmax(dim=-1)
    expected = model.towers(mix(gate_TBE, y_EBH * high_EBH))
    torch.testing.assert_close(model(SEEN_BATCH), expected)


def test_the_cognitive_loss_is_a_penalty_of_training():
    model = mpa(SEEN, cognitive="kway", cognitive_weight=0.25, mapping_layers=(12,))
    model.eval()(replace(SEEN_BATCH, source=None))
    with pytest.raises(AssertionError, match="taken once"):
        model.discriminator.penalty()
    model.train()(SEEN_BATCH)
    z_BI = model.mapping(model.fields(SEEN_BATCH).flatten(1))
    expected = 0.25 * F.cross_entropy(model.discriminator.logits(z_BI), SEEN_BATCH.source)
    torch.testing.assert_close(model.discriminator.penalty(), expected)


def test_the_cognitive_loss_turns_the_mapping_and_the_fields_but_no_expert():
    model = mpa(SEEN, cognitive="binary", mapping_layers=(12,))
    model(SEEN_BATCH)
    model.discriminator.penalty().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.count_nonzero()}
    assert {name.split(".")[0] for name in reached} == {"fields", "mapping", "discriminator"}


def test_dice_is_behind_all_hidden_layers_of_mapping_experts_and_towers():
    model = mpa(SEEN, **COMBINED, mapping_layers=(12,), activation="dice", attention_activation="dice")
    found = [name.split(".")[0] for name, module in model.named_modules() if isinstance(module, Dice)]
    assert found.count("mapping") == 1
    assert found.count("experts") == 2
    assert found.count("towers") == 1
    assert found.count("interests") == 2
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(SEEN_BATCH)
    model.discriminator.penalty()
    moved = {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.endswith(("mean", "variance"))}


@pytest.mark.parametrize(
    "switches",
    [
        {"gate": "coarse"},
        {"gate": "fine"},
        {"gate": "fine", "fine_reduce": "sum"},
        {"boost": "all"},
        {"interaction": "dot"},
    ],
    ids=str,
)
def test_a_virtual_gradient_bends_the_gates_alone(switches: dict[str, Any]):
    plain, bent = mpa(**switches), mpa(**switches, virtual_gradient=VirtualGradient(shape="abs"))
    assert torch.equal(plain(BATCH), bent(BATCH))
    for model in (plain, bent):
        F.binary_cross_entropy_with_logits(model(BATCH), BATCH.labels).backward()
    for (name, p), q in zip(plain.named_parameters(), bent.named_parameters(), strict=True):
        assert p.grad is not None
        assert q[1].grad is not None
        if name.startswith("gates"):
            assert not torch.equal(p.grad, q[1].grad), name
        if name.startswith("towers"):
            assert torch.equal(p.grad, q[1].grad), name


def test_diagnostics():
    model = mpa(SEEN, **COMBINED, mapping_layers=(12,), virtual_gradient=VirtualGradient()).eval()
    found = model.diagnostics(SEEN_BATCH)
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert shapes == {
        "gate": (2, 17, 4),
        "attention/history": (17, 5),
        "interaction": (17, 2, 4, 4),
        "discriminator_accuracy": (),
        "largest_source": (),
        "relevance": (2, 2),
        "undefined": (2, 2),
        "coefficient": (2, 17, 4),
    }
    torch.testing.assert_close(found["gate"].sum(dim=-1), torch.ones(2, 17))
    torch.testing.assert_close(found["interaction"].sum(dim=-1), torch.ones(17, 2, 4))
    assert SEEN_BATCH.source is not None
    assert found["largest_source"] == max((SEEN_BATCH.source == source).float().mean() for source in range(3))
    assert mpa(gate="fine").eval().diagnostics(BATCH)["gate"].shape == (2, 17, 4, 8)
    assert set(mpa().eval().diagnostics(BATCH)) == {"gate"}


def test_options_reach_their_blocks():
    fine = mpa(gate="fine", fine_reduce="sum", gate_norm="sigmoid", gate_scale=True, gate_query="dense_tanh").gates
    assert (fine.unit_by_unit, fine.norm, fine.scale) == (False, "sigmoid", 8**-0.5)
    assert fine.dense is not None
    assert mpa(gate="fine").gates.unit_by_unit
    boosted = mpa(boost="all", boost_detach=True).experts
    assert (boosted.read, boosted.detach) == (None, True)
    met = mpa(interaction="residual", interaction_heads=4, interaction_scale=True).interaction
    assert (met.merge, met.heads, met.scale) == ("residual", 4, 2**-0.5)
    front = mpa(SEEN, sequence=True, attention_softmax=True, history_weights="none", place_fields=("id2",)).interests
    assert (front.units[0].softmax, front.history_weights, front._places.tolist()) == (True, "none", [2])
    rare = {"dropout": 0.25}
    dropped = {m.p for m in mpa(SEEN, **COMBINED, **rare, mapping_layers=(5,)).modules() if isinstance(m, nn.Dropout)}
    assert dropped == {0.0, 0.25}, "attention and discriminator have none"
    assert mpa(boost="last", **rare).experts.experts[0].dropout.p == 0.25


def test_days_become_a_time_vector():
    model = mpa(rich_schema(), sequence=True, history_weights="days", time_operations=("exp", "log"), time_window=7.0)
    assert model.interests.time is not None
    assert (model.interests.time.operations, model.interests.time.window) == (("exp", "log"), 7.0)
    assert model.interests.width == 5 * 4 + 4 + 2
    assert model(random_batch(rich_schema(), 5)).isfinite().all()


# --- refusals


def test_refusals():
    for changes, message in (
        ({"experts": 0}, "experts is 0; allowed: 1 or more"),
        ({"expert_layers": ()}, "expert_layers is empty"),
        ({"gate": "medium"}, "gate is 'medium'; allowed: mapped, coarse, fine"),
        ({"gate_on": "both"}, "gate_on is 'both'; allowed: interacted, raw"),
        ({"interaction": "hadamard", "interaction_heads": 3}, "interaction_heads is 3 for experts of width 8"),
        ({"boost": "last", "gate": "fine"}, "boost is last with gate=fine.*neither a fine gate nor an interaction"),
        ({"boost": "all", "interaction": "dot"}, "boost is all with gate=mapped and interaction=dot"),
        ({"sequence": True}, "needs a field with a target.*dataset=aliccp dataset.fields=din"),
        ({"cognitive": "kway"}, "cognitive is kway.*these data do not say"),
        ({**COMBINED, "sequence": False}, "cognitive is kway.*these data do not say"),
    ):
        with pytest.raises(ValueError, match=message):
            mpa(**changes)


@pytest.mark.parametrize(
    ("option", "switch"),
    [
        ({"gate_query": "dense"}, "gate=coarse or fine"),
        ({"gate_norm": "none"}, "gate=coarse or fine"),
        ({"gate_scale": True}, "gate=coarse or fine"),
        ({"gate_on": "raw", "gate": "coarse"}, "an interaction and gate=coarse or fine"),
        ({"fine_reduce": "sum", "gate": "coarse"}, "gate=fine"),
        ({"boost_detach": True}, "boost=last or all"),
        ({"interaction_scale": True}, "an interaction"),
        ({"attention_softmax": True}, "sequence=true"),
        ({"history_weights": "none"}, "sequence=true"),
        ({"place_fields": ("id0",)}, "sequence=true"),
        ({"time_operations": ("exp",)}, "history_weights=days"),
        ({"time_window": 7}, "history_weights=days"),
        ({"time_unit": "days"}, "history_weights=days"),
        ({"time_angular": "2pi"}, "history_weights=days"),
    ],
    ids=str,
)
def test_an_option_that_nothing_reads_is_refused(option: dict[str, Any], switch: str):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is set, but nothing reads it without {switch}"):
        mpa(**option)


# --- configuration


def test_what_variants_share_has_the_defaults_of_the_class():
    shared = yaml.safe_load((CONF / "_mpa.yaml").read_text())
    for name, parameter in inspect.signature(MPA).parameters.items():
        written = shared.get(name)
        if parameter.default is inspect.Parameter.empty or name == "virtual_gradient" or str(written).startswith("${"):
            continue
        assert written == (list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default), name


def test_each_variant_switches_on_what_it_is_named_after():
    found = {}
    for path in sorted(CONF.glob("mpa_*.yaml")):
        switches = yaml.safe_load(path.read_text())
        assert switches.pop("defaults") == ["_mpa", "_self_"]
        found[path.stem] = switches
    assert found == {
        "mpa_boost": {"boost": "last"},
        "mpa_coarse": {"gate": "coarse"},
        "mpa_cognitive": {"cognitive": "kway"},
        "mpa_combined": COMBINED,
        "mpa_fine": {"gate": "fine"},
        "mpa_interact": {"interaction": "hadamard"},
        "mpa_sequence": {"sequence": True},
    }
