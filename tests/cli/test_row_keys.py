"""A key of the rows: predictions carry it, so that they can be joined to the table that the rows came from."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mtlbench.cli import main
from mtlbench.data.store import SPLITS, Store, open_store
from mtlbench.ingest import parse

TINY = [
    "model=shared_bottom", "profile.bottom_layers=[8]", "profile.tower_layers=[]", "trainer.batch_size=32",
    "trainer.epochs=1", "run.threads=1", "tracker=none",
]  # fmt: skip
SCHEMA = {
    "rows": {"train": "rows.*"},
    "fields": [{"name": "item"}, {"name": "price", "kind": "number"}],
    "tasks": [{"name": "click", "label": "clicked"}, {"name": "watch", "label": "seconds", "kind": "regression"}],
}


def frame(rows: int = 240) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "request": random.permutation(rows) + 1000,
            "name": [f"r{number:03}" for number in random.permutation(rows)],
            "item": random.integers(0, 9, rows),
            "price": random.normal(size=rows),
            "clicked": random.integers(0, 2, rows),
            "seconds": random.normal(30, 9, rows),
        }
    )


def write(folder: Path, frame: pd.DataFrame, suffix: str = "parquet", **changes: object) -> list[str]:
    """A file of rows and a schema; gives the words that name them."""
    (folder / "mine").mkdir(parents=True, exist_ok=True)
    path = folder / "mine" / f"rows.{suffix}"
    frame.to_parquet(path) if suffix == "parquet" else frame.to_csv(path, index=False)
    (folder / "mine.yaml").write_text(yaml.safe_dump({**SCHEMA, **changes}))
    return [
        "dataset=parquet", f"dataset.raw={folder}/mine", f"dataset.schema={folder}/mine.yaml",
        f"run.data={folder}/data", f"run.folder={folder}/runs",
    ]  # fmt: skip


def store_of(folder: Path) -> Store:
    (store,) = folder.glob("data/store/parquet/*")
    return open_store(store)


def run_of(folder: Path) -> str:
    (path,) = folder.glob("runs/*/result.json")
    return str(path.parent)


def same_rows(predictions: pd.DataFrame, rows: pd.DataFrame, key: list[str]) -> None:
    """Joined by their key, both have the same labels."""
    joined = predictions.merge(rows, on=key, suffixes=("", "_own"), validate="one_to_one")
    assert len(joined) == len(predictions) > 0
    assert (joined.clicked == joined.clicked_own).all()
    assert np.allclose(joined.seconds, joined.seconds_own, atol=1e-3)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("key", ["request", "name", ["name", "request"]])
def test_predictions_join_to_the_rows_they_came_from(tmp_path: Path, suffix: str, key: str | list[str]) -> None:
    rows = frame()
    assert main(["train", *write(tmp_path, rows, suffix, key=key), *TINY]) == 0
    for split in ("test", "valid"):
        to = tmp_path / f"{split}.parquet"
        assert main(["evaluate", run_of(tmp_path), "--split", split, "--predictions", str(to)]) == 0
        predictions = pd.read_parquet(to)
        names = [key] if isinstance(key, str) else key
        assert [*predictions.columns] == ["row", *names, "clicked", "p_click", "seconds", "predicted_watch"]
        same_rows(predictions, rows, names)


def test_a_key_that_is_an_input_too_is_carried_and_read(tmp_path: Path) -> None:
    rows = frame().assign(user=lambda all_rows: np.arange(len(all_rows)) // 9)
    rows["item"] = np.arange(len(rows)) % 9
    fields = [*SCHEMA["fields"], {"name": "user"}]
    assert main(["train", *write(tmp_path, rows, key=["user", "item"], fields=fields), *TINY]) == 0
    assert main(["evaluate", run_of(tmp_path), "--predictions", str(tmp_path / "p.parquet")]) == 0
    same_rows(pd.read_parquet(tmp_path / "p.parquet"), rows, ["user", "item"])


def test_keys_stand_beside_the_matrices_whatever_the_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrices of a keyed data set are those without a key, and keys keep the order of the rows."""
    rows = frame()
    monkeypatch.setattr(parse, "CHUNK_ROWS", 50)
    assert main(["prepare", *write(tmp_path / "keyed", rows, key="request")]) == 0
    assert main(["prepare", *write(tmp_path / "plain", rows)]) == 0
    keyed, plain = (store_of(tmp_path / name) for name in ("keyed", "plain"))
    assert keyed.schema == plain.schema
    assert "key" not in plain.manifest
    assert plain.keys("test") is None
    assert {name for name in keyed.manifest["files"] if name not in plain.manifest["files"]} == {
        f"keys/{split}.parquet" for split in SPLITS
    }
    for split in SPLITS:
        name = f"rows/{split}.arrow"
        assert (keyed.folder / name).read_bytes() == (plain.folder / name).read_bytes()
    found = [keyed.keys(split)["request"].to_pylist() for split in SPLITS]  # pyright: ignore[reportOptionalSubscript]
    assert sorted(key for keys in found for key in keys) == sorted(rows.request)
    place = {key: at for at, key in enumerate(rows.request)}
    assert all((np.diff([place[key] for key in keys]) > 0).all() for keys in found), "in the order of the file"


