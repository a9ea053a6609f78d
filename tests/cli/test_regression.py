"""A watch time beside a click, from Parquet files to scored rows, by the user's own commands; and every refusal."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import mtlbench
from mtlbench.cli import main
from mtlbench.data.store import open_store

ROWS = 600
SLOPES, MIDDLE = (3.0, -2.0), 50.0
SCHEMA = {
    "rows": {"train": "rows/*.parquet"},
    "fields": [{"name": "age", "kind": "number"}, {"name": "price", "kind": "number"}],
    "tasks": [{"name": "click", "label": "clicked"}, {"name": "watch", "label": "seconds", "kind": "regression"}],
}
LINEAR = [
    "model=shared_bottom", "profile.bottom_layers=[]", "profile.tower_layers=[]", "trainer.batch_size=64",
    "optimizer.lr=0.02", "run.threads=1", "tracker=none",
]  # fmt: skip


def frame(rows: int = ROWS) -> pd.DataFrame:
    """Seconds are a plane over age and price, with a deviation of 0.1."""
    random = np.random.default_rng(0)
    age, price = random.normal(40, 10, rows), random.normal(5, 2, rows)
    seconds = MIDDLE + SLOPES[0] * age + SLOPES[1] * price + 0.1 * random.normal(size=rows)
    clicked = (seconds + 30 * random.normal(size=rows) > seconds.mean()).astype(int)
    return pd.DataFrame({"age": age, "price": price, "clicked": clicked, "seconds": seconds})


def write(folder: Path, rows: pd.DataFrame, **changes: object) -> list[str]:
    """Files and schema; gives the words that name them."""
    (folder / "mine" / "rows").mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "mine" / "rows" / "part-0.parquet")
    (folder / "mine.yaml").write_text(yaml.safe_dump({**SCHEMA, **changes}))
    return [
        "dataset=parquet", f"dataset.raw={folder}/mine", f"dataset.schema={folder}/mine.yaml",
        f"run.data={folder}/data", f"run.folder={folder}/runs",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run."""
    folder = tmp_path_factory.mktemp("regression")
    assert main(["train", *write(folder, frame()), *LINEAR, "trainer.epochs=25", "trainer.patience=null"]) == 0
    return folder


def run_of(place: Path) -> Path:
    (result,) = place.glob("runs/*/result.json")
    return result.parent


def test_a_planted_plane_is_recovered_in_its_own_units(place: Path) -> None:
    metrics = json.loads((run_of(place) / "result.json").read_text())["metrics"]
    assert metrics["test/watch/rmse"] < 0.5
    assert metrics["test/watch/rmse_constant"] > 20
    assert metrics["test/watch/mae"] < metrics["test/watch/rmse"]
    assert metrics["test/watch/xauc"] > 0.99
    assert metrics["test/click/auc"] > 0.7
    assert not any(name.startswith("test/watch/") for name in metrics if name.endswith(("auc_on", "pcoc", "logloss")))
    probes = pd.DataFrame({"age": [40.0, 41.0, 40.0], "price": [5.0, 5.0, 6.0]})
    middle, older, dearer = mtlbench.load(run_of(place)).predict(probes)["predicted_watch"]
    assert middle == pytest.approx(MIDDLE + 40 * SLOPES[0] + 5 * SLOPES[1], abs=0.3)
    assert (older - middle, dearer - middle) == pytest.approx(SLOPES, abs=0.1)


@pytest.mark.parametrize("onnx", [False, pytest.param(True, marks=pytest.mark.long)], ids=["torch", "onnx"])
def test_evaluate_export_and_score_agree_in_the_units_of_the_label(
    place: Path, tmp_path: Path, onnx: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run, predictions = run_of(place), tmp_path / "p.parquet"
    assert main(["evaluate", str(run), "--predictions", str(predictions)]) == 0
    assert re.search(r"\n  XAUC +0\.99\d\d\n", capsys.readouterr().out)
    evaluated = pq.read_table(predictions).to_pandas()
    assert list(evaluated) == ["row", "clicked", "p_click", "seconds", "predicted_watch"]
    rmse = math.sqrt(((evaluated.predicted_watch - evaluated.seconds) ** 2).mean())
    recorded = json.loads((run / "result.json").read_text())["metrics"]["test/watch/rmse"]
    assert rmse == pytest.approx(recorded, rel=1e-4)
    model, example = str(tmp_path / "model"), str(tmp_path / "model" / "example.parquet")
    assert main(["export", str(run), "--to", model, *([] if onnx else ["--no-onnx"])]) == 0
    assert main(["score", model, example, "--to", str(tmp_path / "s.parquet"), *(["--onnx"] if onnx else [])]) == 0
    scored = pq.read_table(tmp_path / "s.parquet").to_pandas()
    assert list(scored) == ["row", "p_click", "predicted_watch"]
    assert np.abs(scored.predicted_watch - evaluated.predicted_watch[: len(scored)]).max() < 1e-3
    assert evaluated.predicted_watch.std() > 20


def test_lists_and_stores_say_what_was_measured(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "runs", f"run.folder={place}/runs"]) == 0
    assert re.search(r"click 0\.\d{4}, watch 0\.99\d\d \(XAUC\)", capsys.readouterr().out)
    assert main(["prepare", *write(place, frame())]) == 0
    assert re.search(
        r"regression task +mean in train +deviation\n.*\n +watch +1[56]\d\.\d+ +\d+\.\d+", capsys.readouterr().out
    )
    (folder,) = place.glob("data/store/parquet/*")
    click, watch = open_store(folder).manifest["schema"]["tasks"]
    assert click == {"name": "click", "label": "clicked", "given": None}, "as before there were regression tasks"
    assert watch.keys() == {"name", "label", "given", "kind", "mean", "deviation"}


