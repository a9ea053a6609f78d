"""Runs that measure the same are trained once, by whichever name or command they come first."""

from pathlib import Path

import pandas as pd
import pytest

import mtlbench
from mtlbench.cli import main

STUDY = """
title: Four names of two models
seeds: 1
profile: mssm
datasets: {Census: [dataset=census, dataset.source=simulated, dataset.simulator.rows=1500]}
rows:
  - {label: Basic, overrides: [model=mssm_basic], same_as: [model=snr_trans]}
  - {label: SNR, overrides: [model=snr_trans], same_as: [model=mssm_basic]}
  - {label: MSSM, overrides: [model=mssm]}
  - {label: "MSSM, watched", overrides: [model=mssm, trainer.diagnostics=true]}
columns: [{metric: auc, tasks: [income, never_married]}, {metric: logloss, tasks: [income]}]
"""
SMALL = ["trainer.epochs=1", "run.threads=1", "tracker=none"]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def runs(folder: str = "runs") -> int:
    return len(list(Path(folder).glob("*/result.json")))


@pytest.mark.filterwarnings("ignore:suspicious scores")
def test_what_is_shared_is_what_each_run_alone_would_measure(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", str(study), *SMALL]) == 0
    assert "study: 2 runs, 0 finished" in capsys.readouterr().err
    assert runs() == 2
    together = pd.read_csv("tables/study.csv").set_index(["row", "task", "metric"])["mean"]
    for row, model, more in (
        ("Basic", "mssm_basic", ()),
        ("SNR", "snr_trans", ()),
        ("MSSM", "mssm", ()),
        ("MSSM, watched", "mssm", ("trainer.diagnostics=true",)),
    ):
        words = [f"model={model}", "profile=mssm", "dataset=census", "dataset.source=simulated"]
        alone = mtlbench.train(*words, "dataset.simulator.rows=1500", *SMALL, *more, "run.folder=alone", seed=0)
        for name in ("income/auc", "never_married/auc", "income/logloss"):
            assert together[row, *name.split("/")] == alone.metrics[name], "bit for bit"
    assert runs("alone") == 4


@pytest.mark.filterwarnings("ignore:suspicious scores")
def test_a_finished_run_stands_for_those_that_are_like_it(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mtlbench.reproduce(study, *SMALL, rows=["MSSM, watched"])
    assert main(["reproduce", str(study), "--rows", "SNR", *SMALL]) == 0
    capsys.readouterr()
    assert main(["reproduce", str(study), "--dry-run", *SMALL]) == 0
    said = capsys.readouterr().err
    assert "study: 2 runs, 2 finished" in said
    assert "missing" not in said


@pytest.mark.filterwarnings("ignore:suspicious scores")
def test_finished_runs_are_trained_afresh_where_that_is_asked_for(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def began() -> dict[str, int]:
        return {file.parent.name: file.stat().st_mtime_ns for file in Path("runs").glob("*/run.json")}

    words = ["reproduce", str(study), "--rows", '"MSSM, watched", SNR', *SMALL]
    assert main(words) == 0
    before = began()
    assert main(words) == 0
    assert began() == before
    (Path("runs") / min(before) / "metrics.jsonl").write_text("damaged")
    capsys.readouterr()
    assert main([*words, "run.fresh=true", "--dry-run"]) == 0
    assert "2 runs are to be trained afresh (run.fresh=true), at most about" in capsys.readouterr().err
    assert main([*words, "run.fresh=true"]) == 0
    after = began()
    assert after.keys() == before.keys()
    assert all(after[identity] > before[identity] for identity in before)
    assert main(words) == 0, "the damaged one is whole again"


@pytest.mark.filterwarnings("ignore:suspicious scores")
def test_a_run_without_diagnostics_stands_for_none_with_them(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=1500"]
    mtlbench.train("model=mssm", "profile=mssm", *words, seed=0)
    assert main(["reproduce", str(study), "--dry-run", *SMALL]) == 0
    said = capsys.readouterr().err
    assert "study: 3 runs, 1 finished" in said, "the finished one, and what it does not say"
    assert "2 runs are missing, at most about 1 minute of one core (speeds: those measured here; no GPU" in said
    assert "at full size, on all published rows: at most about" in said
