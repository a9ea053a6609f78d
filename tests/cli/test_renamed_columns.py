"""The file that a model was trained on is scored as it is: names of columns, and every type that a reader welcomes."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

import mtlbench
from mtlbench.cli import main

SCHEMA = {
    "rows": {"train": "rows.parquet"},
    "fields": [
        {"name": "video", "column": "video_id"},
        {"name": "tags", "column": "labels", "width": 3, "weights": "label_weights", "separator": "|"},
        {"name": "price", "kind": "number"},
    ],
    "tasks": [{"name": "click", "label": "clicked"}],
    "key": ["video_id", "request"],
}
OWN = {"video_id": "video", "labels": "tags", "label_weights": "tags:weight"}


def frame(rows: int = 240) -> pd.DataFrame:
    random = np.random.default_rng(0)
    tags = [random.integers(0, 5, n).tolist() for n in random.integers(0, 4, rows)]
    return pd.DataFrame(
        {
            "request": range(rows),
            "video_id": [f"v{number}" for number in random.integers(0, 9, rows)],
            "labels": tags,
            "label_weights": [[0.5 + tag for tag in each] for each in tags],
            "price": random.normal(size=rows),
            "clicked": random.integers(0, 2, rows),
        }
    )


def test_training_files_are_scored_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    rows = frame()
    rows.to_parquet("mine/rows.parquet")
    Path("mine.yaml").write_text(yaml.safe_dump(SCHEMA))
    words = ["dataset=parquet", "dataset.raw=mine", "dataset.schema=mine.yaml", "tracker=none", "run.threads=1"]
    small = ["model=shared_bottom", "profile.bottom_layers=[8]", "trainer.batch_size=32", "trainer.epochs=1"]
    assert main(["train", *words, *small]) == 0
    (run,) = Path("runs").glob("*/result.json")
    assert main(["export", str(run.parent), "--to", "exported", "--no-onnx"]) == 0

    rows.rename(columns=OWN).to_parquet("own.parquet")
    rows.assign(labels=rows.labels.map(str), label_weights=rows.label_weights.map(str)).to_csv("rows.csv", index=False)
    cells = {name: ["|".join(map(str, each)) for each in rows[name]] for name in ("labels", "label_weights")}
    rows.assign(**cells).to_csv("cells.csv", index=False)
    scores: list[np.ndarray] = []
    for file in ("mine/rows.parquet", "own.parquet", "rows.csv", "cells.csv"):
        assert main(["score", "exported", file, "--to", "p.parquet"]) == 0, capsys.readouterr().err
        scored = pd.read_parquet("p.parquet")
        scores.append(scored.p_click.to_numpy())
        assert scored.request.equals(rows.request)
        assert ("video_id" in scored) == (file != "own.parquet"), "a key goes by its column's name alone"
    assert scores[0].std() > 0
    for other in (*scores, mtlbench.load(run.parent).predict(rows).p_click.to_numpy()):
        np.testing.assert_array_equal(other, scores[0])

    rows.rename(columns={"video_id": "vidoe"}).to_parquet("wrong.parquet")
    assert main(["score", "exported", "wrong.parquet"]) == 2
    assert "column 'video' occurs 0 times" in capsys.readouterr().err


TYPES = {
    "new": pa.bool_(),
    "member": pa.bool_(),
    "price": pa.decimal128(7, 2),
    "rate": pa.float16(),
    "city": pa.string_view(),
    "brand": pa.dictionary(pa.int8(), pa.large_string()),
    "item": pa.uint64(),
}
"""Two booleans, of which one is read as a number; all other families of types that fields may have."""


def test_every_type_of_a_training_file_is_scored_as_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    random, rows = np.random.default_rng(0), 240
    columns = {
        "new": random.random(rows) < 0.5,
        "member": random.random(rows) < 0.5,
        "price": [Decimal(int(cents)) / 100 for cents in random.integers(-9999, 9999, rows)],
        "rate": (random.integers(-8, 8, rows) / 4).astype(np.float16),
        "city": random.choice(["Z\u00fcrich", "", "[x]"], rows),
        "brand": random.choice(["a", "b"], rows),
        "item": random.integers(0, 9, rows),
    }
    table = pa.table({name: pa.array(columns[name]).cast(kind) for name, kind in TYPES.items()})
    for name, values in (("request", pa.array(range(rows))), ("clicked", pa.array(random.integers(0, 2, rows)))):
        table = table.append_column(name, values)
    parquet.write_table(table, "mine/rows.parquet")
    fields = [{"name": name} | ({"kind": "number"} if name in ("member", "price", "rate") else {}) for name in TYPES]
    tasks = [{"name": "click", "label": "clicked"}]
    schema = {"rows": {"train": "rows.parquet"}, "fields": fields, "tasks": tasks, "key": "request"}
    Path("mine.yaml").write_text(yaml.safe_dump(schema))
    words = ["dataset=parquet", "dataset.raw=mine", "dataset.schema=mine.yaml", "tracker=none", "run.threads=1"]
    small = ["model=shared_bottom", "profile.bottom_layers=[8]", "trainer.batch_size=32", "trainer.epochs=1"]
    assert main(["train", *words, *small]) == 0
    (run,) = Path("runs").glob("*/result.json")
    assert main(["evaluate", str(run.parent), "--predictions", "own.parquet"]) == 0
    own = pd.read_parquet("own.parquet").set_index("request").p_click
    assert own.std() > 0
    assert main(["export", str(run.parent), "--to", "exported", "--no-onnx"]) == 0

    table.drop(["city"]).to_pandas().assign(city=columns["city"]).to_csv("rows.csv", index=False, quoting=2)
    scores: list[pd.Series] = []
    for file in ("mine/rows.parquet", "rows.csv"):
        assert main(["score", "exported", file, "--to", "p.parquet"]) == 0, capsys.readouterr().err
        scores.append(pd.read_parquet("p.parquet").set_index("request").p_click)
    frame = table.to_pandas().set_index("request")
    for other in (
        frame,
        frame.assign(new=frame.new.astype("boolean")),
        frame.assign(new=frame.new.astype("Sparse[int]")),
    ):
        scores.append(mtlbench.load(run.parent).predict(other).p_click)
    for found in scores:
        np.testing.assert_allclose(found[own.index], own, rtol=1e-6)


def test_an_id_that_pandas_holds_in_a_float_which_may_have_been_another_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16,777,217 becomes 16,777,216, a known item, in a 32-bit float."""
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    rows = pd.DataFrame({"item": [2**24, 2**24 + 2] * 120, "clicked": [0, 1, 1] * 80})
    rows.to_parquet("mine/rows.parquet")
    schema = {"rows": {"train": "rows.parquet"}, "fields": [{"name": "item"}]}
    Path("mine.yaml").write_text(yaml.safe_dump(schema | {"tasks": [{"name": "click", "label": "clicked"}]}))
    words = ["dataset=parquet", "dataset.raw=mine", "dataset.schema=mine.yaml", "tracker=none", "run.threads=1"]
    assert main(["train", *words, "model=shared_bottom", "trainer.batch_size=32", "trainer.epochs=1"]) == 0
    (run,) = Path("runs").glob("*/result.json")
    model = mtlbench.load(run.parent)
    strange = pd.DataFrame({"item": np.array([2**24 + 1])})
    assert model.predict(strange)["p_click"].item() != model.predict(rows[:1])["p_click"].item()
    with pytest.raises(ValueError, match="column 'item', row 0"):
        model.predict(strange.astype(np.float32))
