"""What models show of themselves: gates, attention, what is taken from whom; equal to what the forward pass used."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from mtlbench.cli.compose import compose
from mtlbench.models.aitm import AITM
from mtlbench.models.cross_stitch import CrossStitch
from mtlbench.models.mtphn import MTPHN
from mtlbench.models.ple import PLE
from mtlbench.models.sluice import Sluice
from mtlbench.nn.gate import MappedGates, mix
from mtlbench.schema import Schema
from synthetic import plain_schema, random_batch, rich_schema

MODELS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "model").glob("[!_]*.yaml"))
SMALL = ("profile.embedding_width=4", "profile.expert_layers=[8]", "profile.tower_layers=[5]")


def chained(schema: Schema) -> Schema:
    first, second = schema.tasks
    return replace(schema, tasks=(first, replace(second, given=first.name)))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_with_gates_shows_them(name: str):
    config = compose([f"model={name}", *SMALL])
    gradient = config.virtual_gradient
    arguments = {} if gradient._target_ is None else {"virtual_gradient": instantiate(gradient)()}
    model = instantiate(config.model)(schema=chained(rich_schema()), **arguments).eval()
    shows = getattr(model, "diagnostics", lambda _: {})(random_batch(rich_schema(), 7))
    assert all(value.isfinite().all() for value in shows.values())
    if any("gate" in parameter.lower() for parameter, _ in model.named_parameters()):
        gates = [value for key, value in shows.items() if key.partition("/")[0] == "gate"]
        assert gates, f"{name} has gates, and shows {sorted(shows)}"
    if any(isinstance(module, MappedGates) for module in model.modules()):
        assert shows[next(key for key in shows if key.startswith("gate"))].shape[:2] in {(2, 7), (1, 7)}


def test_models_are_found():
    assert len(MODELS) >= 40


def test_gates_of_ple_mix_what_the_towers_read():
    schema = plain_schema()
    torch.manual_seed(0)
    model = PLE(schema, embedding_width=4, level_layers=[[8], [6]], shared_experts=3, task_experts=1, tower_layers=[])
    batch = random_batch(schema, 7)
    found = model.eval().diagnostics(batch)
    assert {name: tuple(value.shape) for name, value in found.items()} == {"gate/0": (2, 7, 4), "gate/1": (2, 7, 4)}
    for gate in found.values():
        torch.testing.assert_close(gate.sum(dim=-1), torch.ones(2, 7))
    x_1BI = model.fields(batch).flatten(1)[None]
    first = model.levels[0]
    own_EBH, shared_EBH = first.own(x_1BI.expand(2, -1, -1)), first.shared(x_1BI)  # pyright: ignore
    expected = found["gate/0"][..., :1] * own_EBH + mix(found["gate/0"][..., 1:], shared_EBH)
    torch.testing.assert_close(model._states(batch)[1], expected)


def test_attention_of_aitm_is_between_what_is_told_and_what_is_known():
    schema = chained(plain_schema())
    torch.manual_seed(0)
    model = AITM(schema, embedding_width=4, layers=[8]).eval()
    batch = random_batch(schema, 7)
    told_1B = model.diagnostics(batch)["attention"]
    assert told_1B.shape == (1, 7)
    assert ((told_1B > 0) & (told_1B < 1)).all()
    states, tokens = model._states(batch)
    value_UBH = model.attention[0].value_query_key(tokens[0].reshape(1, -1, 8)).view(3, 2, 7, 8)[0]  # pyright: ignore
    mixed = told_1B[0, :, None] * value_UBH[0] + (1 - told_1B[0, :, None]) * value_UBH[1]
    torch.testing.assert_close(states[1], mixed)


def test_stitches_are_those_of_every_layer():
    schema = plain_schema()
    for unit in ("scalar", "channel"):
        stitched = CrossStitch(schema, embedding_width=4, layers=[8, 6], tower_layers=[], stitch_unit=unit)
        expected = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).expand(2, 2, 2)
        torch.testing.assert_close(stitched.diagnostics(random_batch(schema, 3))["stitch"], expected)
    found = Sluice(schema, embedding_width=4, layers=[8, 8], tower_layers=[], subspaces=2).diagnostics(
        random_batch(schema, 3)
    )
    assert found["stitch"].shape == (2, 4, 4)
    torch.testing.assert_close(found["share"], torch.tensor([[0.1, 0.9], [0.1, 0.9]]))


def test_fields_attend_to_fields():
    schema = plain_schema()
    config = compose(["model=mtphn", *SMALL])
    model: MTPHN = instantiate(config.model)(schema=schema).eval()
    batch = random_batch(schema, 7)
    found: Tensor = model.diagnostics(batch)["attention/fields"]
    assert found.shape == (2, 6, 6)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(2, 6))
    attention = model.experts.attention
    x_BFD = model.fields(batch)
    weight_BHFF = attention.weights(x_BFD)
    value = attention.query_key_value(x_BFD.reshape(1, -1, 4))[2].view(7, 6, 2, 2).transpose(1, 2)
    mixed = (weight_BHFF @ value).transpose(1, 2).reshape(1, -1, 4)
    expected = attention.output(mixed).view(7, 6, 4)
    torch.testing.assert_close(attention(x_BFD), expected)
    assert isinstance(attention, nn.Module)
