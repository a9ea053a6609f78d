"""Rows with one field shuffled: every kind of field, of the rows and of a dimension table."""

from functools import partial
from pathlib import Path

import pytest
import torch

from mtlbench.data.loader import order
from mtlbench.data.shuffled import ShuffledRows
from mtlbench.data.split import halve_test
from mtlbench.data.store import Store
from mtlbench.ingest.prepare import Provenance, prepare
from toy import Toy, write_toy


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder: Path = tmp_path_factory.mktemp("shuffled")
    raw, provenance = write_toy(folder / "raw"), Provenance(origin="real", identity={})
    return prepare(
        Toy(), raw, folder / "store", split=partial(halve_test, seed=0), provenance=provenance, min_count=1, processes=1
    )


@pytest.mark.parametrize("name", ["price", "city", "history", "item", "tags", "colour", "embedding"])
def test_a_field_alone_comes_from_the_other_rows(store: Store, name: str) -> None:
    rows, schema = store.split("test"), store.schema
    (field,) = (field for field in schema.fields if field.name == name)
    sample = torch.arange(3, len(rows), 2)
    donor = sample[order(len(sample), 0, 1)]
    shuffled = ShuffledRows(rows=rows, sample=sample, field=field, donor=donor)
    index = torch.arange(10, 40)
    found, own, other = shuffled.gather(index), rows.gather(sample[index]), rows.gather(donor[index])
    assert own.weights is not None
    for block, columns in (
        ("ids", schema.slots),
        ("numbers", schema.number_columns),
        ("weights", schema.weight_columns),
    ):
        expected = getattr(own, block).clone()
        if name in columns:
            at = list(columns[name])
            assert not torch.equal(expected[:, at], getattr(other, block)[:, at])
            expected[:, at] = getattr(other, block)[:, at]
        assert torch.equal(getattr(found, block), expected)
    assert torch.equal(found.labels, own.labels)
    assert torch.equal(ShuffledRows(rows=rows, sample=sample, donor=donor).gather(index).ids, own.ids)
