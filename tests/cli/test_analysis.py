"""A closer look at a run by the user's commands: metrics by slice, calibration, permutation importance."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from scipy.stats import binomtest, norm
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

import mtlbench
from mtlbench.cli import main
from mtlbench.data.loader import order
from mtlbench.data.slicing import slicing
from mtlbench.data.store import open_store
from mtlbench.experiment import analysis
from mtlbench.experiment.evaluation import load_run
from mtlbench.schema import Batch
from mtlbench.tracking.connect import DATABASE, connect

ROWS = {"train": 1200, "valid": 300, "test": 600}
SCHEMA = {
    "rows": {part: f"{part}.parquet" for part in ROWS},
    "fields": [
        {"name": "country"},
        {"name": "item"},
        {"name": "tags", "width": 3},
        {"name": "age", "kind": "number"},
        {"name": "height", "kind": "number"},
        {"name": "place", "kind": "number", "width": 2},
    ],
    "tasks": [{"name": "click", "label": "clicked"}, {"name": "watch", "label": "seconds", "kind": "regression"}],
}
SMALL = [
    "model=shared_bottom", "profile.bottom_layers=[]", "profile.tower_layers=[]", "trainer.batch_size=64",
    "trainer.epochs=12", "trainer.patience=null", "optimizer.lr=0.02", "run.threads=1",
]  # fmt: skip


def frame(rows: int, seed: int) -> pd.DataFrame:
    """Country says all there is to know of a click, and age of seconds; NO has no positives, and XX few rows."""
    random = np.random.default_rng(seed)
    country = random.choice(["DE", "FR", "US", "NO", "XX", "YY"], rows, p=[0.4, 0.3, 0.15, 0.1, 0.03, 0.02])
    rate = pd.Series(country).map({"DE": 0.2, "FR": 0.5, "US": 0.8, "NO": 0.0, "XX": 0.5, "YY": 0.5}).to_numpy()
    age = random.integers(10, 80, rows).astype(float)
    tags = [[f"t{tag}" for tag in random.integers(0, 4, random.integers(0, 4))] for _ in range(rows)]
    return pd.DataFrame(
        {
            "country": country,
            "item": random.integers(0, 200, rows),
            "tags": tags,
            "age": age,
            "height": np.where(random.random(rows) < 0.02, np.nan, random.integers(150, 200, rows)),
            "place": [list(pair) for pair in random.normal(size=(rows, 2))],
            "clicked": (random.random(rows) < rate).astype(int),
            "seconds": age + random.normal(size=rows),
        }
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A folder with one finished run, sent to a database beside the runs."""
    folder = tmp_path_factory.mktemp("analysis")
    (folder / "runs").mkdir()
    shutil.copy(empty_database, folder / "runs" / DATABASE)
    raw = folder / "mine"
    raw.mkdir()
    for seed, (part, rows) in enumerate(ROWS.items()):
        frame(rows, seed).to_parquet(raw / f"{part}.parquet")
    (folder / "mine.yaml").write_text(yaml.safe_dump(SCHEMA))
    before = Path.cwd()
    os.chdir(folder)
    try:
        data = [
            "dataset=parquet",
            f"dataset.raw={raw}",
            f"dataset.schema={folder}/mine.yaml",
            "dataset.split_rule=given",
        ]
        assert main(["train", *data, *SMALL, "dataset.without_fields=[item]", "--quiet"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    (result,) = Path("runs").glob("*/result.json")
    return result.parent


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What ``evaluate --json`` says."""
    assert main(["evaluate", *words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def predictions(run: Path, folder: Path) -> pd.DataFrame:
    """Test rows with what the run predicts, by another path than that of the analyses."""
    assert main(["evaluate", run.name, "--predictions", str(folder / "p.parquet")]) == 0
    there = pq.read_table(folder / "p.parquet").to_pandas()
    rows = frame(ROWS["test"], 2)
    assert (there.clicked == rows.clicked).all()
    return rows.assign(p=there.p_click.astype(float), predicted=there.predicted_watch.astype(float))


def agrees(slice_: dict[str, Any], rows: pd.DataFrame) -> bool:
    """Whether a slice has the metrics of these rows."""
    values = slice_["metrics"]["values"]
    found = [slice_["rows"], values["click/positives"], values["click/logloss"], values["watch/rmse"]]
    expected = [len(rows), rows.clicked.sum(), log_loss(rows.clicked, rows.p, labels=[0, 1])]
    expected += [((rows.predicted - rows.seconds) ** 2).mean() ** 0.5]
    if rows.clicked.nunique() == 2:
        found += [values["click/auc"], values["click/pcoc"]]
        expected += [roc_auc_score(rows.clicked, rows.p), rows.p.mean() / rows.clicked.mean()]
    return found == pytest.approx(expected, rel=1e-4)


def test_slices_are_what_each_groups_own_rows_give(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = predictions(run, tmp_path)
    capsys.readouterr()
    by_country, by_both = (
        each["found"] for each in asked(capsys, run.name, "slices=[country,[country,age]]", "bins=2")["analyses"]
    )
    assert by_country["fields"] == ["country"]
    names = [each["name"] for each in by_country["slices"]]
    assert names == ["DE", "FR", "US", "NO"], "the largest first, those below 50 rows together"
    assert all(agrees(each, rows[rows.country == each["name"]]) for each in by_country["slices"])
    assert agrees(by_country["whole"], rows)
    assert by_country["rest_values"] == 2
    assert agrees(by_country["rest"], rows[rows.country.isin(["XX", "YY"])])
    norway = by_country["slices"][3]
    assert norway["metrics"]["undefined"]["click/auc"] == f"all {norway['rows']} labels are 0"
    assert "click" not in norway["auc_error"]
    assert 0.01 < by_country["whole"]["auc_error"]["click"] < 0.04, "about sqrt(1 / (12 * positives))"
    median = float(np.nanquantile(rows.age.fillna(45.0), 0.5, method="inverted_cdf"))
    found = {each["name"]: each["rows"] for each in by_both["slices"]}
    assert (
        abs(found[f"DE, <= {median:g}"] - ((rows.country == "DE") & (rows.age <= median)).sum())
        <= rows.age.isna().sum()
    )


def test_numbers_are_sliced_at_stated_quantiles_and_lists_by_each_value(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = predictions(run, tmp_path)
    capsys.readouterr()
    answer = asked(capsys, run.name, "slices=[age,tags,height]", "bins=4")
    by_age, by_tag, by_height = (each["found"] for each in answer["analyses"])
    edges = [int(each["name"].rstrip("]").rpartition(" ")[2]) for each in by_age["slices"][:3]]
    assert [each["name"] for each in by_age["slices"]] == [
        f"<= {edges[0]}", f"({edges[0]}, {edges[1]}]", f"({edges[1]}, {edges[2]}]", f"> {edges[2]}",
    ]  # fmt: skip
    oldest = rows[rows.age > edges[2]]
    assert agrees(by_age["slices"][3], oldest)
    assert sum(each["rows"] for each in by_age["slices"]) == len(rows)
    missing = int(rows.height.isna().sum())
    assert by_age["notes"] == []
    assert by_height["notes"][0].startswith(
        f"height: {missing} missing numbers of test are stored as the training mean"
    )
    for each in by_tag["slices"]:
        has = rows.tags.map(lambda tags, name=each["name"]: name in tags if name != "(none)" else not tags)
        assert agrees(each, rows[has])
    assert {each["name"] for each in by_tag["slices"]} == {"t0", "t1", "t2", "t3", "(none)"}
    assert by_tag["notes"] == ["tags: a row counts in each of its values, so the slices overlap"]


def test_a_field_of_many_values_that_the_model_does_not_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = asked(capsys, run.name, "--slices", "item", "min_rows=2")["analyses"]
    slices, rest = found["found"]["slices"], found["found"]["rest"]
    assert len(slices) == 20
    assert [each["rows"] for each in slices] == sorted((each["rows"] for each in slices), reverse=True)
    assert found["found"]["rest_values"] > 100
    assert sum(each["rows"] for each in [*slices, rest]) == ROWS["test"]


def test_slices_fit_a_terminal_and_say_what_is_undefined(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", run.name, "slices=[[country,age],country]"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "click by country, age" in out
    assert "(rest: 2 values)" in out
    assert "watch by country\n\n  slice" in out
    assert "AUC of NO is undefined: all" in out
    assert {path.name for path in (run / "analysis").glob("*country*")} == {
        f"slices-test-{fields}.{kind}" for fields in ("country", "country-age") for kind in ("json", "png")
    }


def test_kept_log_odds_need_no_weights_and_weights_no_kept_log_odds(
    run: Path, tmp_path: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = asked(capsys, run.name, "slices=[country]")["analyses"]
    for lost in ("best.pt", "scores.parquet"):
        copy = tmp_path / lost / run.name
        shutil.copytree(run, copy)
        shutil.copy(empty_database, copy.parent / DATABASE)
        (copy / lost).unlink()
        for each, found in zip(expected, asked(capsys, str(copy), "slices=[country]")["analyses"], strict=True):
            ours, theirs = (json.dumps(a["found"]["slices"][0]["metrics"]["undefined"]) for a in (each, found))
            assert ours == theirs
            assert found["found"]["whole"]["metrics"]["values"] == pytest.approx(
                each["found"]["whole"]["metrics"]["values"], rel=1e-4
            )
    (tmp_path / "best.pt" / run.name / "scores.parquet").unlink()
    assert main(["evaluate", str(tmp_path / "best.pt" / run.name), "slices=[country]"]) == 2
    assert "has neither stored log-odds of its test rows (scores.parquet) nor weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["slices=[cuntry]"], "data set 'parquet' has no field 'cuntry' (did you mean 'country'?)"),
        (["slices=[zzz]"], "has no field 'zzz'. It has country, item, tags, age, height, place"),
        (["slices=[place]"], "'place' is a number of 2 components, which have no common bins"),
        (["slices=[[country,tags]]"], "'tags' is multi-valued, so it cannot be combined"),
        (["slices=[]"], "'[]' is not a list of names; expected, for example, [country]"),
        (["slices=[country,[age]"], "is not a list of names"),
        (["slices=[country]", "min_rows=no"], "min_rows=no; expected a whole number"),
        (["slices=[country]", "bins=1"], "bins=1, min_rows=50; allowed: at least 2 and 1"),
        (["sices=[country]"], "unknown 'sices=[country]'"),
    ],
)
def test_what_cannot_be_sliced_is_refused(
    run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", run.name, *words]) == 2
    assert message in capsys.readouterr().err


def test_data_that_are_gone_are_said_to_be(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store that is gone is prepared again; without the raw files it cannot be."""
    shutil.move("data", tmp_path / "data")
    try:
        assert main(["evaluate", run.name, "slices=[country]"]) == 0
        shutil.move("mine", tmp_path / "mine")
        assert main(["evaluate", run.name, "slices=[country]"]) == 2
        assert "data set 'parquet': there is no folder" in capsys.readouterr().err
    finally:
        shutil.rmtree("data")
        shutil.move(tmp_path / "data", "data")
        shutil.move(tmp_path / "mine", "mine")


def test_calibration_holds_predictions_against_what_came(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gaps of the bins are those that the calibration error is the mean of."""
    rows = predictions(run, tmp_path)
    capsys.readouterr()
    answer = asked(capsys, run.name, "calibration=true")
    click, watch = answer["analyses"][0]["found"]["tasks"]
    gaps = [each["rows"] * abs(each["predicted"] - each["observed"]) for each in click["bins"]]
    assert sum(gaps) / len(rows) == pytest.approx(answer["metrics"]["click/ece"], rel=1e-6)
    for each in click["bins"]:
        interval = binomtest(round(each["observed"] * each["rows"]), each["rows"]).proportion_ci(method="wilson")
        assert (each["low"], each["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)
    ordered = rows.sort_values("predicted")
    assert [each["rows"] for each in watch["bins"]] == [40] * 15
    for number, each in enumerate(watch["bins"]):
        own = ordered[40 * number : 40 * number + 40]
        half = norm.ppf(0.975) * own.seconds.std() / 40**0.5
        expected = (own.predicted.mean(), own.seconds.mean(), own.seconds.mean() - half, own.seconds.mean() + half)
        assert (each["predicted"], each["observed"], each["low"], each["high"]) == pytest.approx(expected, rel=1e-4)
    assert main(["evaluate", run.name, "--calibration", "--split", "valid"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"click: predicted and observed.*\n\n  bin +rows +predicted +observed +95 % interval\n", out)


def test_slices_by_a_compressed_number_are_named_in_its_own_units(tmp_path: Path) -> None:
    """Edges are quantiles of the raw numbers, and a missing one is exp(mean of ln(1 + v)) - 1."""
    random = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    for part, rows in ROWS.items():
        fans = np.where(np.arange(rows) % 50 == 0, np.nan, np.floor(np.exp(random.normal(5, 2, rows))))
        columns = pd.DataFrame({"fans": fans, "debt": -fans, "clicked": random.integers(0, 2, rows)})
        columns.to_parquet(tmp_path / "raw" / f"{part}.parquet")
    fields = [{"name": name, "kind": "number", "compress": True} for name in ("fans", "debt")]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**SCHEMA, "fields": fields, "tasks": SCHEMA["tasks"][:1]}))
    words = ["dataset=parquet", f"dataset.raw={tmp_path / 'raw'}", f"dataset.schema={tmp_path / 'mine.yaml'}"]
    assert main(["prepare", *words, "dataset.split_rule=given", f"run.data={tmp_path / 'data'}"]) == 0
    (folder,) = (tmp_path / "data" / "store" / "parquet").glob("[!.]*")
    train, test = (pd.read_parquet(tmp_path / "raw" / f"{part}.parquet").fans for part in ("train", "test"))
    mean = np.expm1(np.log1p(train).mean())
    for name, sign in (("fans", 1), ("debt", -1)):
        found = slicing(open_store(folder), "test", [name], bins=4, min_rows=1)
        edges = [float(text) for text in re.findall(r"-?[0-9.]+(?:e[+-][0-9]+)?", " ".join(found.names))]
        expected = np.quantile(sign * test.fillna(mean), [0.25, 0.5, 0.75], method="inverted_cdf")
        np.testing.assert_allclose(sorted({*edges}), expected, rtol=1e-4)
        (note,) = found.notes
        assert float(note.rpartition("mean ")[2].split()[0]) == pytest.approx(sign * mean, rel=1e-4)
    assert mean > 100


def test_importance_is_what_scoring_shuffled_raw_rows_gives(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reference shuffles a column of the raw rows and scores them by the path of an export."""
    repeats, seed = 3, 7
    answer = asked(capsys, run.name, "--importance", f"repeats={repeats}", f"seed={seed}")
    found = answer["analyses"][0]["found"]
    changes = {each["field"]: each["changes"] for each in found["fields"]}
    assert set(changes) == {"country", "tags", "age", "height", "place"}, "item is not learnt from"
    rows, model = frame(ROWS["test"], 2), mtlbench.load(run)

    def measured(frame: pd.DataFrame) -> dict[str, float]:
        scored = model.predict(frame)
        return {
            "click/auc": float(roc_auc_score(rows.clicked, scored.p_click)),
            "click/logloss": -float(log_loss(rows.clicked, scored.p_click.astype(float))),
            "watch/rmse": -float(((scored.predicted_watch - rows.seconds) ** 2).mean() ** 0.5),
        }

    before = measured(rows)
    for field, ours in changes.items():
        worse = []
        for repeat in range(1, repeats + 1):
            donor = order(len(rows), seed, repeat).numpy()
            worse.append(measured(rows.assign(**{field: rows[field].to_numpy()[donor]})))
        for name, value in before.items():
            theirs = [value - each[name] for each in worse]
            assert ours[name]["mean"] == pytest.approx(np.mean(theirs), abs=2e-5), (field, name)
            assert ours[name]["deviation"] == pytest.approx(np.std(theirs, ddof=1), abs=2e-5), (field, name)


def test_what_carries_everything_ranks_first_and_noise_is_worth_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", run.name, "importance=true", "sample_rows=400"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "mean ± standard deviation of 5 shuffles (seed 0), 400 of 600 rows" in out
    for task, first in (("click", "country"), ("watch", "age")):
        table = out.partition(f"{task}: what changes when a field is shuffled")[2].splitlines()[4:9]
        (best, *others) = ([line.split()[0], *map(float, line.split()[1:])] for line in table)
        assert best[0] == first
        assert best[1] > 0.15
        assert all(abs(other[1]) < 0.02 for other in others)
    assert main(["report", "--run", run.name, "--to", "run.html"]) == 0
    assert "Permutation importance" in Path("run.html").read_text()
    assert (run / "analysis" / "importance-test.png").exists()


class ReadsAgeOnly(nn.Module):
    def forward(self, batch: Batch) -> torch.Tensor:
        return batch.numbers[:, :1].repeat(1, 2)


def test_what_a_model_does_not_read_is_worth_exactly_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = replace(load_run(run, "cpu"), model=ReadsAgeOnly())
    monkeypatch.setattr(analysis, "load_run", lambda *_: trained)
    age, *others = analysis.permutation_importance(run, "test", repeats=2).fields
    assert age.field == "age"
    assert age.changes["watch/xauc"].mean > 0.4
    assert {(change.mean, change.deviation) for other in others for change in other.changes.values()} == {(0.0, 0.0)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["repeats=0"], "repeats=0, sample_rows=100000; allowed: train, valid, test, at least 1, at least 2"),
        (["sample_rows=1"], "sample_rows=1; allowed"),
        (["seed=-1"], "seed=-1; expected a whole number"),
    ],
)
def test_importance_that_cannot_be_had(
    run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", run.name, "--importance", *words]) == 2
    assert message in capsys.readouterr().err


def test_python_gives_the_same_as_frames(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = asked(capsys, run.name, "slices=[country]", "--calibration", "--importance", "repeats=2")["analyses"]
    calibration, slices, importance = (each["found"] for each in answer)
    ours = mtlbench.load(run)
    by_country = ours.slices("country")
    germany = slices["slices"][0]
    assert by_country.loc[("click", "DE"), "auc"] == germany["metrics"]["values"]["click/auc"]
    assert by_country.loc[("click", "DE"), "auc_error"] == germany["auc_error"]["click"]
    assert np.isnan(by_country.loc[("click", "NO"), "auc"])
    assert by_country.loc[("watch", "(rest)"), "rows"] == slices["rest"]["rows"]
    assert list(ours.calibration().loc["watch", "observed"]) == [
        each["observed"] for each in calibration["tasks"][1]["bins"]
    ]
    worth = ours.importance(repeats=2)
    assert worth.index[0] == ("click", "auc", importance["fields"][0]["field"])
    assert worth["mean"].iloc[0] == importance["fields"][0]["changes"]["click/auc"]["mean"]
    with pytest.raises(ValueError, match=r"did you mean 'country'\?"):
        ours.slices("cuntry")
    with pytest.raises(ValueError, match="no field is given"):
        ours.slices()


def test_they_stand_on_the_report_page_and_in_mlflow(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", run.name, "slices=[country]", "--calibration"]) == 0
    assert main(["report", "--run", run.name, "--to", "run.html"]) == 0
    page = Path("run.html").read_text()
    assert "<h1>Runs, looked at closely</h1>" in page
    assert "Metrics by country" in page
    assert page.count("<svg") >= 2
    assert "predicted probability" in page
    assert "click by country" in page
    assert "<td>0.8" in page or "<td>0.7" in page
    sent = json.loads((run / "mlflow.json").read_text())
    ((uri, where),) = sent.items()
    names = {file.path for file in connect(uri).list_artifacts(where["run_id"], "analysis")}
    expected = {
        f"analysis/{look}.{kind}" for look in ("calibration-test", "slices-test-country") for kind in ("json", "png")
    }
    assert expected <= names
    capsys.readouterr()
    assert main(["report", "--run", "nothing"]) == 2
    assert "0 runs in " in capsys.readouterr().err


def test_a_damaged_analysis_is_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    (copy / "analysis").mkdir(exist_ok=True)
    for content, problem in (("{", "is damaged"), ('{"format": 9}', "is of format 9; this version reads 1")):
        (copy / "analysis" / "calibration-test.json").write_text(content)
        assert main(["report", "--run", str(copy), "--to", str(tmp_path / "page.html")]) == 2
        said = capsys.readouterr().err
        assert problem in said
        assert "Remove it, and mtlbench evaluate" in said
    shutil.rmtree(copy / "analysis")
    assert main(["report", "--run", str(copy), "--to", str(tmp_path / "page.html")]) == 2
    assert "has no stored analyses; mtlbench evaluate" in capsys.readouterr().err
