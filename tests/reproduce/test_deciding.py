"""A study from its file to its verdicts, by the user's command: scores kept, users drawn, worlds pooled."""

from pathlib import Path

import pytest

from mtlbench.cli import main
from mtlbench.experiment.errors import ConfigError
from mtlbench.reproduce.table_file import load_table
from mtlbench.tracking.scores import SCORES

STUDY = """
title: Two models
seeds: 2
datasets: {Census: [dataset=census, dataset.source=simulated]}
rows:
  - {label: DNN, overrides: [model=dnn]}
  - {label: Shared, overrides: [model=shared_bottom]}
columns: [{metric: auc, tasks: [income]}]
baselines: [DNN]
claims:
  - {text: Sharing helps, better: [Shared], than: [DNN], metric: auc}
  - {text: Sharing changes nothing, says: no effect, better: [Shared], than: [DNN], metric: auc}
"""
WORLDS = "worlds: {first: [dataset.simulator.seed=1], second: [dataset.simulator.seed=2]}\n"
SMALL = [
    "dataset.simulator.rows=3000",
    "trainer.epochs=1",
    "run.threads=1",
    "tracker=none",
    "profile.bottom_layers=[4]",
]


def written(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(text)
    return folder


@pytest.fixture
def reproduced(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def run(text: str, *overrides: str, fails: bool = False) -> str:
        study = written(tmp_path / "studies", text) / "study.yaml"
        places = [f"run.data={tmp_path}/data", f"run.folder={tmp_path}/runs", "--to", f"{tmp_path}/to"]
        assert (main(["reproduce", str(study), *places, *SMALL, *overrides]) != 0) == fails
        captured = capsys.readouterr()
        return captured.err if fails else captured.out

    return run


def test_test_rows_are_drawn_where_scores_were_kept(reproduced, tmp_path: Path) -> None:
    out = reproduced(STUDY)
    assert "Shared - DNN, Census: income auc: " in out
    assert "(2 seeds, 500 test rows, p = " in out
    assert "tests of AUCs count the spread over Census: seeds and 500 test rows" in out
    assert "no effect would be seen within " in out
    kept = list((tmp_path / "runs").glob(f"*/{SCORES}"))
    assert len(kept) == 4
    kept[0].write_bytes(kept[1].read_bytes())
    assert f"{kept[0]} is damaged: its run is {kept[1].parent.name}" in reproduced(STUDY, fails=True)


@pytest.mark.long
def test_scores_that_were_not_kept_are_computed_on_demand(reproduced, tmp_path: Path) -> None:
    seeds_only = reproduced(STUDY, "run.keep_scores=false")
    assert "seeds only: not every run has kept its scores" in seeds_only
    assert not list((tmp_path / "runs").glob(f"*/{SCORES}"))
    assert "(2 seeds, 500 test rows, p = " in reproduced(STUDY, "run.keep_scores=true")


def test_a_study_in_two_worlds_is_decided_by_worlds(reproduced) -> None:
    out = reproduced(STUDY + WORLDS, "--seeds", "1")
    assert "Census, first: income auc" in out
    assert "Census: income auc: " in out
    assert "(2 worlds of 1 seed, sd " in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("worlds", "smallest_effect: {auc: 0}\n"), "smallest_effect is .*allowed: finite numbers above 0"),
        (("worlds", "smallest_effect: {acc: 1}\n"), "unknown metric 'acc'"),
        (("worlds", "best_of: 0\n"), "best_of is 0; allowed: 1 or more"),
        (("worlds", "worlds: {alone: []}\n"), "worlds has only alone; allowed: two or more, or none"),
        (("no effect", "no change"), "claims.1.says: Input should be 'better' or 'no effect'"),
        (("metric: auc", "metric: gauc"), r"needs a smallest effect of interest; add smallest_effect: \{gauc: "),
    ],
)
def test_keys_that_cannot_decide_are_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    old, new = change
    text = STUDY + new if old == "worlds" else STUDY.replace(old, new)
    with pytest.raises(ConfigError, match=message):
        load_table(written(tmp_path, text), "study")
