"""NFM: counts, the factorisation machine inside, batch statistics."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import nn

from mtlbench.models.nfm import NFM
from mtlbench.nn.pairwise import bi_interaction
from synthetic import plain_schema, random_batch

FIXTURE = plain_schema()
"""Six fields of eleven ids; embeddings of four components."""
BATCH = random_batch(FIXTURE, 17)
PLAIN = {"interaction_batch_norm": False, "interaction_dropout": 0.0}


def nfm(**changes: Any) -> NFM:
    torch.manual_seed(0)
    arguments = {"embedding_width": 4, "layers": (16, 8)} | changes
    return NFM(FIXTURE, **arguments)


def test_parameter_counts():
    counts = [
        sum(p.numel() for name, p in network.named_parameters() if "embedding" not in name)
        + network.wide.fields.embedding.numel()
        - 1  # padding has a row, but no weight
        for network in (nfm(interaction_batch_norm=False), nfm())
    ]
    assert counts == [66 + 4 * 16 + 16 + 16 * 8 + 8 + 9, 291 + 2 * 4] == [291, 299]


# --- sum of products


def test_products_by_hand():
    x_BFD = torch.tensor([[[1.0, 2.0], [3.0, 5.0], [-1.0, 7.0]]])
    assert bi_interaction(x_BFD).tolist() == [[3 - 1 - 3, 10 + 14 + 35]]


def test_products_of_all_pairs():
    x_BFD = torch.randn(5, 7, 3, dtype=torch.float64)
    expected_BD = sum(x_BFD[:, i] * x_BFD[:, j] for i, j in combinations(range(7), 2))
    torch.testing.assert_close(bi_interaction(x_BFD), expected_BD)
    torch.testing.assert_close(bi_interaction(x_BFD[:, torch.randperm(7)]), expected_BD)
    assert not bi_interaction(x_BFD[:, :1]).count_nonzero()


# --- the network


def test_without_layers_it_is_a_factorisation_machine():
    network = nfm(layers=(), **PLAIN)
    nn.init.ones_(network.tower.head.weight)
    nn.init.constant_(network.tower.head.bias, 0.5)
    nn.init.normal_(network.wide.fields.embedding)
    e_BFD = network.fields(BATCH)
    expected_B = 0.5 + network.wide.fields.embedding[BATCH.ids.long(), 0].sum(dim=1)
    for i, j in combinations(range(6), 2):
        expected_B = expected_B + (e_BFD[:, i] * e_BFD[:, j]).sum(dim=1)
    torch.testing.assert_close(network(BATCH), expected_B)


def test_batch_statistics_by_hand():
    network = nfm(interaction_dropout=0.0)
    assert network.batch_norm is not None
    nn.init.normal_(network.wide.fields.embedding)
    nn.init.normal_(network.batch_norm.weight)
    nn.init.normal_(network.batch_norm.bias)
    x_BD = bi_interaction(network.fields(BATCH))
    mean_D, variance_D = x_BD.mean(dim=0), x_BD.var(dim=0, correction=0)

    def expected(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        normal_BD = (x_BD - mean) / (variance + 1e-5).sqrt() * network.batch_norm.weight + network.batch_norm.bias
        return network.tower(normal_BD[None])[:, 0] + network.wide(BATCH)

    torch.testing.assert_close(network(BATCH), expected(mean_D, variance_D))
    running = 0.9 + 0.1 * x_BD.var(dim=0)
    torch.testing.assert_close(network.eval()(BATCH), expected(0.1 * mean_D, running))


def test_dropout_leaves_out_components_of_the_sum_of_products():
    network = nfm(layers=(), interaction_batch_norm=False, interaction_dropout=0.5).train()
    nn.init.ones_(network.tower.head.weight)
    x_BD = bi_interaction(network.fields(BATCH))
    parts = torch.stack([(2 * x_BD * torch.tensor([n >> d & 1 for d in range(4)])).sum(dim=1) for n in range(16)])
    found = network(BATCH)
    assert ((parts - found).abs().min(dim=0).values < 1e-5).all()
    assert not torch.allclose(found, x_BD.sum(dim=1))


def test_a_batch_of_one():
    one = replace(BATCH, ids=BATCH.ids[:1], numbers=BATCH.numbers[:1])
    network = nfm().train()
    with pytest.raises(ValueError, match=r"a batch of one row.*two rows or more.*interaction_batch_norm=false"):
        network(one)
    assert network.eval()(one).shape == (1,)
    assert nfm(**PLAIN).train()(one).shape == (1,)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_refusals(dropout: float):
    with pytest.raises(ValueError, match=r"interaction_dropout is .*; allowed: .*0 or more and below 1"):
        nfm(interaction_dropout=dropout)
