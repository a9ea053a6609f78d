"""Labels that some rows have not: masked, counted, never trained on, and refused where every label is needed."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from mtlbench.cli import main
from mtlbench.data.split import at_random, stratified
from mtlbench.data.store import SPLITS, Store, open_store
from mtlbench.datasets.parquet.dataset import ParquetFolder
from mtlbench.ingest.prepare import Provenance, prepare
from mtlbench.ingest.splits import SplitRule

SCHEMA = {
    "rows": {"train": "rows/*.parquet"},
    "fields": [{"name": "item"}, {"name": "price", "kind": "number"}],
    "tasks": [
        {"name": "click", "label": "clicked"},
        {"name": "buy", "label": "bought", "given": "click"},
        {"name": "watch", "label": "seconds", "kind": "regression"},
    ],
}
TINY = [
    "model=shared_bottom", "profile.bottom_layers=[8]", "profile.tower_layers=[]", "trainer.batch_size=32",
    "trainer.epochs=2", "run.threads=1", "tracker=none",
]  # fmt: skip


def frame(rows: int = 400) -> pd.DataFrame:
    """Seconds are known where there was a click, and whether something was bought in three rows of four."""
    random = np.random.default_rng(0)
    clicked = random.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "item": random.integers(0, 9, rows),
            "price": random.normal(size=rows),
            "clicked": clicked,
            "bought": pd.array(clicked * random.integers(0, 2, rows), "Int64"),
            "seconds": np.where(clicked > 0, random.normal(30, 9, rows), np.nan),
        }
    ).assign(bought=lambda all_rows: all_rows.bought.mask(random.random(rows) < 0.25))


def write(folder: Path, rows: pd.DataFrame, tasks: list[dict] = SCHEMA["tasks"]) -> list[str]:
    """Files and schema; gives the words that name them."""
    (folder / "mine" / "rows").mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "mine" / "rows" / "part-0.parquet")
    (folder / "mine.yaml").write_text(yaml.safe_dump({**SCHEMA, "tasks": tasks}))
    return [
        "dataset=parquet", f"dataset.raw={folder}/mine", f"dataset.schema={folder}/mine.yaml",
        f"run.data={folder}/data", f"run.folder={folder}/runs",
    ]  # fmt: skip


def store_of(folder: Path) -> Store:
    (store,) = folder.glob("data/store/parquet/*")
    return open_store(store)


def result_of(folder: Path) -> dict:
    (path,) = folder.glob("runs/*/result.json")
    return json.loads(path.read_text())


def test_missing_labels_are_masked_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = frame()
    assert main(["prepare", *write(tmp_path, rows)]) == 0
    out = capsys.readouterr().out
    store = store_of(tmp_path)
    counts = {name: store.manifest["splits"][name]["labelled"] for name in SPLITS}
    assert {task: sum(each[task] for each in counts.values()) for task in ("click", "buy", "watch")} == {
        "click": len(rows), "buy": int(rows.bought.notna().sum()), "watch": int(rows.clicked.sum()),
    }  # fmt: skip
    head, _, *lines = (line.split() for line in out.splitlines() if line.startswith("  ") and line.strip())
    assert head == ["split", "rows", "click", "positives", "buy", "positives", "buy", "labels", "watch", "labels"]
    assert [line[4:] for line in lines[:3]] == [[str(counts[s]["buy"]), str(counts[s]["watch"])] for s in SPLITS]
    tasks = store.manifest["schema"]["tasks"]
    assert [task.get("missing", False) for task in tasks] == [False, True, True]
    train = store.split("train")
    observed = train.columns["observed"]
    assert observed.dtype == torch.bool
    assert observed.sum(dim=0).tolist() == list(counts["train"].values())
    seconds = train.columns["labels"][:, 2][observed[:, 2]]
    assert float(seconds.mean()) == pytest.approx(0, abs=1e-5)
    assert float(seconds.std(correction=0)) == pytest.approx(1, abs=1e-5), "moments of labelled training rows alone"
    assert torch.equal(train.gather(torch.arange(5)).observed, observed[:5])


def test_a_run_learns_from_and_is_measured_on_labelled_rows_alone(tmp_path: Path) -> None:
    words = write(tmp_path, frame())
    assert main(["train", *words, *TINY]) == 0
    found, counts = result_of(tmp_path), store_of(tmp_path).manifest["splits"]["test"]["labelled"]
    assert {task: found["metrics"][f"test/{task}/rows"] for task in counts} == counts
    (run,) = (path.parent for path in tmp_path.glob("runs/*/result.json"))
    assert main(["evaluate", str(run), "--predictions", str(tmp_path / "p.parquet")]) == 0
    scored = pq.read_table(tmp_path / "p.parquet").to_pandas()
    apart = (scored.predicted_watch - scored.seconds)[scored.clicked == 1]
    assert scored.seconds.notna().equals(scored.clicked == 1)
    assert math.sqrt((apart**2).mean()) == pytest.approx(found["metrics"]["test/watch/rmse"], rel=1e-4)


def test_what_stands_in_the_place_of_a_missing_label_does_not_matter(tmp_path: Path) -> None:
    """Null or NaN, in a column of integers or of decimal numbers."""
    rows = frame()
    inputs = {name: pa.array(rows[name]) for name in ("item", "price", "clicked")}
    labels = {
        "null": {"bought": pa.array(rows.bought), "seconds": pa.array(rows.seconds, from_pandas=True)},
        "nan": {
            "bought": pa.array(rows.bought.to_numpy(float, na_value=np.nan)),
            "seconds": pa.array(rows.seconds.to_numpy()),
        },
    }
    metrics = []
    for name, columns in labels.items():
        words = write(tmp_path / name, rows)
        pq.write_table(pa.table(inputs | columns), tmp_path / name / "mine" / "rows" / "part-0.parquet")
        assert all((column.null_count > 0) == (name == "null") for column in columns.values())
        assert main(["train", *words, *TINY]) == 0
        metrics.append(result_of(tmp_path / name)["metrics"])
    assert metrics[0] == metrics[1]
    whole = write(tmp_path / "whole", rows.assign(bought=rows.bought.fillna(0)))
    assert main(["train", *whole, *TINY]) == 0
    assert result_of(tmp_path / "whole")["metrics"] != metrics[0]


def test_labels_that_are_all_there_are_stored_as_before(tmp_path: Path) -> None:
    rows = frame().assign(bought=0).drop(columns="seconds")
    rows.loc[rows.clicked.to_numpy().nonzero()[0][::2], "bought"] = 1
    assert main(["prepare", *write(tmp_path, rows, SCHEMA["tasks"][:2])]) == 0
    store = store_of(tmp_path)
    assert all(task.keys() == {"name", "label", "given"} for task in store.manifest["schema"]["tasks"])
    assert set(store.split("train").columns) == {"ids", "numbers", "labels"}
    assert store.split("train").columns["labels"].dtype == torch.int8
    assert set(store.manifest["splits"]["train"]) == {"rows", "positives", "together"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=esmm"], "learnt over the entire space, from labels of every row; some rows have no label of buy."),
        (["model=escm2"], "learnt over the entire space, from labels of every row; some rows have no label of buy."),
        (["model=mmoe", "virtual_gradient=add_cos"], "some rows have no label of buy. Choose virtual_gradient=none"),
    ],
)
def test_what_needs_every_label_is_refused(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *write(tmp_path, frame(), SCHEMA["tasks"][:2]), *TINY, *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*/result.json"))


@pytest.mark.parametrize("words", [["model=aitm"], ["loss.given=conditional"], ["loss.pos_weight=balanced"]])
def test_what_needs_no_label_of_every_row_is_trained(tmp_path: Path, words: list[str]) -> None:
    """AITM's calibrator compares predictions; balance and conditional losses are those of the labelled rows."""
    assert main(["train", *write(tmp_path, frame(), SCHEMA["tasks"][:2]), *TINY, *words]) == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bought", "split 'train' has 0 labels of task 'buy', 0 of them positive"),
        ("seconds", "label 'seconds' of regression task 'watch' occurs in no training row"),
    ],
)
def test_a_task_without_any_label_is_refused(
    tmp_path: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", *write(tmp_path, frame().assign(**{name: None}))]) == 2
    assert message in capsys.readouterr().err


def test_a_split_by_a_label_asks_for_all_of_them(tmp_path: Path) -> None:
    write(tmp_path, frame())

    def prepared(split: SplitRule) -> Store:
        dataset = ParquetFolder(description=SCHEMA).in_folder(tmp_path / "mine")
        return prepare(dataset, tmp_path / "mine", tmp_path / "s", split=split, provenance=Provenance(origin="real"))

    with pytest.raises(ValueError, match=r"the split needs label 'bought', which is missing in \d+ rows"):
        prepared(partial(stratified, label="bought", folds=5, seed=0))
    assert len(prepared(partial(at_random, valid=0.2, test=0.2, seed=0)).split("train")) > 200


def test_a_missing_label_contradicts_none(tmp_path: Path) -> None:
    """A purchase without a click is refused; where either is not known, nothing is said."""
    rows = frame()
    silent = rows.assign(clicked=rows.clicked.astype("Int64").mask(rows.bought == 1), seconds=1.0 + rows.price)
    assert main(["prepare", *write(tmp_path / "a", silent, SCHEMA["tasks"][:2])]) == 0
    wrong = rows.assign(bought=pd.array([1] * len(rows), "Int64"))
    assert main(["prepare", *write(tmp_path / "b", wrong, SCHEMA["tasks"][:2])]) == 2
