"""Sample weights: what a row weighs in the losses, sum(w * loss) / sum(w); metrics count rows."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from mtlbench.cli import main
from mtlbench.data.store import SPLITS, Store, open_store

SCHEMA = {
    "rows": {split: f"{split}.*" for split in SPLITS},
    "fields": [{"name": "item"}, {"name": "price", "kind": "number"}],
    "tasks": [
        {"name": "click", "label": "clicked"},
        {"name": "buy", "label": "bought", "given": "click"},
        {"name": "watch", "label": "seconds", "kind": "regression"},
    ],
}
WEIGHTED = {**SCHEMA, "sample_weight": "w"}
BINARY = {**WEIGHTED, "tasks": SCHEMA["tasks"][:2]}
TINY = [
    "model=shared_bottom", "profile.bottom_layers=[8]", "profile.tower_layers=[]", "trainer.batch_size=16384",
    "trainer.epochs=1", "run.threads=1", "tracker=none",
]  # fmt: skip


def frame(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    """A third of the labels of two tasks are missing."""
    random = np.random.default_rng(seed)
    clicked = random.integers(0, 2, rows)
    known = random.random((rows, 2)) < 2 / 3
    return pd.DataFrame(
        {
            "item": random.integers(0, 5, rows),
            "price": random.normal(size=rows),
            "clicked": clicked,
            "bought": pd.array(clicked * random.integers(0, 2, rows), "Int64"),
            "seconds": np.where(known[:, 0], random.normal(30, 9, rows), np.nan),
            "w": 1.0,
        }
    ).assign(bought=lambda all_rows: all_rows.bought.mask(~known[:, 1]))


def write(
    folder: Path, train: pd.DataFrame, schema: dict[str, object] = WEIGHTED, suffix: str = "parquet"
) -> list[str]:
    """Files of three parts and a schema; gives the words that name them."""
    (folder / "mine").mkdir(parents=True, exist_ok=True)
    for part, rows in {"train": train, "valid": frame(seed=1), "test": frame(seed=2)}.items():
        path = folder / "mine" / f"{part}.{suffix}"
        rows.to_parquet(path) if suffix == "parquet" else rows.to_csv(path, index=False)
    (folder / "mine.yaml").write_text(yaml.safe_dump(schema))
    return [
        "dataset=parquet", f"dataset.raw={folder}/mine", f"dataset.schema={folder}/mine.yaml",
        "dataset.split_rule=given", "dataset.min_count=1", f"run.data={folder}/data", f"run.folder={folder}/runs",
    ]  # fmt: skip


def train(folder: Path, rows: pd.DataFrame, *words: str, schema: dict[str, object] = WEIGHTED) -> None:
    assert main(["train", *write(folder, rows, schema), *TINY, *words]) == 0


def store_of(folder: Path) -> Store:
    (store,) = folder.glob("data/store/parquet/*")
    return open_store(store)


def result_of(folder: Path) -> dict[str, dict[str, float]]:
    (path,) = folder.glob("runs/*/result.json")
    return json.loads(path.read_text())


def test_rows_that_all_weigh_1_give_the_unweighted_run_to_the_bit(tmp_path: Path) -> None:
    words = ("trainer.batch_size=32", "trainer.epochs=2", "loss.pos_weight=balanced")
    for name, schema in (("plain", SCHEMA | {"tasks": BINARY["tasks"]}), ("weighted", BINARY)):
        train(tmp_path / name, frame(), *words, schema=schema)
    plain, weighted = (tmp_path / name for name in ("plain", "weighted"))
    assert result_of(plain)["metrics"] == result_of(weighted)["metrics"]
    assert "sample_weight" not in store_of(plain).manifest["schema"]
    assert "sample_weight" not in store_of(plain).split("train").columns
    assert store_of(weighted).schema.sample_weight


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_weights_are_stored_row_by_row(tmp_path: Path, suffix: str) -> None:
    rows = frame()
    rows["w"] = np.random.default_rng(3).exponential(size=len(rows))
    assert main(["prepare", *write(tmp_path, rows, suffix=suffix)]) == 0
    split = store_of(tmp_path).split("train")
    assert np.array_equal(split.columns["sample_weight"].numpy(), rows.w.to_numpy(np.float32))
    batch = split.gather(torch.tensor([3, 1]))
    assert batch.sample_weight is not None
    assert batch.sample_weight.tolist() == rows.w.to_numpy(np.float32)[[3, 1]].tolist()
    assert batch.unlabelled().sample_weight is None


@pytest.mark.parametrize("words", [(), ("loss.pos_weight=balanced", "loss.given=conditional")])
def test_a_row_of_weight_2_is_the_row_twice_and_one_of_weight_0_is_left_out(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Files of the same rows: the second copy of 40 of them counts, or its weight stands in the first."""
    schema = BINARY if words else WEIGHTED
    doubled = pd.concat([frame(), frame()[:40]], ignore_index=True)
    moved = doubled.assign(w=np.where(doubled.index < 40, 2.0, np.where(doubled.index < 120, 1.0, 0.0)))
    ignored = doubled.assign(w=np.where(doubled.index < 120, 1.0, 0.0))
    for name, rows in (("doubled", doubled), ("moved", moved), ("ignored", ignored)):
        steps = ("trainer.epochs=3", "optimizer=momentum", "trainer.patience=null")
        train(tmp_path / name, rows, *steps, *words, schema=schema)
    found = {name: result_of(tmp_path / name)["metrics"] for name in ("doubled", "moved", "ignored")}
    losses = [name for name in found["doubled"] if name.startswith("test/") and name.endswith(("/logloss", "/rmse"))]
    assert len(losses) >= 2, found["doubled"]
    for name in losses:
        assert found["moved"][name] == pytest.approx(found["doubled"][name], rel=1e-5), name
        assert found["ignored"][name] != pytest.approx(found["doubled"][name], rel=1e-5), name


