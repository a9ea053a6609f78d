"""The weights that a run keeps: whole or refused, of one step or of each task's own; warned of if they rank nothing."""

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mtlbench.cli import main
from mtlbench.tracking.folder import read_result, write_result

SMALL = [
    "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=3000", "trainer.batch_size=256",
    "profile.embedding_width=4", "profile.bottom_layers=[8]", "tracker=none",
]  # fmt: skip


def command(*words: str) -> int:
    """A command of the user's, whose warnings end in standard error as they do in a terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        return main(list(words))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose data and runs have absolute places."""
    place = tmp_path_factory.mktemp("kept")
    places = [f"run.data={place}/data", f"run.folder={place}/runs"]
    assert command("train", "model=shared_bottom", "trainer.epochs=2", *SMALL, *places) == 0
    (folder,) = (path.parent for path in place.glob("runs/*/result.json"))
    return folder


@pytest.fixture
def run(trained: Path) -> Path:
    """A copy of it that a test may damage, with the words that train it in the folder's parent."""
    copy = trained.parent.parent / "copies" / trained.name
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(trained, copy)
    return copy


def flip(path: Path, at: float) -> None:
    """Turn over one bit of a file, at a share of its length."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 16
    path.write_bytes(bytes(content))


def evaluate(run: Path) -> int:
    return command("evaluate", str(run))


def export(run: Path) -> int:
    return command("export", str(run), "--no-onnx", "--to", str(run.parent / "exported"))


@pytest.mark.parametrize("use", [evaluate, export])
@pytest.mark.parametrize("at", [0.3, 0.7, 0.95])
def test_one_flipped_bit_in_the_kept_weights_is_refused(
    run: Path, use: Callable[[Path], int], at: float, capsys: pytest.CaptureFixture[str]
):
    flip(run / "best.pt", at)
    assert use(run) == 2
    said = capsys.readouterr().err
    assert f"{run / 'best.pt'} is damaged" in said
    assert "run.fresh=true" in said
    assert not (run.parent / "exported").exists()


def test_one_flipped_bit_in_the_last_checkpoint_is_refused_and_not_resumed_from(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    (run / "result.json").unlink()
    flip(run / "last.pt", 0.6)
    places = [f"run.data={run.parent.parent}/data", f"run.folder={run.parent}"]
    assert command("train", "model=shared_bottom", "trainer.epochs=2", *SMALL, *places) == 2
    assert f"{run / 'last.pt'} is damaged" in capsys.readouterr().err
    assert not (run / "result.json").exists()


@pytest.mark.parametrize("use", [evaluate, export])
def test_an_edited_configuration_is_refused(run: Path, use: Callable[[Path], int], capsys: pytest.CaptureFixture[str]):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("dropout: 0.0", "dropout: 0.5"))
    assert use(run) == 2
    assert f"{config} is damaged: it was changed after the run began" in capsys.readouterr().err


@pytest.mark.parametrize("use", [evaluate, export])
def test_a_result_that_the_weights_do_not_give_is_refused(
    run: Path, use: Callable[[Path], int], capsys: pytest.CaptureFixture[str]
):
    result = read_result(run)
    write_result(run, replace(result, metrics={**result.metrics, "test/income/auc": 0.99}))
    assert use(run) == 1
    said = capsys.readouterr().err
    assert "no longer gives the metrics recorded" in said
    assert "(recorded: 0.99)" in said
    assert not (run.parent / "exported").exists()


@pytest.mark.parametrize("model", ["dnn", "shared_bottom"])
def test_each_task_is_scored_by_its_own_step_where_that_is_asked_for(
    model: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    places = [f"run.data={trained.parent.parent}/data", f"run.folder={tmp_path}/runs"]
    words = [f"model={model}", "trainer.epochs=6", "trainer.patience=null", *SMALL, *places]
    found = {}
    for rule in ("run", "task"):
        assert command("train", *words, f"trainer.checkpoint={rule}", "seed=2") == 0
        said = capsys.readouterr().out
        assert ("for all tasks" if rule == "run" else "of each task's own step: income") in said
        found |= {path.parent: json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json")}
    by_rule = {result["checkpoint"]: (folder, result) for folder, result in found.items()}
    assert set(by_rule["run"][1]["best_step"]) == {"model"}
    folder, result = by_rule["task"]
    lines = [json.loads(line)["values"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for task in ("income", "never_married"):
        assert result["best_valid"][task] == max(v[name] for v in lines if (name := f"valid/{task}/auc") in v)
    assert by_rule["run"][1]["parameters"] == result["parameters"]
    assert command("evaluate", str(folder)) == 0, "the recorded metrics are those of the kept weights"
    assert command("show", str(folder)) == 0
    assert "weights of each task's own step: income" in capsys.readouterr().out


def test_scores_that_are_all_equal_are_said_everywhere(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """All gates are shut: each task's score is the bias of its tower."""
    places = [f"run.data={trained.parent.parent}/data", f"run.folder={tmp_path}/runs"]
    assert command("train", "model=mssm", "model.gate_force=zeros", "trainer.epochs=1", *SMALL, *places) == 0
    said = capsys.readouterr()
    shown = " ".join(said.err.replace("! ", "").split())
    assert "epoch 1: all validation scores of income, never_married are equal, so an AUC of exactly 0.5" in shown
    assert "task 'income' on test: all scores are equal, so they rank nothing" in shown
    assert "! task 'income' on valid: all scores are equal" in said.out
    (path,) = tmp_path.glob("runs/*/result.json")
    assert any("all scores are equal" in text for text in json.loads(path.read_text())["warnings"])
    lines = [json.loads(line)["values"] for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
    assert [v["valid/income/equal_scores"] for v in lines if "valid/income/equal_scores" in v] == [1.0]