def test_a_sweep_shows_each_task_by_its_own_metric(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*write(place, frame()), *LINEAR, "trainer.epochs=1", f"run.folder={place}/sweep"]
    assert main(["train", "-m", "loss.regression=squared,absolute", *words]) == 0
    out = capsys.readouterr().out
    assert re.search(r"loss\.regression +click AUC +watch XAUC +run", out)
    assert out.count("* best configuration") == 1


def test_each_task_can_keep_its_own_weights_and_errors_can_select(place: Path) -> None:
    words = [*write(place, frame()), *LINEAR, "trainer.epochs=2", f"run.folder={place}/selected"]
    assert main(["train", *words, "trainer.checkpoint=task"]) == 0
    assert main(["train", *words, "trainer.select={click/auc: 1, watch/rmse: -0.01}"]) == 0
    results = [json.loads(path.read_text()) for path in place.glob("selected/*/result.json")]
    assert sorted(map(tuple, (each["best_valid"] for each in results))) == [("click", "watch"), ("model",)]
    (own,) = (each["best_valid"]["watch"] for each in results if "watch" in each["best_valid"])
    assert 0 < own <= 1, "XAUC takes the place of AUC"


def test_regression_tasks_alone_are_trained(tmp_path: Path) -> None:
    words = [*write(tmp_path, frame(), tasks=SCHEMA["tasks"][1:]), *LINEAR, "trainer.epochs=1"]
    assert main(["train", *words]) == 0
    result = json.loads((run_of(tmp_path) / "result.json").read_text())
    assert not result["undefined"]
    assert result["best_valid"]["model"] > 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=esmm"], "a product of probabilities is made of binary tasks; watch is a regression task"),
        (["model=escm2"], "a product of probabilities is made of binary tasks; watch is a regression task"),
        (["model=aitm"], "watch is a regression task. Set model.calibrator_weight=0"),
        (["model=dephn", "virtual_gradient=none", "model.combine=prob_mean"], "Choose model.combine=logit_sum"),
        (["model=mmoe", "virtual_gradient=add_cos"], "watch is a regression task. Choose virtual_gradient=none"),
        (["loss.pos_weight=balanced"], "balances positives and negatives, but watch is a regression task"),
        (["loss.pos_weight=[1,3]"], "loss.pos_weight of 'watch' is 3, but a regression task has no positives"),
        (["loss.given=conditional"], "none of the tasks click, watch has a parent task"),
        (["trainer.select=watch/pcoc"], "'watch' is a regression task, which has no pcoc. It has xauc, rmse, mae"),
        (["trainer.select=watch/auc"], "'watch' is a regression task, which has no auc"),
        (["trainer.select=click/rmse"], "'click' is a binary task, which has no rmse"),
        (["trainer.select=rmse", "trainer.checkpoint=task"], "'click' is a binary task, which has no rmse"),
        (["dataset.metrics={uauc_weights:{watch:1}}"], "no binary task watch; allowed: click"),
        (["dataset.split_rule=stratified"], "no such rule"),
    ],
)
def test_what_is_binary_is_refused_with_the_reason(
    place: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *write(place, frame()), *LINEAR, "trainer.epochs=1", *words]) == 2
    assert message in capsys.readouterr().err
    assert len(list(place.glob("runs/*/result.json"))) == 1, "nothing was trained"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.seconds.mask(rows.index == 3, math.inf),
         r"part-0\.parquet, line 4: label 'seconds' is not finite.*\"seconds\": Infinity"),
        (lambda rows: rows.seconds.mask(rows.index == 5, 1e39),
         r"part-0\.parquet, line 6: label 'seconds' is too large"),
        (lambda rows: rows.seconds * 0 + 7.5,
         r"label 'seconds' of regression task 'watch' is 7\.5 in all training rows, in \S+part-0\.parquet from line "
         r"\d+ on: there is nothing to learn"),
        (lambda rows: rows.price * 2 + 1, r"field 'price' equals, but for a factor and a constant, label 'seconds'"),
        (lambda rows: rows.seconds.astype(str), r"'seconds' must be whole numbers or decimal numbers"),
    ],
    ids=["infinite", "too large", "constant", "leak", "text"],
)  # fmt: skip
def test_labels_that_cannot_be_learnt_are_refused_with_their_place(
    tmp_path: Path, change, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = frame()
    assert main(["prepare", *write(tmp_path, rows.assign(seconds=change(rows)))]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.glob("data/store/parquet/*/manifest.json"))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([{"name": "watch", "label": "seconds", "kind": "number"}], "tasks.0.kind is 'number'"),
        ([SCHEMA["tasks"][0], {**SCHEMA["tasks"][1], "given": "click"}], "Take its `given` away"),
        ([SCHEMA["tasks"][1], {**SCHEMA["tasks"][0], "given": "watch"}], "a regression task, which has no positives"),
        ([*SCHEMA["tasks"], {"name": "long", "label": "seconds"}], "is used by a binary and a regression task"),
    ],
)
def test_tasks_that_contradict_themselves_are_refused(
    tmp_path: Path, tasks: list[dict], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", *write(tmp_path, frame(20), tasks=tasks)]) == 2
    assert message in capsys.readouterr().err


def test_a_table_has_columns_and_claims_of_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two learning rates, one of which learns nothing; lower errors are better, higher XAUC is."""
    words = write(tmp_path, frame(300))
    study = {
        "title": "Does learning pay?", "seeds": 2,
        "datasets": {"Mine": words[:3]},
        "rows": [
            {"label": "fast", "overrides": ["model=shared_bottom", "optimizer.lr=0.02"]},
            {"label": "slow", "overrides": ["model=shared_bottom", "optimizer.lr=0.000001"]},
        ],
        "columns": [{"metric": "auc", "tasks": ["click"]}, {"metric": "xauc", "tasks": ["watch"]},
                    {"metric": "rmse", "tasks": ["watch"]}, {"metric": "mae", "tasks": ["watch"]}],
        "claims": [{"text": "fast errs less", "better": ["fast"], "than": ["slow"], "metric": "rmse"}],
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text("# Learning rates\n" + yaml.safe_dump(study))
    small = [word for word in LINEAR if not word.startswith(("model=", "optimizer."))]
    command = ["reproduce", str(tmp_path / "study.yaml"), "--to", str(tmp_path / "tables"), *small, *words[3:]]
    assert main([*command, "trainer.epochs=2"]) == 0, capsys.readouterr().err
    table = json.loads((tmp_path / "tables" / "study.json").read_text())
    fast, slow = ([cell["measured"]["mean"] for cell in row["cells"]] for row in table["rows"])
    better = [(a > b) if column["metric"] == "xauc" else (a < b) for column, a, b in
              zip(table["columns"], fast, slow, strict=True)][1:]  # fmt: skip
    assert better == [True, True, True]
    assert re.search(r"fast - slow, Mine: watch rmse: -\d+\.\d+ \(2 seeds", (tmp_path / "tables/study.md").read_text())


def test_outliers_are_counted_by_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Of 600 rows in three splits one holds a number, another a label, a million times too large."""
    rows = frame()
    rows.loc[rows.index[-1], "price"] = 1e6
    rows.loc[rows.index[-1], "seconds"] = 1e9
    parts = {"train": rows[:400], "valid": rows[400:500], "test": rows[500:]}
    words = [*write(tmp_path, rows), "dataset.split_rule=given"]
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump({**SCHEMA, "rows": {split: f"{split}.parquet" for split in parts}})
    )
    for split, part in parts.items():
        part.to_parquet(tmp_path / "mine" / f"{split}.parquet")
    assert main(["prepare", *words]) == 0
    told = capsys.readouterr().out
    assert "WARNING: 'price' has 1 row of 'test' more than 100 standard deviations" in told
    assert "WARNING: task 'watch' has 1 row of 'test' with labels more than 100 standard deviations" in told
    assert told.count("WARNING") == 2


