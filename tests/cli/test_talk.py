"""What `train` says while it trains: a line for each evaluation, more or less of it, and a result of 80 columns."""

import json
import re
import warnings
from pathlib import Path

import pytest

from mtlbench.cli import main

TINY = [
    "model=shared_bottom", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=600",
    "trainer.epochs=3", "trainer.batch_size=64", "trainer.log_steps=4", "profile.bottom_layers=[8]", "run.threads=1",
    "tracker=none",
]  # fmt: skip

LINE = re.compile(
    r"epoch (\d)/3  income loss 0\.\d{4} auc 0\.\d{4}  never_married loss 0\.\d{4} auc 0\.\d{4}  best 0\.\d{4} "
    r"(now|\d+ steps ago)  patience ([012])  [\d,]+ rows/s  \d+:\d\d left"
)


@pytest.fixture
def train(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("MTLBENCH_LOG", raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            status = main(["train", *TINY, f"run.folder={tmp_path}/runs", f"run.data={tmp_path}/data", *words])
        return (status, *capfd.readouterr())

    return run


def test_a_run_says_a_line_for_each_epoch_where_nobody_watches(train, tmp_path: Path) -> None:
    status, out, err = train()
    assert status == 0
    lines = [found.groups() for line in err.splitlines() if (found := LINE.fullmatch(line))]
    assert [epoch for epoch, _, _ in lines] == ["1", "2", "3"], err
    assert lines[0][1:] == ("now", "2"), "the first is the best so far"
    assert "step 4:" not in err
    assert max(map(len, out.splitlines())) <= 80 or str(tmp_path) in max(out.splitlines(), key=len)
    assert "  log loss of a constant " in out, "metrics are rows where a row per task would be wider"
    assert out.count("SIMULATED DATA") + err.count("SIMULATED DATA") == 1
    (result,) = (tmp_path / "runs").glob("*/result.json")
    recorded = json.loads(result.read_text())["convergence"]
    assert (recorded["converged"], recorded["evaluations"]) == (False, 3), "fewer than 100 steps show nothing"
    assert "  ! NOT CONVERGED: the last of 3 validation scores is the best. A converged run\n" in out


def test_quiet_says_only_results(train) -> None:
    status, out, err = train("--quiet")
    assert (status, "epoch 1/3" in err, "log loss" in out) == (0, False, True)


def test_verbose_says_the_losses_between_evaluations_too(train) -> None:
    status, _, err = train("--verbose")
    assert (status, len(re.findall(r"epoch \d/3  ", err))) == (0, 3)
    assert re.search(r"step 4: train/income/loss 0\.\d+, train/never_married/loss 0\.\d+, train/income/weight 1", err)


def test_quiet_and_verbose_contradict_each_other(train) -> None:
    status, _, err = train("--quiet", "--verbose")
    assert (status, "--quiet and --verbose contradict each other" in err) == (2, True)


def test_budgets_in_steps_and_a_combined_score_from_the_command_line(train, tmp_path: Path) -> None:
    select = "trainer.select={income/auc:1,never_married/logloss:-0.5}"
    status, _, err = train("trainer.epochs=null", "trainer.steps=9", "trainer.evaluate_every=4", select)
    assert status == 0, err
    lines = re.findall(
        r"step (\d+)/9  income loss [\d.]+ auc [\d.]+  never_married loss [\d.]+ logloss [\d.]+  best", err
    )
    assert lines == ["4", "8", "9"], err
    (result,) = (tmp_path / "runs").glob("*/result.json")
    assert json.loads(result.read_text())["steps"] == 9
    status, _, err = train("trainer.select={income/auc:-1}")
    assert (status, "the weight of income/auc is -1; allowed: above 0" in err) == (2, True)


def test_class_weights_of_other_data_are_said(train) -> None:
    """Income has about 15 negatives for each positive, never_married about one."""
    status, out, _ = train("loss.pos_weight=[24,4584]")
    said = " ".join(out.replace("\n  !", "").split())
    assert (status, "loss.pos_weight of 'never_married' is 4,584, but there are 1" in said) == (0, True), out
    assert "loss.pos_weight of 'income'" not in said
    assert "loss.pos_weight of" not in train("loss.pos_weight=[2,2]")[1]
