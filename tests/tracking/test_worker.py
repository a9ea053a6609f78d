"""No tracker ends, holds or doubles a run: what `mtlbench train` does beside servers that are broken."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mtlbench.cli import main
from mtlbench.tracking import tracker, worker
from mtlbench.tracking.connect import DATABASE, TrackingError, check, default_uri
from mtlbench.tracking.folder import RESULT, read_result, read_status
from mtlbench.tracking.saved_view import PARAMETER
from mtlbench.tracking.send import send
from mtlbench.tracking.tracker import Tracker, check_server
from mtlbench.tracking.worker import NoAnswerError, call
from runs import ended_run
from tracking.servers import dead_uri, mlflow_server, silent, slow, socket_server, trickling, wrong

TRAIN = [
    "train", "model=shared_bottom", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=2000",
    "trainer.epochs=2", "trainer.batch_size=512", "profile.bottom_layers=[4]", "profile.embedding_width=2",
    "run.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker process of this file's own, whose requests time out soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_idle", [])
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        patch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        yield
        worker._end_idle()


@pytest.fixture(autouse=True)
def nobody_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "_failed", {})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Prepared once."""
    folder = tmp_path_factory.mktemp("data")
    assert main([*TRAIN, f"run.data={folder}", f"run.folder={folder}/runs", "tracker=none"]) == 0
    return f"run.data={folder}"


def train(runs: Path, data: str, *words: str) -> Path:
    """The command; the folder of its run."""
    assert main([*TRAIN, data, f"run.folder={runs}", *words]) == 0
    (path,) = runs.glob(f"*/{RESULT}")
    return path.parent


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


