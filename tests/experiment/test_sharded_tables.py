"""Rows of a sharded table: initial values of the whole one, and which tables and optimizers cannot be sharded."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from mtlbench.distributed import sharded
from mtlbench.distributed.job import Job, enter
from mtlbench.distributed.sharded import held_rows, shards_of, tables_sharded
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.objects import build_run_optimizers, check_sharded
from mtlbench.models.stem import STEM
from mtlbench.nn.embedding import FieldEmbedding
from synthetic import plain_schema, rich_schema


@contextmanager
def as_rank(rank: int, ranks: int) -> Iterator[None]:
    before = enter(Job(rank=rank, ranks=ranks))
    try:
        yield
    finally:
        enter(before)


@pytest.mark.parametrize("std", [None, 0.3])
@pytest.mark.parametrize("fields", [1, 3, 4, 6, 17])
@pytest.mark.parametrize("width", [1, 3, 16])
def test_initial_values_are_those_of_a_whole_table(
    monkeypatch: pytest.MonkeyPatch, std: float | None, fields: int, width: int
):
    """With pieces of 16 rows, and tables of 12, 34, 45, 67 and 188; what is drawn next is the same too."""
    monkeypatch.setattr(sharded, "PIECE", 16)
    schema = plain_schema(fields)

    def built() -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(3)
        table = FieldEmbedding(schema, width, std).embedding.detach()
        return table, torch.rand(1)

    whole, later = built()
    for rank in range(3):
        with as_rank(rank, 3), tables_sharded(True):
            own, next_number = built()
        assert torch.equal(own, whole[rank::3])
        assert torch.equal(next_number, later)


def test_tables_are_whole_where_sharding_is_not_asked_for():
    with as_rank(1, 2):
        assert held_rows(5) == range(5)
        with tables_sharded(False):
            assert held_rows(5) == range(5)
        with tables_sharded(True):
            assert held_rows(5) == range(1, 5, 2)
        assert held_rows(5) == range(5)
    with tables_sharded(True):
        assert held_rows(5) == range(5)


def test_all_tables_of_a_model_are_sharded():
    with as_rank(1, 2), tables_sharded(True):
        model = STEM(
            rich_schema(), embedding_width=3, task_experts=1, shared_experts=1, expert_layers=[2], tower_layers=[]
        )
    assert len(shards_of(model)) == 3
    with as_rank(1, 2):
        check_sharded(model)


class Lookup(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.item_embedding = nn.Embedding(5, 2)


def test_tables_that_cannot_be_sharded_are_named():
    check_sharded(Lookup())  # nothing is, on one process
    with (
        as_rank(0, 2),
        pytest.raises(ConfigError, match=r"cannot be sharded: item_embedding\.weight\. Use"),
    ):
        check_sharded(Lookup())


def test_an_optimizer_that_looks_at_all_rows_is_refused():
    kind = {"_target_": "torch.optim.Adafactor", "_partial_": True}
    config = OmegaConf.create({"optimizer": {"embedding": kind, "dense": kind, "gate": None, "sparse": False}})
    assert build_run_optimizers(config, FieldEmbedding(rich_schema(), 3))
    with as_rank(1, 2), tables_sharded(True):
        block = FieldEmbedding(rich_schema(), 3)
        with pytest.raises(ValueError, match=r"optimizer\.embedding: run\.shard_tables=true needs an optimizer that"):
            build_run_optimizers(config, block)
