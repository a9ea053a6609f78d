"""Scores of the test rows in the run folder: what is kept, restored, refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mtlbench.cli import main
from mtlbench.data.store import open_store
from mtlbench.experiment.evaluation import OtherResultError, restore_scores
from mtlbench.metrics.binary import auc
from mtlbench.tracking.files import DamagedFileError
from mtlbench.tracking.scores import SCORES, keeps_scores, read_scores, write_scores

SMALL = [
    "model=shared_bottom", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=3000",
    "trainer.epochs=1", "tracker=none", "run.threads=1", "profile.bottom_layers=[4]",
]  # fmt: skip


def trained(place: Path, *overrides: str) -> Path:
    assert main(["train", *SMALL, f"run.data={place}/data", f"run.folder={place}/runs", *overrides]) == 0
    (folder,) = (path for path in (place / "runs").iterdir() if path.is_dir())
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("kept"))


def test_a_run_keeps_the_scores_that_its_metrics_are_of(folder: Path) -> None:
    scores = read_scores(folder, folder.name)
    assert scores is not None
    (manifest,) = folder.parents[1].glob("data/store/*/*/manifest.json")
    columns = open_store(manifest.parent).split("test").columns
    recorded = json.loads((folder / "result.json").read_text())["metrics"]
    for t, task in enumerate(scores):
        positive = columns["labels"][:, t].numpy() == 1
        assert auc(scores[task], positive) == recorded[f"test/{task}/auc"]


def test_keeping_is_no_part_of_the_identity_and_scores_are_restored_from_the_weights(folder: Path) -> None:
    before = (folder / SCORES).read_bytes()
    assert trained(folder.parents[1], "run.keep_scores=false", "run.fresh=true") == folder
    assert read_scores(folder, folder.name) is None
    restore_scores(folder, "cpu")
    assert (folder / SCORES).read_bytes() == before


def test_scores_of_other_weights_are_not_restored(folder: Path, tmp_path: Path) -> None:
    """A result that these weights do not give: nothing is written."""
    copy = tmp_path / folder.name
    copy.mkdir()
    for file in folder.iterdir():
        if file.name != SCORES:
            (copy / file.name).write_bytes(file.read_bytes())
    result = json.loads((copy / "result.json").read_text())
    result["metrics"]["test/income/auc"] = 0.1
    result.pop("sha256")
    (copy / "result.json").write_text(json.dumps(result))
    with pytest.raises(OtherResultError, match="no longer gives the metrics recorded"):
        restore_scores(copy, "cpu")
    assert not (copy / SCORES).exists()


def test_scores_that_were_changed_are_refused(tmp_path: Path) -> None:
    log_odds = np.array([[0.5, -1.0], [2.0, 0.25]], np.float32)
    write_scores(tmp_path, "a", ["click", "buy"], log_odds)
    found = read_scores(tmp_path, "a")
    assert found is not None
    assert np.array_equal(np.stack([found["click"], found["buy"]], axis=1), log_odds)
    with pytest.raises(DamagedFileError, match="its run is a, expected b"):
        read_scores(tmp_path, "b")
    table = pq.read_table(tmp_path / SCORES)
    pq.write_table(table.take([1, 0]), tmp_path / SCORES)
    with pytest.raises(DamagedFileError, match="its sha256 is"):
        read_scores(tmp_path, "a")
    (tmp_path / SCORES).write_bytes(b"PAR1")
    with pytest.raises(DamagedFileError, match=r"run\.keep_scores=true computes it again"):
        read_scores(tmp_path, "a")


@pytest.mark.parametrize(
    ("keep", "rows", "expected"),
    [("auto", 10_000_000, True), ("auto", 10_000_001, False), (True, 10_000_001, True), (False, 1, False)],
)
def test_scores_of_many_rows_are_kept_on_demand(keep: bool, rows: int, expected: bool) -> None:
    assert keeps_scores(keep, rows) is expected


def test_an_unknown_choice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "run.keep_scores=some", f"run.data={tmp_path}", f"run.folder={tmp_path}/runs"]
    assert main(["train", *words]) != 0
    assert "run.keep_scores" in capsys.readouterr().err
