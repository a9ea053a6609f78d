"""The judge of `scripts/torture` can fail: wrong numbers, tracebacks, silence and hangs count as lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.torture.__main__ import TIMES, finished
from scripts.torture.command import Ran, run, start
from scripts.torture.configurations import drawn
from scripts.torture.damage import BINARY, READERS, TARGETS, TEXT, _judge
from scripts.torture.judge import LostError, Outcome, Seen, SkippedError, attempt, clean, line, same
from scripts.torture.kills import _chain
from scripts.torture.place import Job, Place, Undisturbed, tree
from scripts.torture.table import markdown

ROOT = Path(__file__).parents[2]


def ran(code: int | None, err: str = "", out: str = "") -> Ran:
    return Ran(words=("list", "runs"), code=code, out=out, err=err, seconds=1.0)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (ran(None), "no end"),
        (ran(1, "Traceback (most recent call last)\n  File x\nKeyError: 'a'"), "traceback, KeyError"),
        (ran(2, "mtlbench: use weights_only=False"), "weights_only"),
        (ran(-11), "exit status -11"),
    ],
)
def test_what_is_not_clean_is_lost(bad: Ran, why: str) -> None:
    with pytest.raises(LostError, match=why):
        clean(bad)
    assert clean(ran(2, "mtlbench: no")).code == 2


def test_another_result_is_lost_and_its_first_difference_told() -> None:
    same({"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 2.0}]}, "x")
    for wrong, where in (
        ({"a": [1, {"b": 2.5}]}, r"a\[1\]\.b is '2.5', expected '2.0'"),
        ({"a": [1]}, r"a is '\[1\]'"),
        ({}, "a is missing"),
        ({"a": [1, {"b": 2.0}], "c": 1}, "c is there"),
    ):
        with pytest.raises(LostError, match=where):
            same(wrong, {"a": [1, {"b": 2.0}]}, "x")


def test_a_damaged_file_is_used_silently_refused_by_name_or_told(tmp_path: Path) -> None:
    reader, file = READERS["list"], Path("runs/12ab/result.json")
    _judge("list", reader, tmp_path, ran(0, out="auc 0.9"), ["auc 0.9"], file)
    _judge("list", reader, tmp_path, ran(2, "mtlbench: runs/12ab/result.json is damaged"), ["auc 0.9"], file)
    _judge("list", reader, tmp_path, ran(0, out="12ab damaged"), ["auc 0.9"], file)
    with pytest.raises(LostError, match="used silently"):
        _judge("list", reader, tmp_path, ran(0, out="auc 0.99"), ["auc 0.9"], file)
    with pytest.raises(LostError, match=r"neither result\.json nor its folder is named"):
        _judge("list", reader, tmp_path, ran(2, "mtlbench: damaged"), ["auc 0.9"], file)
    with pytest.raises(LostError, match="finds nothing wrong"):
        _judge("doctor", READERS["doctor"], tmp_path, ran(0), None, file)


def test_every_target_has_readers_and_every_damage_changes_something() -> None:
    assert len(TARGETS) >= 20
    assert {name for target in TARGETS for name in target.readers} == set(READERS)
    content = b'{"auc": 0.5}' * 100
    for damage in {*BINARY, *TEXT} - {None}:
        assert damage(content, random.Random(0)) != content  # pyright: ignore[reportOptionalCall]


def lost() -> Seen:
    raise LostError("gone | away")


def skipped() -> Seen:
    raise SkippedError("not as this user")


def test_the_table_counts_what_was_lost() -> None:
    outcomes = [
        attempt("kill", "", lambda: Seen(line="fine", injected=3)),
        attempt("kill", "", lost),
        attempt("disk", "", skipped),
        attempt("slow", "", lambda: Seen(line="waits", cost=1.5)),
    ]
    assert [outcome.verdict for outcome in outcomes] == ["survived", "lost", "skipped", "survived"]
    text = markdown(outcomes)
    assert "| kill | 4 | 3 | LOST, gone \\| away |" in text
    assert "| disk | 0 | 0 | skipped: not as this user |" in text
    assert "| slow | 1 | 1 | waits (wall time +2 % to +2 %) |" in text
    assert "| all | 5 | 4 | |" in text


def test_outcomes_of_a_complete_class_are_read_again(tmp_path: Path) -> None:
    head, outcome = {"class": "kills", "times": 1, "seed": 0}, Outcome(fault="kill", verdict="survived")
    journal = tmp_path / "kills.jsonl"
    journal.write_text(f"{json.dumps(head)}\n{json.dumps(outcome.as_dict())}\n")
    assert finished(journal, head) is None, "not to its end"
    with journal.open("a") as file:
        file.write(json.dumps({"complete": True}) + "\n")
    assert finished(journal, head) == [outcome]
    assert finished(journal, {**head, "seed": 1}) is None


def test_a_fork_is_a_process_of_its_own_and_bounded(tmp_path: Path) -> None:
    def works(words: list[str]) -> int:
        Path("made").write_text(" ".join(words))
        sys.stdout.write("out\n")
        return 3

    def hangs(_: list[str]) -> int:
        time.sleep(60)
        return 0

    def fails(_: list[str]) -> int:
        raise KeyError("key")

    case = tmp_path / "case"
    case.mkdir()
    good = run(case, ["a", "b"], main=works)
    assert (good.code, good.out, (case / "made").read_text()) == (3, "out\n", "a b")
    assert start(case, [], main=hangs).wait(0.2).code is None
    with pytest.raises(LostError, match="KeyError"):
        clean(run(case, [], main=fails))
    assert line(ran(0)) == "nothing: the same numbers"
    assert line(ran(2, "warning\nmtlbench: runs/x/y.json: no (/tmp/a)")) == "mtlbench: y.json: no (a)"


def test_a_command_may_be_killed_before_it_opens_its_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.torture.command._child", lambda *_: os._exit(9))
    found = run(tmp_path, ["--version"], outputs=tmp_path / "outputs")
    assert (found.code, found.out, found.err) == (9, "", "")


def test_a_planted_wrong_result_behind_a_kill_is_lost(tmp_path: Path) -> None:
    """A chain of kills whose command ends, but with other files than the undisturbed one left."""
    job = Job(name="list", words=("--version",), snapshot="raw", view=tree)
    place = Place(tmp_path)
    (tmp_path / "snapshots" / "raw").mkdir(parents=True)
    (tmp_path / "snapshots" / "raw" / "file").write_text("as it is")
    assert _chain(place, job, signal.SIGKILL, False, random.Random(0)).line == "the same numbers"
    place._undisturbed["list"] = Undisturbed({"file": "another"}, 0.1, 0, 0)
    with pytest.raises(LostError, match=r"list after . x SIGKILL: file is"):
        _chain(place, job, signal.SIGKILL, False, random.Random(0))


@pytest.mark.long
def test_random_configurations_are_drawn_again_by_their_number() -> None:
    assert drawn(0, 7) == drawn(0, 7)
    assert len({tuple(drawn(0, number)) for number in range(12)}) == 12


@pytest.mark.long
def test_it_runs_and_its_exit_status_tells_of_losses(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.torture", "--only", "kills,soak", "--times", "2", "--to", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ, timeout=900, check=False)
    outcomes = [json.loads(text) for text in (tmp_path / "kills.jsonl").read_text().splitlines()[1:-1]]
    outcomes += [json.loads(text) for text in (tmp_path / "soak.jsonl").read_text().splitlines()[1:-1]]
    assert sum(outcome["injected"] for outcome in outcomes) >= 4
    assert ended.returncode == int(any(outcome["verdict"] == "lost" for outcome in outcomes)), ended.stderr
    assert "| fault | times injected | survived | what a user sees |" in ended.stdout
    assert set(TIMES) >= {"kills", "soak"}
    assert not (tmp_path / "snapshots").exists()
