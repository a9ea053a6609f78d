"""Pretrained vectors beside an embedding table: a block with some is one whose table holds them."""

import pytest
import torch

from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.schema import PADDING, Schema
from synthetic import plain_schema, random_batch, rich_schema

WIDTH = 5


def pair(schema: Schema, own: int, *, frozen: bool) -> tuple[FieldEmbedding, FieldEmbedding, torch.Tensor]:
    """A block with vectors of two fields, one without that has loaded its state, and the rows that have vectors."""
    block = FieldEmbedding(schema, WIDTH)
    names = list({field.vocabulary_name: field.name for field in schema.id_fields}.values())[:2]
    cardinality = {field.name: field.cardinality for field in schema.id_fields}
    taken: list[torch.Tensor] = []
    for name in names:
        rows = schema.offsets[name] + torch.arange(1, cardinality[name])[::2]
        block.add_vectors(rows, torch.randn(len(rows), own), frozen=frozen)
        taken.append(rows)
    plain = FieldEmbedding(schema, WIDTH)
    plain.load_state_dict(block.state_dict())
    return block, plain, torch.cat(taken)


@pytest.mark.parametrize("schema", [plain_schema(numbers=2), rich_schema()], ids=["plain", "rich"])
@pytest.mark.parametrize("own", [WIDTH, 3])
def test_it_is_a_table_that_holds_the_projected_vectors(schema: Schema, own: int):
    block, plain, rows = pair(schema, own, frozen=True)
    batch = random_batch(schema, 17)
    assert torch.allclose(block(batch), plain(batch), atol=1e-6)
    for field in schema.id_fields:
        assert torch.allclose(block.entries(batch, field.name), plain.entries(batch, field.name), atol=1e-6)
    assert not torch.isin(block.rows(batch), rows).any()
    assert [*plain.state_dict()] == [*FieldEmbedding(schema, WIDTH).state_dict()]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_go_to_the_vectors_alone_where_there_are_some(sparse: bool, frozen: bool):
    schema = rich_schema()
    block, plain, rows = pair(schema, WIDTH, frozen=frozen)
    batch = random_batch(schema, 17)
    for each in (block, *block.pretrained):
        each.sparse = sparse  # pyright: ignore[reportArgumentType]
    for each in (block, plain):
        each(batch).square().sum().backward()
    dense = [block.embedding.grad.to_dense() if sparse else block.embedding.grad, plain.embedding.grad]  # pyright: ignore[reportOptionalMemberAccess]
    own, expected = (gradient.clone() for gradient in dense if gradient is not None)
    assert not own[rows].any()
    if not frozen:
        for vectors in block.pretrained:
            gradient = vectors.embedding.grad  # pyright: ignore[reportAttributeAccessIssue]
            assert gradient.is_sparse == sparse
            own[vectors.rows_of_table] = gradient.to_dense()[PADDING + 1 :]  # pyright: ignore[reportArgumentType]
        assert torch.allclose(own, expected, atol=1e-5)
    else:
        assert all(vectors.embedding.grad is None for vectors in block.pretrained)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_block_without_vectors_is_what_it_was():
    torch.manual_seed(0)
    block = FieldEmbedding(rich_schema(), WIDTH)
    assert not any("pretrained" in name for name in block.state_dict())
    batch = random_batch(rich_schema(), 3)
    assert block.rows(batch) is batch.ids