def test_metrics_count_rows(tmp_path: Path) -> None:
    """Weights of the test rows have no effect on what is measured of them."""
    for name, weight in (("one", 1.0), ("some", np.linspace(0.1, 9, 120))):
        words = write(tmp_path / name, frame())
        frame(seed=2).assign(w=weight).to_parquet(tmp_path / name / "mine" / "test.parquet")
        assert main(["train", *words, *TINY]) == 0
    assert result_of(tmp_path / "one")["metrics"] == result_of(tmp_path / "some")["metrics"]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-1.0, "sample weight 'w' is neither 0 nor a number from 1.084e-19 to 9.223e+18"),
        (1e-30, "sample weight 'w' is neither 0 nor a number from 1.084e-19 to 9.223e+18"),
        (np.inf, "sample weight 'w' is neither 0 nor a number from 1.084e-19 to 9.223e+18"),
        (None, "column 'w' is null"),
    ],
)
def test_a_weight_that_is_none_is_refused_with_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, weight: float | None, message: str
) -> None:
    rows = frame()
    rows["w"] = pd.array([1.0, 1.0, weight, *[1.0] * (len(rows) - 3)], "Float64")
    words = write(tmp_path, rows, suffix=suffix)
    assert main(["prepare", *words]) == 2
    found = " ".join(capsys.readouterr().err.split())
    assert f"mine/train.{suffix}, line {3 if suffix == 'parquet' else 4}: {message}" in found, found
    assert main(["prepare", *words, "dataset.on_error=quarantine"]) == 0
    assert store_of(tmp_path).manifest["splits"]["train"]["rows"] == len(rows) - 1


def test_nan_and_text_are_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = frame()
    for name, weight, message in (
        ("nan", [np.nan, *[1.0] * (len(rows) - 1)], "sample weight 'w' is neither 0 nor a number from"),
        ("text", ["high"] * len(rows), "column 'w' is of type "),
    ):
        words = write(tmp_path / name, rows.drop(columns="w"))
        table = pa.Table.from_pandas(rows.drop(columns="w")).append_column("w", pa.array(weight, from_pandas=False))
        pq.write_table(table, tmp_path / name / "mine" / "train.parquet")
        for part in ("valid", "test"):
            pq.write_table(table, tmp_path / name / "mine" / f"{part}.parquet")
        assert main(["prepare", *words]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("weightless", "message"),
    [
        (lambda rows: rows.clicked >= 0, "with the label 0 of task 'click', the first of them"),
        (lambda rows: rows.clicked > 0, "with the label 1 of task 'click', the first of them"),
        (lambda rows: rows.seconds.notna(), "with a label of task 'watch', the first of them"),
    ],
)
def test_training_rows_that_all_weigh_0_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weightless: object, message: str
) -> None:
    rows = frame()
    rows["w"] = (~weightless(rows)).astype(float)  # pyright: ignore[reportCallIssue]
    assert main(["prepare", *write(tmp_path, rows)]) == 2
    found = " ".join(capsys.readouterr().err.split())
    assert f"sample_weight is 0 in all training rows {message}" in found
    assert re.search(r"mine/train\.parquet: line \d+: ", found), found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": [{"name": "item"}, {"name": "w", "kind": "number"}]}, "field 'w' reads the sample weight 'w'"),
        ({"fields": [{"name": "item", "weights": "w", "width": 2}]}, "field 'item' reads the sample weight 'w'"),
        ({"sample_weight": "absent"}, "column 'absent' is missing"),
    ],
)
def test_columns_that_cannot_weigh_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], message: str
) -> None:
    assert main(["prepare", *write(tmp_path, frame(), {**WEIGHTED, **changes})]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_subset_keeps_the_weights(tmp_path: Path) -> None:
    rows = frame().assign(w=np.linspace(0, 3, 120))
    for name, changed in (("weighted", rows), ("plain", rows.assign(w=1.0))):
        train(tmp_path / name, changed, "dataset.tasks=[watch]", "dataset.only_fields=[price]")
    found = [result_of(tmp_path / name)["metrics"] for name in ("weighted", "plain")]
    assert found[0] != found[1]


@pytest.mark.long
def test_an_exported_model_needs_no_weights(tmp_path: Path) -> None:
    train(tmp_path, frame())
    (run,) = (path.parent for path in tmp_path.glob("runs/*/result.json"))
    assert main(["export", str(run), "--to", str(tmp_path / "exported"), "--no-onnx"]) == 0
    frame()[["item", "price"]].to_parquet(tmp_path / "asked.parquet")
    words = [str(tmp_path / "exported"), str(tmp_path / "asked.parquet"), "--to", str(tmp_path / "p.parquet")]
    assert main(["score", *words]) == 0


def test_virtual_gradients_have_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*write(tmp_path, frame(), BINARY), *TINY[3:], "model=mmoe", "virtual_gradient=mul_cos"]
    assert main(["train", *words]) == 2
    assert "does not support sample weights, which this data set has" in " ".join(capsys.readouterr().err.split())
