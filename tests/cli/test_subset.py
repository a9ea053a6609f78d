"""A subset of tasks and fields: the numbers of a data set that has no others, from the store that there is."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from mtlbench.cli import main

FIELDS = [
    {"name": "city", "table": "user"},
    {"name": "age", "kind": "number", "table": "user"},
    {"name": "item"},
    {"name": "seen", "width": 3, "vocabulary": "item", "target": "item"},
    {"name": "tags", "width": 2, "weights": "tag_weights"},
    {"name": "price", "kind": "number"},
]
TASKS = [
    {"name": "click", "label": "clicked"},
    {"name": "buy", "label": "bought", "given": "click"},
    {"name": "watch", "label": "seconds", "kind": "regression"},
]
TINY = [
    "model=shared_bottom", "profile.bottom_layers=[8]", "profile.tower_layers=[]", "trainer.batch_size=32",
    "trainer.epochs=2", "run.threads=1", "tracker=none",
]  # fmt: skip


def write(folder: Path, fields: list[dict] = FIELDS, tasks: list[dict] = TASKS) -> list[str]:
    """Rows with a dimension table, a history, weights, and seconds that not all rows have; the words that name them."""
    random = np.random.default_rng(0)
    (folder / "mine" / "users").mkdir(parents=True)
    users = pd.DataFrame({"user": range(30), "city": random.integers(0, 5, 30), "age": random.normal(40, 9, 30)})
    users.to_parquet(folder / "mine" / "users" / "all.parquet")
    clicked = random.integers(0, 2, 500)
    tags = [random.integers(0, 6, n).tolist() for n in random.integers(0, 3, 500)]
    rows = pd.DataFrame(
        {
            "user": random.integers(0, 30, 500),
            "item": random.integers(0, 40, 500),
            "seen": [random.integers(0, 40, n).tolist() for n in random.integers(0, 4, 500)],
            "tags": tags,
            "tag_weights": [[1 + n / 2 for n in entry] for entry in tags],
            "price": random.normal(size=500),
            "clicked": clicked,
            "bought": clicked * random.integers(0, 2, 500),
            "seconds": np.where(clicked > 0, random.normal(30, 9, 500), np.nan),
        }
    )
    rows.to_parquet(folder / "mine" / "rows.parquet")
    schema = {"rows": {"train": "rows.parquet"}, "fields": fields, "tasks": tasks}
    if any("table" in field for field in fields):
        schema["tables"] = {"user": {"files": "users/*.parquet", "key": "user", "pointer": "user"}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(schema))
    return [
        "dataset=parquet", f"dataset.raw={folder}/mine", f"dataset.schema={folder}/mine.yaml",
        f"run.data={folder}/data", f"run.folder={folder}/runs",
    ]  # fmt: skip


def metrics_of(folder: Path) -> dict[str, float]:
    (path,) = folder.glob("runs/*/result.json")
    return json.loads(path.read_text())["metrics"]


def named(entries: list[dict], *names: str) -> list[dict]:
    return [entry for entry in entries if entry["name"] in names]


@pytest.mark.parametrize(
    ("words", "fields", "tasks"),
    [
        (["dataset.tasks=[click]"], FIELDS, named(TASKS, "click")),
        (["dataset.tasks=[watch]"], FIELDS, named(TASKS, "watch")),
        (["dataset.tasks=[buy]"], FIELDS, [{"name": "buy", "label": "bought"}]),
        (["dataset.only_fields=[age,price,tags]"], named(FIELDS, "age", "price", "tags"), TASKS),
        (["dataset.without_fields=[city,age,tags]"], named(FIELDS, "item", "seen", "price"), TASKS),
        (
            ["dataset.tasks=[click,buy]", "dataset.only_fields=[item,city,seen,tags]", "dataset.without_fields=[tags]"],
            named(FIELDS, "item", "city", "seen"),
            named(TASKS, "click", "buy"),
        ),
    ],
    ids=["a task", "regression", "a task without its parent", "numbers and weights", "no table", "both"],
)
def test_a_subset_gives_the_numbers_of_a_data_set_without_the_rest(
    tmp_path: Path, words: list[str], fields: list[dict], tasks: list[dict]
) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert main(["train", *write(whole), *words, *TINY]) == 0
    assert main(["train", *write(part, fields, tasks), *TINY]) == 0
    assert metrics_of(whole) == metrics_of(part)


def test_subsets_share_a_store_and_are_runs_of_their_own(tmp_path: Path) -> None:
    words = write(tmp_path)
    for more in ([], ["dataset.tasks=[click]"], ["dataset.without_fields=[seen]"], ["dataset.only_fields=[item]"]):
        assert main(["train", *words, *more, *TINY]) == 0
    assert len(list(tmp_path.glob("data/store/parquet/[!.]*"))) == 1
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 4
    every = ",".join(field["name"] for field in FIELDS)
    assert main(["train", *words, f"dataset.only_fields=[{every}]", *TINY]) == 0
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 4, "all fields are no subset"


def test_evaluate_export_and_score_follow_the_subset(tmp_path: Path) -> None:
    words = [*write(tmp_path), "dataset.tasks=[click,buy]", "dataset.without_fields=[city,item,seen,price]"]
    assert main(["train", *words, *TINY]) == 0
    (run,) = (path.parent for path in tmp_path.glob("runs/*/result.json"))
    assert main(["evaluate", str(run), "--predictions", str(tmp_path / "p.parquet")]) == 0
    assert pq.read_table(tmp_path / "p.parquet").column_names == ["row", "clicked", "p_click", "bought", "p_buy"]
    model, example = str(tmp_path / "model"), str(tmp_path / "model" / "example.parquet")
    assert main(["export", str(run), "--to", model, "--no-onnx"]) == 0
    assert set(pq.read_table(example).column_names) >= {"age", "tags", "tags:weight"}
    assert main(["score", model, example, "--to", str(tmp_path / "s.parquet")]) == 0
    assert pq.read_table(tmp_path / "s.parquet").column_names == ["row", "p_click", "p_buy"]


def test_ceilings_of_simulated_data_follow_the_subset(tmp_path: Path) -> None:
    words = [
        "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=3000", f"run.data={tmp_path}/data",
        f"run.folder={tmp_path}/runs",
    ]  # fmt: skip
    assert main(["prepare", *words]) == 0
    assert main(["train", *words, "dataset.tasks=[never_married]", "dataset.without_fields=[age]", *TINY]) == 0
    found = metrics_of(tmp_path)
    assert found["test/never_married/ceiling_auc"] > 0.5
    assert not any("income" in name for name in found)
    assert len(list(tmp_path.glob("data/store/census/[!.]*"))) == 1, "of what was prepared before"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("dataset.tasks=[clik]", "dataset.tasks is ['clik'], but 'parquet' has the tasks ['click', 'buy', 'watch']"),
        ("dataset.tasks=[watch,click]", "Set dataset.tasks to some of these, or all, in this order"),
        ("dataset.tasks=[]", "dataset.tasks is [], but 'parquet' has the tasks"),
        (
            "dataset.only_fields=[town]",
            "dataset.only_fields: 'parquet' has no field town; allowed: city, age, item, seen, tags, price",
        ),
        ("dataset.without_fields=[town,age]", "dataset.without_fields: 'parquet' has no field town; allowed"),
        (
            "dataset.without_fields=[item]",
            "dataset.without_fields: field 'seen' is a history of 'item', which is excluded; keep both, or exclude",
        ),
        ("dataset.only_fields=[seen]", "dataset.only_fields: field 'seen' is a history of 'item'"),
        ("dataset.without_fields=[city,age,item,seen,tags,price]", "dataset.without_fields leaves no field of city"),
        ("dataset.only_fields=age", "dataset.only_fields: 'age' is not of type list[str] | None"),
    ],
)
def test_what_cannot_be_selected_is_refused(
    tmp_path: Path, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *write(tmp_path), word, *TINY]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data" / "store").exists()
