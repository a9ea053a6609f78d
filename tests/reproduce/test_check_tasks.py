"""Columns of a study name tasks that its data sets have, which is checked before anything is trained."""

from pathlib import Path

import pytest

import mtlbench
from mtlbench.cli import main
from mtlbench.experiment.errors import ConfigError

ROOT = Path(__file__).parents[2]
STUDIES = sorted(
    path.stem
    for path in (ROOT / "conf" / "study").glob("[!m]*.yaml")  # mechanism studies have tests of their own
    if "tuned=true" not in path.read_text()  # which asks for the data that it was tuned on
)
STUDY = """
title: Two data sets
seeds: 1
datasets:
  Census: [dataset=census, dataset.source=simulated, dataset.simulator.rows=2000]
  Ali-CCP: [dataset=aliccp, dataset.source=simulated, dataset.simulator.rows=2000]
rows: [{label: shared, overrides: [model=shared_bottom]}]
columns: COLUMNS
"""
RAW = {
    "kuairand": ["log_standard_4_22_to_5_08_pure.csv", "user_features_pure.csv", "video_features_basic_pure.csv"],
    "census": ["census-income.data.gz", "census-income.test.gz"],
}
APART = "[{metric: auc, datasets: [Census], tasks: [income]}, {metric: auc, datasets: [Ali-CCP], tasks: [click]}]"


def test_a_task_that_a_data_set_lacks_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "two.yaml"
    study.write_text(STUDY.replace("COLUMNS", "[{metric: auc, tasks: [income, click]}]"))
    with pytest.raises(ConfigError, match=r"names task click, but the runs on Census have income, never_m"):
        mtlbench.reproduce(str(study), "tracker=none")
    assert not (tmp_path / "runs").exists()
    study.write_text(STUDY.replace("COLUMNS", APART))
    assert main(["reproduce", str(study), "--dry-run"]) == 0


@pytest.mark.parametrize("name", STUDIES)
def test_shipped_studies_name_tasks_of_their_data_sets(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for dataset, files in RAW.items():  # whose content a plan does not read
        folder = tmp_path / "data" / "raw" / dataset
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text("not read\n")
    assert main(["reproduce", str(ROOT / f"conf/study/{name}.yaml"), "--dry-run"]) == 0