def test_a_store_without_a_key_is_the_store_it_was(tmp_path: Path) -> None:
    """Fingerprint and manifest of 0.5.0."""
    rows = pd.DataFrame({"a": [1, 2] * 20, "y": [0, 1, 1, 0] * 10})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    schema = {"rows": {"train": "rows.csv"}, "fields": [{"name": "a"}], "tasks": [{"name": "y", "label": "y"}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(schema))
    words = ["dataset=parquet", f"dataset.raw={tmp_path}", f"dataset.schema={tmp_path}/mine.yaml"]
    assert main(["prepare", *words, f"run.data={tmp_path}/data", "dataset.min_count=1"]) == 0
    store = store_of(tmp_path)
    assert (store.folder.name, store.schema.fingerprint) == ("71bce13f6e2a33fa", "e343ef835c6efefb")


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"request": [7, 8, 7]}, "request", r"line 3: its key \(request\) occurs in an earlier line"),
        ({"name": ["a", None, "b"]}, "name", r"line 2: column 'name' is null"),
    ],
)
def test_keys_that_identify_no_row_are_refused_with_their_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, list[object]], key: str, message: str
) -> None:
    rows = frame()
    for name, values in changes.items():
        rows.loc[: len(values) - 1, name] = values
    words = write(tmp_path, rows, key=key)
    assert main(["prepare", *words]) == 2
    found = capsys.readouterr().err
    assert re.search(message, " ".join(found.split())), found
    assert main(["prepare", *words, "dataset.on_error=quarantine"]) == 0
    store = store_of(tmp_path)
    (refused,) = map(json.loads, (store.folder / "quarantine.jsonl").read_text().splitlines())
    assert refused["line"] == int(message.split()[1][0])
    assert sum(store.manifest["splits"][split]["rows"] for split in SPLITS) == len(rows) - 1


def test_files_of_given_parts_may_number_their_rows_alike(tmp_path: Path) -> None:
    words = write(tmp_path, frame(), key="request", rows={part: f"{part}.parquet" for part in SPLITS})
    for part in SPLITS:
        frame().to_parquet(tmp_path / "mine" / f"{part}.parquet")
    assert main(["prepare", *words, "dataset.split_rule=given"]) == 0
    keys = store_of(tmp_path).keys("valid")
    assert keys is not None
    assert keys["request"].to_pylist() == frame().request.tolist()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("clicked", "key 'clicked': files of predictions have clicked, p_click, predicted_watch, row, seconds already"),
        ("price", "column 'price' is of type double; 'row key:price' must be whole numbers or text"),
        ("absent", "column 'absent' is missing"),
        ([], "key is []; allowed: one column or several different ones"),
        (["name", "name"], "key is ['name', 'name']; allowed: one column or several different ones"),
    ],
)
def test_columns_that_cannot_be_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: object, message: str
) -> None:
    assert main(["prepare", *write(tmp_path, frame(), key=key)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_an_exported_model_carries_the_key_of_the_rows_it_scores(tmp_path: Path, suffix: str) -> None:
    rows = frame()
    assert main(["train", *write(tmp_path, rows, key=["request", "name"]), *TINY]) == 0
    exported, to = tmp_path / "exported", tmp_path / "p.parquet"
    assert main(["export", run_of(tmp_path), "--to", str(exported), "--no-onnx"]) == 0
    asked = tmp_path / f"asked.{suffix}"
    for columns in (["request", "name", "item", "price"], ["item", "name", "price"], ["item", "price"]):
        some = rows[columns]
        some.to_parquet(asked) if suffix == "parquet" else some.to_csv(asked, index=False)
        assert main(["score", str(exported), str(asked), "--to", str(to)]) == 0
        scored = pd.read_parquet(to)
        key = [name for name in ("request", "name") if name in columns]
        assert [*scored.columns] == ["row", *key, "p_click", "predicted_watch"]
        assert scored[key].equals(rows[key]), "of its own type"
