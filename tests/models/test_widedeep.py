"""Wide&Deep: counts, each part by itself, crosses by hand."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.models.dnn import DNN
from mtlbench.models.widedeep import WideDeep
from mtlbench.nn.wide import CrossedFields, FirstOrder
from mtlbench.schema import Batch
from synthetic import plain_schema, random_batch, rich_schema

FIXTURE = plain_schema()
"""Six fields of eleven ids; embeddings of four components."""
BATCH = random_batch(FIXTURE, 17)


def widedeep(**changes: Any) -> WideDeep:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "layers": (16, 8)} | changes
    return WideDeep(FIXTURE, **arguments)


def randomise(table: Tensor) -> None:
    """Any value but in the row of padding."""
    nn.init.normal_(table)
    with torch.no_grad():
        table[0] = 0


def with_ids(batch: Batch, ids: Tensor) -> Batch:
    return replace(batch, ids=ids)


def test_parameter_counts():
    network = widedeep(crosses=[("id0", "id3")])
    dense = sum(p.numel() for name, p in network.named_parameters() if "embedding" not in name)
    ids = network.wide.fields.embedding.numel() - 1  # padding has a row, but no weight
    assert ids + dense == 6 * 11 + 545 == 611
    assert network.crossed is not None
    assert network.crossed.embedding.numel() - 1 == 11 * 11
    assert widedeep(crosses=[("id0", "id3"), ("id1", "id2")], cross_buckets=7).crossed.embedding.numel() == 1 + 7 + 7


# --- first order


def test_first_order_is_a_loop_over_every_kind_of_field():
    schema = rich_schema()
    batch = random_batch(schema, 31)
    wide = FirstOrder(schema)
    assert not wide(batch).count_nonzero()
    randomise(wide.fields.embedding)
    nn.init.normal_(wide.fields.numbers)
    assert batch.weights is not None
    for row, found in enumerate(wide(batch)):
        expected = torch.zeros(())
        for field in schema.id_fields:
            ids = batch.ids[row, list(schema.slots[field.name])]
            weights = (ids > 0).float()
            if field.weighted:
                weights = weights * batch.weights[row, list(schema.weight_columns[field.name])]
            if weights.sum():
                expected = expected + (weights * wide.fields.embedding[ids.long(), 0]).sum() / weights.sum()
        expected = expected + (batch.numbers[row] * wide.fields.numbers[:, 0]).sum()
        torch.testing.assert_close(found, expected)


def test_a_dead_network_leaves_a_logistic_regression():
    network = widedeep()
    nn.init.zeros_(network.tower.head.weight)
    nn.init.constant_(network.tower.head.bias, 0.5)
    randomise(network.wide.fields.embedding)
    weights = network.wide.fields.embedding[:, 0]
    torch.testing.assert_close(network(BATCH), weights[BATCH.ids.long()].sum(dim=1) + 0.5)


def test_a_dead_wide_part_leaves_a_network():
    network, plain = widedeep(crosses=[("id0", "id1")]), DNN(FIXTURE, embedding_width=4, layers=(16, 8))
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if k.startswith(("fields", "tower"))})
    torch.testing.assert_close(network(BATCH), plain(BATCH))


def test_parts_add_up():
    network = widedeep(crosses=[("id0", "id1")])
    assert network.crossed is not None
    randomise(network.wide.fields.embedding)
    randomise(network.crossed.embedding)
    deep_B = network.tower(network.fields(BATCH).flatten(1)[None])[:, 0]
    torch.testing.assert_close(network(BATCH), deep_B + network.wide(BATCH) + network.crossed(BATCH))


# --- crosses


def test_every_pair_of_ids_has_a_weight_of_its_own():
    crossed = CrossedFields(FIXTURE, [("id4", "id1")], buckets=121)
    with torch.no_grad():
        crossed.embedding[:, 0] = torch.arange(122)
    batch = random_batch(FIXTURE, 121)
    ids = batch.ids.clone()
    ids[:, 4] = torch.arange(121) // 11 + FIXTURE.offsets["id4"]
    ids[:, 1] = torch.arange(121) % 11 + FIXTURE.offsets["id1"]
    assert crossed(with_ids(batch, ids)).tolist() == list(range(1, 122))


def test_shared_buckets_by_hand():
    crossed = CrossedFields(FIXTURE, [("id0", "id1"), ("id2", "id0")], buckets=5)
    with torch.no_grad():
        crossed.embedding[:, 0] = torch.tensor([0, 1, 2, 3, 4, 5, 10, 20, 30, 40, 50])
    ids = BATCH.ids[:1].clone()
    for name, place in (("id0", 3), ("id1", 7), ("id2", 10)):
        ids[0, FIXTURE.slots[name].start] = FIXTURE.offsets[name] + place
    # 3 * 11 + 7 = 40 is 0 modulo 5, 10 * 11 + 3 = 113 is 3: the first weight of one pair, the fourth of the other
    assert crossed(with_ids(random_batch(FIXTURE, 1), ids)).tolist() == [1 + 40]


def test_a_cross_sees_its_own_pair_alone():
    crossed = CrossedFields(FIXTURE, [("id0", "id2")], buckets=121)
    randomise(crossed.embedding)
    ids = BATCH.ids.clone()
    for slot in (1, 3, 4, 5):
        ids[:, slot] = FIXTURE.offsets[f"id{slot}"]
    assert torch.equal(crossed(with_ids(BATCH, ids)), crossed(BATCH))
    for slot in (0, 2):
        ids = BATCH.ids.clone()
        ids[:, slot] = (ids[:, slot] - FIXTURE.offsets[f"id{slot}"] + 1) % 11 + FIXTURE.offsets[f"id{slot}"]
        assert (crossed(with_ids(BATCH, ids)) != crossed(BATCH)).all()


def test_an_absent_id_crosses_to_nothing():
    crossed = CrossedFields(FIXTURE, [("id0", "id2")], buckets=7)
    randomise(crossed.embedding)
    for slot in (0, 2):
        ids = BATCH.ids.clone()
        ids[:, slot] = 0
        assert not crossed(with_ids(BATCH, ids)).count_nonzero()


def test_large_vocabularies_do_not_overflow():
    schema = plain_schema(fields=2, cardinality=2_000_000)
    crossed = CrossedFields(schema, [("id0", "id1")], buckets=1000)
    with torch.no_grad():
        crossed.embedding[:, 0] = torch.arange(1001)
    batch = random_batch(schema, 1)
    last = torch.tensor([[2_000_000, 4_000_000]], dtype=torch.int32)
    assert crossed(with_ids(batch, last)).item() == (2_000_000**2 - 1) % 1000 + 1


def test_sparse_crosses_learn_the_same():
    gradients = []
    for sparse in (False, True):
        network = widedeep(crosses=[("id0", "id1"), ("id0", "id2")])
        assert network.crossed is not None
        network.crossed.sparse = sparse
        network(BATCH).square().sum().backward()
        gradient = network.crossed.embedding.grad
        assert gradient is not None
        assert gradient.is_sparse == sparse
        gradients.append(gradient.to_dense())
    assert gradients[0].count_nonzero()
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("crosses", "message"),
    [
        ([("item", "tags")], r"crosses has \['item', 'tags'\]; allowed: two different single-valued id fields"),
        ([("item", "price")], r"of \['item', 'user'\]"),
        ([("item", "nobody")], "'nobody'"),
        ([("item", "item")], "two different"),
        ([("item",)], "two different"),
        ([("item", "user"), ("user", "item")], "a pair of fields twice"),
    ],
)
def test_refusals(crosses: list[tuple[str, ...]], message: str):
    with pytest.raises(ValueError, match=message):
        WideDeep(rich_schema(), embedding_width=4, layers=(5,), crosses=crosses)


def test_no_buckets_are_refused():
    with pytest.raises(ValueError, match="cross_buckets is 0; allowed: 1 or more"):
        widedeep(crosses=[("id0", "id1")], cross_buckets=0)
