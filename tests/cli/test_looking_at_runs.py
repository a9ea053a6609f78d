"""Commands that look at the runs of a folder, or remove some: list runs, show, diff, clean."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtlbench.cli import main
from mtlbench.locking import locked
from mtlbench.tracking.folder import CONFIG, STATUS, begin, run_folders, write_result, write_status
from mtlbench.tracking.journal import Journal
from runs import FACTS, RESULT

RUNS = [
    ("aaaa", "mmoe", 0, 0.001, 0.71),
    ("bbbb", "mmoe", 1, 0.001, 0.75),
    ("cccc", "dnn", 0, 0.01, 0.73),
    ("dddd", "dnn", 1, 0.01, None),
]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three finished runs and one that failed."""
    monkeypatch.chdir(tmp_path)
    for identity, model, seed, lr, auc in RUNS:
        folder = tmp_path / "runs" / identity
        begin(folder, replace(FACTS, identity=identity, model=model, seed=seed))
        config = {
            "seed": seed,
            "model": {"experts": 8, "layers": [64, 32]},
            "optimizer": {"lr": lr},
            "run": {"data": "d"},
        }
        (folder / CONFIG).write_text(yaml.safe_dump(config | {"dataset": {"name": "census"}}))
        Journal(folder).append(step=3, epoch=1, values={"train/income/loss": 1.0})
        if auc is None:
            write_status(folder, "failed", "the loss was not finite")
            continue
        metrics = {"test/income/auc": auc, "test/income/logloss": 1 - auc}
        write_result(folder, replace(RESULT, identity=identity, model=model, seed=seed, metrics=metrics))
        write_status(folder, "finished")
    return tmp_path


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["aaaa", "bbbb", "cccc", "dddd"]),
        (["model=mmoe"], ["aaaa", "bbbb"]),
        (["model=mmoe,dnn", "seed=1"], ["bbbb", "dddd"]),
        (["dataset=census", "state=finished", "optimizer.lr=1e-2"], ["cccc"]),
        (["model.layers=[64,32]", "seed=0"], ["aaaa", "cccc"]),
        (["dataset=aliccp"], []),
        (["--sort", "income/auc"], ["bbbb", "cccc", "aaaa", "dddd"]),
        (["--sort", "test/income/logloss"], ["bbbb", "cccc", "aaaa", "dddd"]),
        (["--sort", "optimizer.lr", "seed=0"], ["aaaa", "cccc"]),
        (["--sort", "model", "seed=0"], ["cccc", "aaaa"]),
    ],
)
def test_runs_are_filtered_and_sorted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = typed(capsys, "list", "runs", "--json", *words)
    assert (code, [record["run"] for record in json.loads(out)]) == (0, expected)
    code, out, _ = typed(capsys, "list", "runs", *words)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == expected
    assert expected or out == "no runs in runs match the filters\n"


@pytest.mark.parametrize("columns", ["60", "300"])
def test_texts_of_a_received_run_are_no_commands_to_the_terminal(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
):
    monkeypatch.setenv("COLUMNS", columns)
    facts = replace(FACTS, identity="eeee", model="mmoe", name="\x1b[2Jhidden\nrow", tags={"a": "\x1b]0;x\x07"})
    begin(place / "runs" / "eeee", facts)
    (place / "runs" / "eeee" / CONFIG).write_text((place / "runs" / "aaaa" / CONFIG).read_text())
    for words in (["list", "runs"], ["show", "eeee"], ["diff", "aaaa", "eeee"]):
        _, out, err = typed(capsys, *words)
        assert not {"\x1b", "\x07"} & {*out, *err}, words
    assert r"\x1b[2Jhidden\nrow" in typed(capsys, "show", "eeee")[1]


def test_runs_for_other_programs(capsys: pytest.CaptureFixture[str]):
    records: list[dict[str, Any]] = json.loads(typed(capsys, "list", "runs", "--json")[1])
    assert records[0]["metrics"] == {"income/auc": 0.71, "income/logloss": pytest.approx(0.29)}
    assert records[0]["config"]["optimizer"] == {"lr": 0.001}
    assert (records[0]["steps"], records[3]["state"], records[3]["metrics"]) == (9, "failed", {})
    rows = list(csv.DictReader(io.StringIO(typed(capsys, "list", "runs", "--csv")[1])))
    assert [row["income/auc"] for row in rows] == ["0.71", "0.75", "0.73", ""]
    assert [row["optimizer.lr"] for row in rows] == ["0.001", "0.001", "0.01", "0.01"]
    assert "model.experts" not in rows[0], "the same for all"
    assert json.loads(typed(capsys, "show", "bbbb", "--json")[1]) == records[1]
    assert (
        "no run has a key 'optimizer.lrs'; did you mean optimizer.lr?"
        in typed(capsys, "list", "runs", "optimizer.lrs=1")[2]
    )
    (Path("runs") / "aaaa" / "run.json").write_text("{")
    code, out, err = typed(capsys, "list", "runs", "--json")
    assert (code, [record["run"] for record in json.loads(out)]) == (1, ["bbbb", "cccc", "dddd"])
    assert "damaged: runs/aaaa/run.json is damaged" in err


