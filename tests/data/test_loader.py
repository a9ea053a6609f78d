"""Batches: the same as row by row, whatever the order and the size."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mtlbench.data.loader import Rows, order
from mtlbench.data.split import by_key
from mtlbench.ingest.prepare import Provenance, prepare
from toy import Toy, write_toy


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    folder = tmp_path_factory.mktemp("toy")
    store = prepare(
        Toy(),
        write_toy(folder / "raw", rows=101),
        folder / "store",
        processes=1,
        split=partial(by_key, table="users", fraction=0.3, seed=0),
        provenance=Provenance(origin="simulated"),
    )
    return store.split("test")


def naive(rows: Rows, row: int, name: str) -> list[float]:
    """One row, by plain indexing: its own values, then those of the table row that it points at."""
    user = int(rows.pointers["users"][row])
    own = rows.columns[name][row].tolist() if name in rows.columns else []
    return own + (rows.tables["users"][name][user].tolist() if name in rows.tables["users"] else [])


def test_gather_equals_row_by_row(rows: Rows) -> None:
    index = torch.tensor([5, 99, 5, 0, 42])
    batch = rows.gather(index)
    for name in ("ids", "numbers", "weights"):
        assert getattr(batch, name).tolist() == [naive(rows, row, name) for row in index.tolist()]
    assert batch.ids.shape == (5, sum(field.width for field in rows.schema.id_fields))
    assert batch.labels is not None
    assert batch.time is not None
    assert batch.labels.tolist() == [[float(v) for v in rows.columns["labels"][row].tolist()] for row in index.tolist()]
    assert batch.time.tolist() == [int(rows.columns["time"][row]) for row in index.tolist()]
    assert batch.row.tolist() == index.tolist()
    assert batch.group is not None
    assert batch.group.tolist() == [int(rows.columns["group"][row]) for row in index.tolist()]
    assert batch.observed is None
    assert (batch.ids.dtype, batch.numbers.dtype, batch.labels.dtype) == (torch.int32, torch.float32, torch.float32)


def test_order_is_a_permutation_and_a_function_of_seed_and_epoch() -> None:
    first = order(1000, seed=0, epoch=0)
    assert first.sort().values.equal(torch.arange(1000))
    assert first.equal(order(1000, seed=0, epoch=0))
    assert order(0, seed=0, epoch=0).shape == (0,)
    seen = {tuple(order(1000, seed=seed, epoch=epoch).tolist()) for seed in range(4) for epoch in range(4)}
    assert len(seen) == 16
    torch.manual_seed(5)
    assert first.equal(order(1000, seed=0, epoch=0)), "the global random state plays no part"
    assert not np.array_equal(first[:10].numpy(), np.arange(10))


def test_to_moves_everything(rows: Rows) -> None:
    moved = rows.to("meta")
    assert moved.device.type == "meta"
    assert {
        t.device.type for group in (moved.columns, moved.pointers, *moved.tables.values()) for t in group.values()
    } == {"meta"}
    assert moved.nbytes == rows.nbytes


def test_nothing_is_copied_until_it_is_gathered(rows: Rows) -> None:
    with Path("/proc/self/maps").open() as maps:
        ranges = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in maps if ".arrow" in line]
    tensors = [*rows.columns.values(), *rows.pointers.values(), *rows.tables["users"].values()]
    assert all(any(start <= tensor.data_ptr() < stop for start, stop in ranges) for tensor in tensors)
