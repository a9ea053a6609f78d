"""Tables in bfloat16: rounding without bias; rows that are looked up, and their gradients, as of a float32 table."""

import math

import pytest
import torch
from torch import Tensor

from mtlbench.models.mmoe import MMoE
from mtlbench.nn.bf16_tables import stochastically_rounded, store_in_bf16
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.wide import CrossedFields
from synthetic import random_batch, rich_schema


def pattern(*bits: int) -> Tensor:
    return torch.tensor(bits, dtype=torch.int64).to(torch.int32).view(torch.float32)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_numbers_that_bfloat16_has_stay_as_they_are():
    every = torch.arange(2**16).to(torch.int16).view(torch.bfloat16)  # zeros, subnormal numbers, infinities among them
    every = every[~every.isnan()]
    assert len(every) == 2**16 - 2 * 127
    for _ in range(5):
        assert torch.equal(stochastically_rounded(every.float()).view(torch.int16), every.view(torch.int16))


def test_nan_stays_nan():
    """Of every pattern: adding to the lower half of it could carry into infinity, or over the sign to zero."""
    nans = pattern(0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF, 0x7FC00000).repeat(1000)
    assert bool(stochastically_rounded(nans).isnan().all())


def test_a_number_goes_to_one_of_its_two_neighbours():
    bits = torch.randint(-(2**31), 2**31, (200_000,)).to(torch.int32)
    x = bits.view(torch.float32)
    x = x[x.isfinite()]
    inward = x.view(torch.int32) & ~0xFFFF  # towards zero, whatever the sign
    outward = (inward + 0x10000).view(torch.float32)
    inward, found = inward.view(torch.float32), stochastically_rounded(x).float()
    assert bool(((found == inward) | (found == outward)).all())
    assert 0.45 < (found == outward).double().mean() < 0.55


@pytest.mark.parametrize(
    ("number", "below", "above"),
    [
        (1 + 1 / 512, 1.0, 1 + 1 / 128),  # a quarter of the way
        (-(1 + 3 / 512), -(1 + 1 / 128), -1.0),
        (1e-3, 0.00099945068359375, 0.001007080078125),
        (2.0**-133 + 2.0**-140, 2.0**-133, 2.0**-132),  # subnormal
    ],
)
def test_the_mean_of_many_draws_is_the_number(number: float, below: float, above: float):
    draws = 400_000
    found = stochastically_rounded(torch.full((draws,), number)).double()
    exact = float(torch.tensor(number))
    assert set(found.tolist()) == {below, above}
    share = (exact - below) / (above - below)
    error = math.sqrt(share * (1 - share) / draws)
    assert abs(float((found == above).double().mean()) - share) < 5 * error
    nearest = float(torch.tensor(number).bfloat16())
    assert abs(nearest - exact) > 5 * error * (above - below)  # which this test would see


def test_neighbouring_elements_are_rounded_independently():
    x = torch.full((200_000, 4), 1 + 1 / 256)  # half way: a fair coin
    up = (stochastically_rounded(x) > 1).double()
    correlation = torch.corrcoef(up.T) - torch.eye(4, dtype=torch.float64)
    assert float(correlation.abs().max()) < 5 / math.sqrt(len(x))


def test_the_same_seed_gives_the_same_bits_and_any_shape_is_taken():
    x = torch.randn(3, 2, 7)[:, 1]  # not contiguous, and no multiple of four
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(stochastically_rounded(x))
    assert found[0].shape == (3, 7)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert stochastically_rounded(torch.zeros(0, 2, 5)).shape == (0, 2, 5)


BLOCKS = {
    "fields": lambda schema: FieldEmbedding(schema, 5),
    "crossed": lambda schema: CrossedFields(schema, [["item", "user"]], 50),
    "model": lambda schema: MMoE(schema, embedding_width=5, experts=2, expert_layers=[3], tower_layers=[3]),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_rows_and_their_gradients_are_those_of_a_float32_table_with_the_same_numbers(kind: str):
    schema = rich_schema()
    batch, block = random_batch(schema, 31), BLOCKS[kind](schema)
    table = next(module for module in block.modules() if hasattr(module, "held"))
    with torch.no_grad():
        table.embedding.copy_(torch.randn_like(table.embedding).bfloat16())
        table.embedding[0] = 0
    outcomes: list[tuple[Tensor, Tensor]] = []
    for _ in range(2):
        block.zero_grad()
        outcome = block(batch)
        outcome.sin().sum().backward()
        gradient = table.embedding.grad
        outcomes.append((outcome, gradient.to_dense() if gradient.is_sparse else gradient.clone()))
        store_in_bf16(table.embedding)
    assert table.embedding.dtype == torch.bfloat16
    assert gradient.is_sparse
    assert gradient.dtype == torch.float32
    assert 0 not in gradient.coalesce().indices()  # padding
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    torch.testing.assert_close(outcomes[0][1], outcomes[1][1], rtol=1e-5, atol=1e-6)


def test_a_block_in_float32_takes_the_state_of_one_in_bfloat16_exactly():
    schema = rich_schema()
    stored, plain = FieldEmbedding(schema, 5), FieldEmbedding(schema, 5)
    store_in_bf16(stored.embedding)
    plain.load_state_dict(stored.state_dict())
    assert plain.embedding.dtype == torch.float32
    assert torch.equal(plain.embedding, stored.embedding.float())
    batch = random_batch(schema, 31)
    assert torch.equal(plain(batch), stored(batch))


def test_pretrained_vectors_are_not_rounded_when_a_block_takes_them_into_its_table():
    schema = rich_schema()
    rows, vectors = torch.tensor([2, 3]), torch.randn(2, 5)
    stored, plain = FieldEmbedding(schema, 5), FieldEmbedding(schema, 5)
    stored.add_vectors(rows, vectors, frozen=True)
    store_in_bf16(stored.embedding)
    plain.load_state_dict(stored.state_dict())
    assert torch.equal(plain.embedding[rows], vectors)
    batch = random_batch(schema, 31)
    torch.testing.assert_close(plain(batch), stored(batch), rtol=1e-6, atol=1e-6)  # bags add up in another order


def test_a_frozen_table_is_stored_too():
    schema = rich_schema()
    block = FieldEmbedding(schema, 5).requires_grad_(False)
    store_in_bf16(block.embedding)
    assert block(random_batch(schema, 7)).dtype == torch.float32
