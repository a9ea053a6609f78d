"""DIN: counts, the whole network as a loop, and what it refuses."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mtlbench.models.din import DIN
from mtlbench.models.dnn import DNN
from mtlbench.models.single_task import SingleTask
from mtlbench.schema import Batch
from synthetic import plain_schema, random_batch, rich_schema

SCHEMA = plain_schema(history=5)
BATCH = random_batch(SCHEMA, 17)
PAST = plain_schema(fields=1, cardinality=31, history=5)
"""A candidate and a history alone."""


def din(**changes: Any) -> DIN:
    torch.manual_seed(0)
    return DIN(SCHEMA, **({"embedding_width": 4, "layers": (16, 8)} | changes))


def count(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


def tower(inputs: int, *layers: int) -> int:
    widths = [inputs, *layers, 1]
    return sum(a * b + b for a, b in pairwise(widths))


def test_parameter_counts():
    assert count(din(activation="relu")) == tower(16, 80, 40) + tower(7 * 4, 16, 8) == 5250
    assert count(din()) == 5250 + 16 + 8, "an alpha for each unit under Dice"
    assert count(din(attention_activation="dice")) == 5250 + 16 + 8 + 80 + 40
    weighted = DIN(rich_schema(), embedding_width=4, layers=(), activation="relu")
    assert count(weighted) == tower(17, 80, 40) + tower(5 * 4 + 5) + 4 * 4  # and a matrix for numbers
    assert din().fields.fields.embedding.shape == (SCHEMA.embedding_rows, 4)


def test_the_network_is_a_loop():
    model = din(activation="sigmoid", attention_layers=(3,))
    table, (attention,) = model.fields.fields.embedding, model.interests.units
    layer, head = attention.scores.hidden.layers[0], attention.scores.head
    for row in range(17):
        ids = BATCH.ids[row].long()
        v = torch.zeros(4)
        for entry in ids[6:]:
            if entry:
                s, c = table[entry], table[ids[0]]
                h = torch.sigmoid(torch.cat([s, c, s - c, s * c]) @ layer.weight[0] + layer.bias[0])
                v = v + (h @ head.weight[0, :, 0] + head.bias[0, 0]) * s
        h = torch.cat([table[ids[:6]].flatten(), v])
        for hidden in model.tower.hidden.layers:
            h = torch.sigmoid(h @ hidden.weight[0] + hidden.bias[0])
        torch.testing.assert_close(
            model(BATCH)[row], h @ model.tower.head.weight[0, :, 0] + model.tower.head.bias[0, 0]
        )


def test_with_attention_of_one_it_is_a_network_on_sums():
    """A DNN pools a history to its mean, a DIN whose attention is 1 to its sum; both are the entry if there is one."""
    model, network = din(activation="relu"), DNN(SCHEMA, embedding_width=4, layers=(16, 8))
    (attention,) = model.interests.units
    nn.init.zeros_(attention.scores.head.weight)
    nn.init.ones_(attention.scores.head.bias)
    network.fields.load_state_dict(model.fields.fields.state_dict())
    network.tower.load_state_dict(model.tower.state_dict())
    single = (BATCH.ids[:, 6:] > 0).sum(dim=1) <= 1
    assert 0 < single.sum() < 17
    torch.testing.assert_close(model(BATCH)[single], network(BATCH)[single])
    assert not torch.allclose(model(BATCH)[~single], network(BATCH)[~single])


def again_or_not(seed: int) -> tuple[Batch, Tensor]:
    """In half of the rows the candidate is an entry of the history, and whether it is one decides the click."""
    batch = random_batch(PAST, 256, seed)
    ids = batch.ids.clone()
    ids[::2, 0] = torch.where(ids[::2, 1] > 0, ids[::2, 1], ids[::2, 0])
    return replace(batch, ids=ids), (ids[:, 1:] == ids[:, :1]).any(dim=1).float()


def test_attention_learns_what_the_candidate_has_in_common_with_the_past():
    """A mean of embeddings blurs whether the candidate is in it, a comparison with each entry shows it."""
    losses = []
    for make in (partial(DIN, attention_layers=(16,)), DNN):
        torch.manual_seed(0)
        network = make(PAST, embedding_width=8, layers=(16,))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        for step in range(150):
            batch, labels = again_or_not(step)
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(network(batch), labels).backward()
            optimizer.step()
        batch, labels = again_or_not(1_000)
        losses.append(binary_cross_entropy_with_logits(network.eval()(batch), labels).item())
    assert losses[0] < 0.1
    assert losses[1] > 0.2


def test_diagnostics():
    found = din().diagnostics(BATCH)
    assert found["attention/history"].shape == (17, 5)
    assert torch.equal(found["attention/history"] != 0, BATCH.ids[:, 6:] > 0)
    both = SingleTask(SCHEMA, network=partial(DIN, embedding_width=4, layers=(8,)))
    assert set(both.diagnostics(BATCH)) == {"task0/attention/history", "task1/attention/history"}
    assert SingleTask(SCHEMA, network=partial(DNN, embedding_width=4, layers=(8,))).diagnostics(BATCH) == {}


def test_refusals():
    with pytest.raises(ValueError, match=r"dataset=aliccp dataset.fields=din"):
        SingleTask(plain_schema(), network=partial(DIN, embedding_width=4, layers=(8,)))
    with pytest.raises(ValueError, match="batch of one row"):
        din()(random_batch(SCHEMA, 1))
    assert din().eval()(random_batch(SCHEMA, 1)).shape == (1,)