def test_an_outlier_of_a_dimension_table_counts_where_a_row_points_at_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Test rows point at one of two users with two million fans, and no row at the other."""
    users = pd.DataFrame({"user": range(40), "fans": [*range(38), 2e6, 2e6]})
    parts = {"train": range(38), "valid": range(38), "test": range(39)}
    schema = {
        "rows": {split: f"{split}.parquet" for split in parts},
        "tables": {"users": {"files": "users.parquet", "key": "user", "pointer": "who"}},
        "fields": [{"name": "item"}, {"name": "fans", "kind": "number", "table": "users"}],
        "tasks": [{"name": "click", "label": "clicked"}],
    }
    (tmp_path / "mine").mkdir()
    users.to_parquet(tmp_path / "mine" / "users.parquet")
    for split, who in parts.items():
        rows = pd.DataFrame({"who": [*who] * 10, "item": [1, 2] * (5 * len(who))})
        rows.assign(clicked=np.arange(len(rows)) // 3 % 2).to_parquet(tmp_path / "mine" / f"{split}.parquet")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(schema))
    words = ["dataset=parquet", f"dataset.raw={tmp_path / 'mine'}", f"dataset.schema={tmp_path / 'mine.yaml'}"]
    assert main(["prepare", *words, "dataset.split_rule=given", f"run.data={tmp_path / 'data'}"]) == 0
    told = capsys.readouterr().out
    assert "WARNING: 'fans' has 1 row of 'users' more than 100 standard deviations" in told
    assert told.count("WARNING") == 1
