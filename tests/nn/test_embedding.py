"""The field embedding against plain loops, with every kind of field there is."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.schema import PADDING, Batch, Field, Schema, Task
from synthetic import plain_schema, random_batch, rich_schema

TASKS = (Task(name="task", label="label"),)


def naive(block: FieldEmbedding, schema: Schema, batch: Batch) -> Tensor:
    """Row by row and field by field, in the words of the docstring."""
    table, rows = block.embedding, []
    for b in range(len(batch)):
        row = []
        for field in schema.id_fields:
            total, weights = torch.zeros(table.shape[1], dtype=table.dtype), 0.0
            for place, slot in enumerate(schema.slots[field.name]):
                weight = 1.0
                if field.weighted:
                    assert batch.weights is not None
                    weight = float(batch.weights[b, schema.weight_columns[field.name][place]])
                if batch.ids[b, slot] != PADDING:
                    total = total + weight * table[batch.ids[b, slot]]
                    weights += weight
            row.append(total / weights if weights else total)
        start = 0
        for field in schema.number_fields:
            numbers = batch.numbers[b, list(schema.number_columns[field.name])].to(table.dtype)
            row.append(numbers @ block.numbers[start : start + field.width])
            start += field.width
        rows.append(torch.stack(row))
    return torch.stack(rows)


MIXED = Schema(
    fields=(
        Field(name="bag", cardinality=5, width=3),
        Field(name="single", cardinality=7),
        Field(name="weighted", cardinality=11, width=2, weighted=True, table="t"),
        Field(name="last", cardinality=3, table="t"),
    ),
    tasks=TASKS,
)
"""Bags and single ids by turns, no numbers."""


@pytest.mark.parametrize(
    "schema",
    [
        plain_schema(numbers=2),
        plain_schema(),
        rich_schema(),
        MIXED,
        Schema(fields=(Field(name="n", kind="number", width=2),), tasks=TASKS),
    ],
    ids=["single+numbers", "single", "rich", "mixed", "numbers alone"],
)
def test_every_field_is_its_equation(schema: Schema):
    torch.manual_seed(0)
    block = FieldEmbedding(schema, 5).double()
    batch = random_batch(schema, 17)
    x_BFD = block(batch)
    assert x_BFD.shape == (17, len(schema.fields), 5)
    torch.testing.assert_close(x_BFD, naive(block, schema, batch), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_are_those_of_the_loop(sparse: bool):
    schema = rich_schema()
    block = FieldEmbedding(schema, 3).double()
    batch = random_batch(schema, 11)
    direction = torch.randn(11, len(schema.fields), 3, dtype=torch.float64)
    expected = torch.autograd.grad((naive(block, schema, batch) * direction).sum(), list(block.parameters()))
    block.sparse = sparse
    (block(batch) * direction).sum().backward()
    for parameter, gradient in zip(block.parameters(), expected, strict=True):
        assert parameter.grad is not None
        gradient[PADDING] *= (
            parameter is not block.embedding
        )  # padding is zero in the loop too, but it is never trained
        torch.testing.assert_close(parameter.grad.to_dense(), gradient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("sparse", [False, True])
def test_padding_is_zero_and_never_trained(sparse: bool):
    schema = MIXED
    block = FieldEmbedding(schema, 3)
    block.sparse = sparse
    batch = random_batch(schema, 5)
    empty = replace(batch, ids=torch.zeros_like(batch.ids))
    assert not block(empty).count_nonzero()
    (block(batch).sum() + block(empty).sum()).backward()
    assert block.embedding.grad is not None
    assert block.embedding.grad.is_sparse == sparse
    assert not block.embedding.grad.to_dense()[PADDING].count_nonzero()


def test_hand_numbers_of_a_weighted_bag():
    schema = Schema(fields=(Field(name="bag", cardinality=3, width=3, weighted=True),), tasks=TASKS)
    block = FieldEmbedding(schema, 2)
    with torch.no_grad():
        block.embedding.copy_(torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    batch = replace(
        random_batch(schema, 3),
        ids=torch.tensor([[1, 2, 0], [3, 0, 0], [2, 0, 0]]).int(),
        weights=torch.tensor([[1.0, 3.0, 9.0], [0.5, 0.0, 0.0], [0.0, 7.0, 7.0]]),
    )
    # (1 e1 + 3 e2) / 4; the weight of a single id cancels; a bag without weight is nothing
    assert block(batch)[:, 0].tolist() == [[2.5, 3.5], [5.0, 6.0], [0.0, 0.0]]


def test_a_bag_of_one_is_a_single_id():
    bag = Schema(fields=(Field(name="f", cardinality=11, width=4),), tasks=TASKS)
    single = Schema(fields=(Field(name="f", cardinality=11),), tasks=TASKS)
    one, other = FieldEmbedding(bag, 3), FieldEmbedding(single, 3)
    other.load_state_dict(one.state_dict())
    batch = random_batch(single, 13)
    padded = replace(batch, ids=torch.cat([batch.ids, torch.zeros(13, 3, dtype=torch.int32)], dim=1))
    torch.testing.assert_close(one(padded), other(batch))


def test_fields_of_one_vocabulary_share_their_rows():
    schema = rich_schema()
    batch = random_batch(schema, 1)
    ids = batch.ids.clone()
    item, history = schema.slots["item"].start, schema.slots["history"].start
    ids[0, history], ids[0, history + 1 : history + 7] = ids[0, item], 0
    assert batch.weights is not None
    x_BFD = FieldEmbedding(schema, 3)(replace(batch, ids=ids, weights=torch.ones_like(batch.weights)))
    names = [field.name for field in schema.fields]
    torch.testing.assert_close(x_BFD[0, names.index("item")], x_BFD[0, names.index("history")])


def test_initial_values():
    schema = plain_schema(cardinality=997)
    known = [row for row in range(1, schema.embedding_rows) if row not in schema.unknown_rows]
    uniform = FieldEmbedding(schema, 16).embedding[known]
    assert uniform.abs().max() <= 0.25
    assert uniform.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.02)
    assert FieldEmbedding(schema, 16, std=0.01).embedding[known].std().item() == pytest.approx(0.01, rel=0.02)
    assert not FieldEmbedding(schema, 16, std=0.01).embedding[PADDING].count_nonzero()


def test_rows_of_unknown_values_start_at_zero():
    schema = rich_schema()
    block = FieldEmbedding(schema, 3)
    (first,) = {schema.offsets[field.name] for field in schema.id_fields if field.name == "item"}
    assert first in schema.unknown_rows
    assert len(schema.unknown_rows) == len({field.vocabulary_name for field in schema.id_fields})
    assert not block.embedding[list(schema.unknown_rows)].count_nonzero()


def test_refusals():
    with pytest.raises(ValueError, match="embedding_width is 0; allowed: 1 or more"):
        FieldEmbedding(plain_schema(), 0)
    with pytest.raises(ValueError, match=r"embedding_std is 0\.0"):
        FieldEmbedding(plain_schema(), 3, std=0.0)