def test_two_runs_side_by_side(capsys: pytest.CaptureFixture[str]):
    code, out, _ = typed(capsys, "diff", "aaaa", "cccc")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["optimizer.lr", "0.001", "0.01"] in lines
    assert ["model", "mmoe", "dnn"] in lines
    assert ["income/auc", "0.7100", "0.7300", "+0.0200"] in lines
    assert "experts" not in out
    found = json.loads(typed(capsys, "diff", "aaaa", "dddd", "--json")[1])
    assert found["settings"]["state"] == ["finished", "failed"]
    assert found["metrics"]["income/auc"] == [0.71, None]
    assert "no setting differs" in typed(capsys, "diff", "aaaa", "aaaa")[1]
    code, _, err = typed(capsys, "diff", "aaaa", "zzzz")
    assert (code, "'zzzz' is not a folder, and 0 runs in " in err) == (2, True)


def left() -> list[str]:
    return [folder.name for folder in run_folders(Path("runs"))]


def test_clean_removes_what_never_finished_and_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (Path("runs") / "gone.lock").touch()  # of a process that was killed
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, err = typed(capsys, "clean")
    assert (code, "no terminal to confirm on" in err, len(left())) == (2, True, 4)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, _ = typed(capsys, "clean")
    assert (code, "runs/dddd  failed" in out, "nothing was removed" in out, len(left())) == (0, True, True, 4)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, out, _ = typed(capsys, "clean")
    assert (code, "removed: 1 run\n" in out, left()) == (0, True, ["aaaa", "bbbb", "cccc"])
    assert not list(Path("runs").glob("*.lock"))
    assert "nothing to remove in runs" in typed(capsys, "clean")[1]


def test_clean_removes_finished_runs_that_are_named(capsys: pytest.CaptureFixture[str]):
    assert typed(capsys, "clean", "aaaa", "runs/cccc", "--yes")[0] == 0
    assert left() == ["bbbb", "dddd"]
    Path("mine").mkdir()
    code, _, err = typed(capsys, "clean", "mine", "--yes")
    assert (code, "mine holds no run" in err, Path("mine").exists()) == (2, True, True)
    assert typed(capsys, "clean", "zzzz", "--yes")[0] == 2


def test_clean_leaves_what_is_running(capsys: pytest.CaptureFixture[str]):
    with locked(Path("runs/dddd.lock")):
        code, out, err = typed(capsys, "clean", "--yes")
        assert (code, "kept: runs/dddd is being trained" in err, "nothing to remove" in out) == (0, True, True)
        code, _, err = typed(capsys, "clean", "aaaa", "dddd", "--yes")
        assert (code, "dddd: being trained. Stop it first; nothing was removed" in err) == (2, True)
    write_status(Path("runs/bbbb"), "running")
    (Path("runs/bbbb") / "result.json").unlink()
    elsewhere = json.loads((Path("runs/bbbb") / STATUS).read_text())
    elsewhere["process"][0] = "another-machine"  # of a shared folder, whose locks may not reach this one
    (Path("runs/bbbb") / STATUS).write_text(json.dumps(elsewhere))
    assert "bbbb: being trained" in typed(capsys, "clean", "bbbb", "--yes")[2]
    (Path("runs/cccc") / STATUS).write_text("{")
    (Path("runs/cccc") / "result.json").unlink()
    _, _, err = typed(capsys, "clean", "--yes")
    assert "kept: runs/cccc is damaged" in err
    assert left() == ["aaaa", "bbbb", "cccc"]


def test_help_is_quick():
    code = (
        "import time; began = time.process_time()\n"
        "from mtlbench.cli import main; main(['--help'])\n"
        "spent = time.process_time() - began; assert spent < 0.15, spent"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
