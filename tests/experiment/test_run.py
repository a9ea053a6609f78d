"""A run as a whole: what is kept, what is refused, what is written down."""

import json
from pathlib import Path

import pytest
import torch

from mtlbench.cli.compose import compose
from mtlbench.experiment import run as run_module
from mtlbench.experiment.code_version import code_version
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.evaluation import evaluate_run
from mtlbench.experiment.run import BusyError, train
from mtlbench.experiment.run_folder import OtherCodeWarning
from mtlbench.tracking.folder import read_status, write_status

SMALL = [
    "model=shared_bottom", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=3000",
    "trainer.epochs=1", "tracker=none",
]  # fmt: skip


def finished(folder: Path, *overrides: str) -> Path:
    return train(compose([*SMALL, f"run.data={folder}/data", f"run.folder={folder}/runs", *overrides])).folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


def test_starting_over_destroys_nothing_before_everything_else_works(place: Path, monkeypatch: pytest.MonkeyPatch):
    folder = finished(place)
    before = (folder / "result.json").read_text()

    def broken(*_: object) -> torch.nn.Module:
        raise ValueError("widths do not fit")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "build_model", broken)
        with pytest.raises(ValueError, match="widths do not fit"):
            finished(place, "run.fresh=true")
    assert (folder / "result.json").read_text() == before
    assert not train(compose([*SMALL, f"run.data={place}/data", f"run.folder={place}/runs", "run.fresh=true"])).reused


def test_a_run_that_was_killed_before_it_could_say_so_is_finished(place: Path):
    folder = finished(place)
    write_status(folder, "running")
    assert read_status(folder).state == "finished"
    write_status(folder, "interrupted", "SIGINT")
    assert (read_status(folder).state, read_status(folder).reason) == ("finished", None)


def test_a_run_of_two_versions_of_the_code_says_both(place: Path):
    folder = finished(place, "seed=1")
    (folder / "result.json").unlink()
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**facts, "commit": "0.0.9+old"}))
    with pytest.warns(OtherCodeWarning, match=r"started with other code \(0\.0\.9\+old\) and continues with this"):
        finished(place, "seed=1")
    assert json.loads((folder / "result.json").read_text())["code"] == f"0.0.9+old then {code_version()}"


def test_a_run_is_not_scored_on_other_data(place: Path):
    folder = finished(place)
    own = evaluate_run(folder, "test", "cpu", None)
    assert own.values["income/auc"] == json.loads((folder / "result.json").read_text())["metrics"]["test/income/auc"]
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**facts, "data": "0123456789abcdef"}))
    with pytest.raises(ConfigError, match=r"was trained on data 0123456789abcdef, .*: train the run again"):
        evaluate_run(folder, "test", "cpu", None)
    (folder / "run.json").write_text(json.dumps(facts))


def test_predictions_say_that_they_are_of_simulated_data(place: Path):
    import pyarrow.parquet as pq

    evaluate_run(finished(place), "valid", "cpu", place / "p.parquet")
    metadata = pq.read_schema(place / "p.parquet").metadata
    assert metadata[b"origin"] == b"simulated"
    assert metadata[b"split"] == b"valid"


def test_a_password_is_not_kept(place: Path):
    folder = finished(place, "seed=5", "run.tracker.uri=http://alice:s3cret@127.0.0.1:9")
    assert all(b"s3cret" not in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert "127.0.0.1:9" in (folder / "config.yaml").read_text()


def test_a_run_that_another_process_trains_is_left_to_it(place: Path):
    from filelock import FileLock

    folder = finished(place)
    with (
        FileLock(folder.with_name(folder.name + ".lock")),
        pytest.raises(BusyError, match="another process is training"),
    ):
        finished(place)


def test_the_test_split_is_scored_once_with_the_selected_weights(place: Path, monkeypatch: pytest.MonkeyPatch):
    folder = finished(place, "trainer.epochs=3", "seed=9")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert sum("test/income/auc" in line["values"] for line in lines) == 1
    assert sum("valid/income/auc" in line["values"] for line in lines) == 3


def test_metrics_that_are_asked_for_are_measured_at_the_end(place: Path):
    folder = finished(place, "dataset.metrics={top:{n:3,weights:{income:1},lists:sampled,size:20,seed:4}}")
    values = json.loads((folder / "result.json").read_text())["metrics"]
    assert values["test/income/precision_at_3_of_20_own"] == values["test/income/precision_at_3_of_20_export"] > 0
    assert evaluate_run(folder, "test", "cpu", None).prefixed("test").values == values
    first, *_, last = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert "test/income/lists_at_3_of_20" in last["values"]
    assert not any("lists" in name for name in first["values"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("{uauc_weights:{income:1}}", "rows of this data set have no group"),
        ("{top:{weights:{click:1},lists:sampled}}", "no binary task click; allowed: income, never_married"),
        ("{top:{wieghts:{income:1}}}", "did you mean 'weights'"),
        ("3", "dataset.metrics is 3; allowed: null"),
    ],
)
def test_metrics_that_the_data_cannot_have_are_refused_before_training(place: Path, asked: str, message: str):
    before = set((place / "runs").glob("*/config.yaml"))
    with pytest.raises(ValueError, match=message):
        finished(place, f"dataset.metrics={asked}", "seed=77")
    assert set((place / "runs").glob("*/config.yaml")) == before


def test_a_config_and_a_result_can_be_opened_from_any_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(place)
    folder = train(compose([*SMALL, "run.data=data", "run.folder=runs"])).folder
    monkeypatch.chdir(tmp_path)
    assert evaluate_run(folder, "test", "cpu", None).values
    assert list(tmp_path.iterdir()) == []