STATES = "SELECT status FROM runs WHERE lifecycle_stage = 'active'"
POINTS = "SELECT key, step, value FROM metrics ORDER BY key, step"


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://user:secret@127.0.0.1:1/db", "nonsense://x", "http://[", "sqlite:////proc/nowhere/mlflow.db",
        "sqlite:///", pytest.param("mysql+pymysql://user:secret@127.0.0.1:1/db", marks=pytest.mark.long),
        pytest.param("s3://bucket/runs", marks=pytest.mark.long),
        pytest.param("databricks://nowhere", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_a_tracker_that_cannot_be_used_is_a_message(
    tmp_path: Path, data: str, uri: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = train(tmp_path / "runs", data, f"run.tracker.uri='{uri}'")
    assert read_status(folder).state == "finished"
    assert f"run {folder.name} was not sent" in caplog.text
    assert f"Send it later: mtlbench sync run.folder={tmp_path / 'runs'} run.tracker.uri=" in caplog.text
    assert "secret" not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "handle", [pytest.param(silent, marks=pytest.mark.long), trickling, pytest.param(wrong, marks=pytest.mark.long)]
)
def test_a_server_that_never_answers_well_costs_the_wait_at_the_end_once(
    tmp_path: Path, data: str, handle: Callable[..., None], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(tracker, "WAIT", 0.5)
    waited: list[float] = []
    finish = Tracker.finish

    def timed(self: Tracker, folder: Path) -> None:
        began = time.monotonic()
        finish(self, folder)
        waited.append(time.monotonic() - began)

    call(60, check, default_uri(tmp_path))  # MLflow is imported
    monkeypatch.setattr(Tracker, "finish", timed)
    with socket_server(handle) as uri:
        folder = train(tmp_path / "runs", data, f"run.tracker.uri={uri}")
        train(tmp_path / "others", data, f"run.tracker.uri={uri}")
    assert waited[0] < 30, "and not until the server has answered"
    assert waited[1] < 0.5, "a server that failed a run a moment ago is left alone"
    assert "failed shortly before" in caplog.text
    assert read_result(folder).seconds < 30
    assert "secret" not in caplog.text


def test_a_run_says_what_is_left_and_sync_sends_it(
    runs: Path, tmp_path: Path, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = train(tmp_path / "runs", data, f"run.tracker.uri={dead_uri()}")
    assert "Connection refused" in caplog.text
    assert "(nothing has been sent)" in caplog.text
    assert main(["sync", f"run.folder={folder.parent}", f"run.tracker.uri={default_uri(runs)}"]) == 0
    assert rows(runs / DATABASE, STATES) == [("FINISHED",)]


def test_a_create_that_is_answered_too_late_leaves_one_run(runs: Path, tmp_path: Path, data: str) -> None:
    made: list[str] = []

    def late(path: str, answer: Callable[[], list[bytes]]) -> list[bytes]:
        answered = answer()
        if path.endswith("/runs/create"):
            made.append(path)
            time.sleep(1.3 if len(made) < 3 else 0)
        return answered

    with mlflow_server(runs / DATABASE, late) as uri:
        folder = train(tmp_path / "runs", data, f"run.tracker.uri={uri}")
        words = ["sync", f"run.folder={folder.parent}", f"run.tracker.uri={uri}"]
        assert any(main(words) == 0 for _ in range(5))
    assert len(made) >= 2, "nothing came too late: this shows nothing"
    assert rows(runs / DATABASE, STATES) == [("FINISHED",)]
    points = rows(runs / DATABASE, POINTS)
    assert points
    assert len(points) == len(set(points))


def test_a_slow_server_costs_training_nothing_and_gets_everything(
    runs: Path, tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates: list[float] = []
    update = Tracker.update

    def timed(self: Tracker, folder: Path) -> None:
        began = time.monotonic()
        update(self, folder)
        updates.append(time.monotonic() - began)

    monkeypatch.setattr(Tracker, "update", timed)
    with mlflow_server(runs / DATABASE, slow(0.15)) as uri:
        train(tmp_path / "runs", data, f"run.tracker.uri={uri}")
    assert len(updates) == 3
    assert max(updates) < 0.1, "training waited"
    assert rows(runs / DATABASE, STATES) == [("FINISHED",)]


def test_killed_between_result_and_last_send_the_same_command_sends_the_rest(
    runs: Path, tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "update", lambda self, folder: send(folder, self.uri, self.experiment))
        patch.setattr(Tracker, "finish", lambda *_: None)  # killed
        folder = train(tmp_path / "runs", data, f"run.tracker.uri={default_uri(runs)}")
    assert rows(runs / DATABASE, STATES) == [("RUNNING",)]
    before = (folder / RESULT).read_bytes()
    train(tmp_path / "runs", data, f"run.tracker.uri={default_uri(runs)}")
    assert rows(runs / DATABASE, STATES) == [("FINISHED",)]
    assert (folder / RESULT).read_bytes() == before
    asked: list[object] = []
    monkeypatch.setattr(tracker, "take", lambda: asked.append(1))
    train(tmp_path / "runs", data, f"run.tracker.uri={default_uri(runs)}")
    assert not asked, "all of it was sent"


def test_starting_over_closes_an_attempt_that_was_killed(
    runs: Path, tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (f"run.tracker.uri={default_uri(runs)}", "run.fresh=true")
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "update", lambda self, folder: send(folder, self.uri, self.experiment))
        patch.setattr(Tracker, "finish", lambda *_: None)  # killed
        train(tmp_path / "runs", data, *words)
    assert rows(runs / DATABASE, STATES) == [("RUNNING",)]
    train(tmp_path / "runs", data, *words)
    assert rows(runs / DATABASE, STATES) == [("FINISHED",), ("FINISHED",)]


def test_the_server_that_the_environment_names_is_used_and_told(
    runs: Path, tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = default_uri(runs)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    folder = train(tmp_path / "runs", data)
    assert main(["sync", f"run.folder={folder.parent}"]) == 0
    out, err = capsys.readouterr()
    assert err.count(f"tracker: {uri}, set by MLFLOW_TRACKING_URI") == 1
    assert "0 runs sent, 1 were up to date" in out
    assert rows(runs / DATABASE, STATES) == [("FINISHED",)]
    assert not (folder.parent / DATABASE).exists()


@pytest.mark.parametrize(
    "name",
    [
        "what?",
        pytest.param("a%20b", marks=pytest.mark.long),
        pytest.param("c#1", marks=pytest.mark.long),
        pytest.param("100%", marks=pytest.mark.long),
    ],
)
def test_the_database_is_beside_the_runs_whatever_the_folder_is_called(
    tmp_path: Path,
    data: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    empty_database: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = tmp_path / name
    (here / "runs").mkdir(parents=True)
    monkeypatch.chdir(here)
    folder = train(Path("runs"), data)
    database = here / "runs" / DATABASE
    assert rows(database, STATES) == [("FINISHED",)]
    ((run_id,),) = rows(database, "SELECT run_uuid FROM runs")
    assert (here / "runs" / "artifacts" / str(run_id) / "artifacts" / RESULT).read_bytes() == (
        folder / RESULT
    ).read_bytes()
    assert main(["sync"]) == 0
    assert main(["doctor"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [name], "MLflow made a folder by mistake"
    shown: list[tuple[list[str], Path]] = []
    monkeypatch.setattr("subprocess.run", lambda words, cwd, **_: shown.append((words, cwd)) or DONE)
    assert main(["ui"]) == 0
    assert f"&{PARAMETER}  (Ctrl-C stops it)" in capsys.readouterr().out, "the key of a view is no secret"
    ((words, cwd),) = shown
    assert cwd == here / "runs"
    assert f"sqlite:///{DATABASE}" in words
    assert (here / "runs" / "artifacts").as_uri() in words
    assert [path.name for path in tmp_path.iterdir()] == [name]


class DONE:
    returncode = 0


def test_asking_a_server_that_trickles_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "WAIT", 0.5)
    with socket_server(trickling) as uri, pytest.raises(TrackingError, match="no answer within") as told:
        check_server(uri)
    assert "secret" not in str(told.value)


# The worker itself


def test_a_call_that_crashes_its_process_is_an_error_and_the_next_one_works() -> None:
    with pytest.raises(NoAnswerError, match="ended"):
        call(60, os._exit, 3)
    assert call(60, os.getpid) != os.getpid()


def test_a_worker_is_used_again_and_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = call(60, os.getpid)
    assert call(60, os.getpid) == first
    with pytest.raises(NoAnswerError, match="no answer within 0 s"):
        call(0.01, time.sleep, 60)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_damaged_run_is_told_and_does_not_make_the_server_one_to_leave_alone(
    runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ended_run(runs, "1a")
    (folder / "config.yaml").write_text("model: [")
    Tracker(uri=default_uri(runs), experiment="tests").finish(folder)
    assert "config.yaml is damaged" in caplog.text
    assert not tracker._failed
