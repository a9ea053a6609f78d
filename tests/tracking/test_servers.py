"""Servers with thousands of runs of other people: what `reproduce` asks of them."""

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mtlbench.tracking import find, tracker
from mtlbench.tracking.connect import ARTIFACTS, DATABASE, TrackingError, default_uri
from mtlbench.tracking.files import DamagedFileError
from mtlbench.tracking.find import RemoteResult, find_results
from mtlbench.tracking.folder import CONFIG, RESULT, begin, read_result
from mtlbench.tracking.journal import Journal
from mtlbench.tracking.send import send
from mtlbench.tracking.sent import is_sent
from mtlbench.tracking.tracker import Tracker, back_off, sync, unsent
from runs import FACTS, ended_run

EXPERIMENT = "tests"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The filters of all questions."""
    filters: list[str] = []
    ask = MlflowClient.search_runs

    def counted(self: MlflowClient, *arguments: object, filter_string: str = "", **others: object) -> object:
        filters.append(filter_string)
        return ask(self, *arguments, filter_string=filter_string, **others)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(MlflowClient, "search_runs", counted)
    return filters


@pytest.fixture(autouse=True)
def nobody_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "_failed", {})


def multiply(database: Path, run_id: str, times: int) -> None:
    """Copies of a run under other identities; through MLflow each would cost a second on a busy disk."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.row_factory = sqlite3.Row
        (run,) = map(dict, connection.execute("SELECT * FROM runs WHERE run_uuid = ?", [run_id]))
        names = ", ".join(run)
        for number in range(times):
            values = list((run | {"run_uuid": f"{number:032x}"}).values())
            connection.execute(f"INSERT INTO runs ({names}) VALUES ({', '.join('?' * len(run))})", values)
            tag = ["identity", f"foreign {number}", f"{number:032x}"]
            connection.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", tag)


def test_the_runs_of_others_cost_no_question(runs: Path, asked: list[str]) -> None:
    uri = default_uri(runs)
    run_id = send(ended_run(runs, "ours"), uri, EXPERIMENT).run_id
    begin(runs / "begun", replace(FACTS, identity="begun"))
    (runs / "begun" / CONFIG).write_text("model: {}")
    send(runs / "begun", uri, EXPERIMENT)
    multiply(runs / DATABASE, run_id, 3000)
    asked.clear()
    found = find_results(uri, EXPERIMENT, ["ours", "begun", "nowhere"])
    assert found == {"ours": RemoteResult(result=read_result(runs / "ours"), run_id=run_id)}
    assert len(asked) == 3
    assert set(find_results(uri, EXPERIMENT, ["foreign 0", "foreign 2999"])) == {"foreign 0", "foreign 2999"}
    assert find_results(uri, "another", ["ours"]) == {}


def test_what_a_folder_remembers_as_sent_is_not_asked_about(runs: Path) -> None:
    uri = default_uri(runs)
    for identity in ("1a", "2b"):
        ended_run(runs, identity)
    begin(runs / "3c", replace(FACTS, identity="3c"))  # by this process, which lives
    assert [folder.name for folder in unsent(runs, uri, EXPERIMENT)] == ["1a", "2b"]
    assert sync(runs, uri, EXPERIMENT, [runs / "1a"]).sent == ("1a",)
    assert [folder.name for folder in unsent(runs, uri, EXPERIMENT)] == ["2b"]
    assert [folder.name for folder in unsent(runs, uri, "another")] == ["1a", "2b"]
    Journal(runs / "1a").append(step=1, epoch=1, values={"valid/auc": 0.5})
    (runs / "1a" / RESULT).unlink()
    assert not is_sent(runs / "1a", uri, EXPERIMENT)
    (runs / "1a" / "run.json").write_text("{")
    assert [folder.name for folder in unsent(runs, uri, EXPERIMENT)] == ["1a", "2b"], "sending it says what is wrong"


def test_a_server_is_asked_again_after_a_while(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, folder = default_uri(runs), ended_run(runs, "1a")
    back_off(uri)
    Tracker(uri=uri, experiment=EXPERIMENT).finish(folder)
    assert not is_sent(folder, uri, EXPERIMENT)
    now = time.monotonic()
    monkeypatch.setattr("mtlbench.tracking.tracker.time.monotonic", lambda: now + tracker.COOLDOWN_SECONDS + 1)
    Tracker(uri=uri, experiment=EXPERIMENT).finish(folder)
    assert is_sent(folder, uri, EXPERIMENT)


def test_a_server_that_dies_between_two_questions_is_not_asked_the_rest(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, asked = default_uri(runs), []
    send(ended_run(runs, "1a"), uri, EXPERIMENT)

    def fail(*arguments: object, **others: object) -> None:
        asked.append(others)
        time.sleep(0.05)  # a time-out
        raise ConnectionError("gone")

    monkeypatch.setattr(MlflowClient, "search_runs", fail)
    with pytest.raises(TrackingError, match="gone"):
        find_results(uri, EXPERIMENT, [str(number) for number in range(200)])
    assert len(asked) <= 3 * find.AT_ONCE


def test_a_result_that_is_none_is_named(runs: Path) -> None:
    uri, folder = default_uri(runs), ended_run(runs, "1a")
    run_id = send(folder, uri, EXPERIMENT).run_id
    (runs / ARTIFACTS / run_id / "artifacts" / RESULT).write_text(json.dumps([1]))
    with pytest.raises(DamagedFileError, match=rf"result\.json of MLflow's run {run_id} is damaged"):
        find_results(uri, EXPERIMENT, ["1a"])
