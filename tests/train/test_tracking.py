"""The run folder, and its copies in real MLflow databases and on a real server."""

import errno
import inspect
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtlbench.result import Convergence
from mtlbench.tracking.connect import ARTIFACTS, DATABASE, TrackingError, connect, default_uri, errors_of
from mtlbench.tracking.folder import (
    CONFIG,
    RESULT,
    SENT,
    RunInfo,
    begin,
    read_facts,
    read_result,
    read_status,
    write_result,
    write_status,
)
from mtlbench.tracking.journal import Journal
from mtlbench.tracking.parameters import flatten, identity_config, shareable_config, shorten
from mtlbench.tracking.send import send
from mtlbench.tracking.tracker import Tracker, open_tracker, sync
from mtlbench.tracking.ui import runs_page, ui
from runs import RESULT as MADE_UP

CONF = Path(__file__).parents[2] / "conf" / "tracker"
EXPERIMENT = "tests"
FACTS = RunInfo(
    identity="1f", model="mmoe", dataset="aliccp", seed=3, data="d" * 64, origin="simulated", commit="0.1.0+g2f"
)


def make_run(runs: Path, identity: str = "1f") -> Path:
    """A run that has just begun."""
    folder = runs / identity
    begin(folder, replace(FACTS, identity=identity))
    config = {
        "model": {"experts": 8, "tower_layers": [64, 32]},
        "dataset": {"name": "aliccp", "raw": None, "source": "auto", "simulator": {"rows": 9}},
        "profile": {"experts": 8},
        "seed": 3,
        "run": {"folder": "/elsewhere", "tracker": {"uri": "http://user:secret@server"}},
    }
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    return folder


def json_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def measure(folder: Path, steps: range) -> None:
    for step in steps:
        Journal(folder).append(
            step=step,
            epoch=step // 10,
            values={"train/click/loss": 1 / (step + 1), "train/conversion/loss": 0.1 / (step + 3)},
            undefined={"valid/conversion/auc": f"all {step} labels are 0"} if step % 10 == 9 else {},
        )


def history(runs: Path, run_id: str, name: str) -> list[tuple[int, float, int]]:
    metrics = connect(default_uri(runs)).get_metric_history(run_id, name)
    return sorted((metric.step, metric.value, metric.timestamp) for metric in metrics)


def journalled(folder: Path, name: str) -> list[tuple[int, float, int]]:
    return [(line.step, line.values[name], line.time) for line in Journal(folder).read()]


# The journal


def test_what_is_appended_is_read_back(tmp_path: Path):
    journal = Journal(tmp_path)
    assert journal.read() == []
    before = time.time_ns() // 1_000_000
    journal.append(step=7, epoch=1, values={"train/click/loss": 0.1 + 0.2}, undefined={"valid/click/auc": "no rows"})
    journal.append(step=8, epoch=1, values={})
    first, second = journal.read()
    assert (first.step, first.epoch, first.values) == (7, 1, {"train/click/loss": 0.1 + 0.2})
    assert first.undefined == {"valid/click/auc": "no rows"}
    assert before <= first.time <= second.time <= time.time_ns() // 1_000_000
    assert second.undefined == {}
    assert set(json.loads(journal.path.read_text().splitlines()[0])) == {"step", "epoch", "time", "values", "undefined"}


@pytest.mark.parametrize("tail", [b'{"step": 3, "ep', b"{", b"\x00" * 9000])
def test_a_line_that_was_being_written_when_the_process_was_killed_is_gone(tmp_path: Path, tail: bytes):
    journal = Journal(tmp_path)
    journal.append(step=1, epoch=0, values={"loss": 1.0})
    journal.append(step=2, epoch=0, values={"loss": 2.0})
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + tail)
    assert [line.step for line in journal.read()] == [1, 2]
    assert journal.path.read_bytes() == whole + tail, "reading changes nothing: the writer may be alive"
    journal.append(step=3, epoch=0, values={"loss": 3.0})
    assert [line.step for line in journal.read()] == [1, 2, 3]
    journal.path.write_bytes(tail)
    journal.append(step=9, epoch=0, values={})
    assert [line.step for line in journal.read()] == [9]


def test_truncate_keeps_what_the_checkpoint_has_seen(tmp_path: Path):
    journal = Journal(tmp_path)
    assert journal.truncate(5) == 0
    assert len(journal) == 0
    for step in (1, 2, 2, 3, 5):
        journal.append(step=step, epoch=0, values={"loss": 1.0})
    with journal.path.open("ab") as file:
        file.write(b'{"step": 6')
    assert len(journal) == 5
    assert journal.truncate(3) == 2
    assert journal.truncate(3) == 0
    assert [line.step for line in journal.read()] == [1, 2, 2]
    assert journal.path.read_bytes().endswith(b"}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, bad: float):
    with pytest.raises(ValueError, match=r"train/click/loss is (nan|inf) at step 4; only finite numbers"):
        Journal(tmp_path).append(step=4, epoch=0, values={"train/click/loss": bad})
    assert Journal(tmp_path).read() == []


@pytest.mark.parametrize("name", ["auc@1", "a//b", "/a", "a/../b", "", "x" * 241, "a\nb"])
def test_names_that_mlflow_would_refuse_are_refused_where_they_arise(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="metric name"):
        Journal(tmp_path).append(step=0, epoch=0, values={name: 1.0})
    with pytest.raises(ValueError, match="metric name"):
        Journal(tmp_path).append(step=0, epoch=0, values={}, undefined={name: "reason"})


@pytest.mark.parametrize("line", ["not json", '{"step": 1}', "[]"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str):
    journal = Journal(tmp_path)
    journal.append(step=1, epoch=0, values={})
    journal.path.write_text(journal.path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2 is damaged"):
        journal.read()


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_status(tmp_path, "running")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_status(tmp_path, "finished")
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
    assert read_status(tmp_path).state == "running"


# The small files


def test_a_resumed_run_is_the_same_attempt_and_one_that_starts_over_is_not(tmp_path: Path):
    begin(tmp_path / "1f", FACTS)
    facts, attempt = read_facts(tmp_path / "1f")
    assert facts == FACTS
    begin(tmp_path / "1f", replace(FACTS, commit="later"))
    assert read_facts(tmp_path / "1f") == (replace(FACTS, commit="later"), attempt)
    shutil.rmtree(tmp_path / "1f")
    begin(tmp_path / "1f", FACTS)
    assert read_facts(tmp_path / "1f")[1].key != attempt.key


def test_status_follows_the_run(tmp_path: Path):
    begin(tmp_path, FACTS)
    assert read_status(tmp_path).state == "running"
    write_status(tmp_path, "failed", "loss of click is nan at step 12")
    status = read_status(tmp_path)
    assert (status.state, status.reason) == ("failed", "loss of click is nan at step 12")
    with pytest.raises(ValueError, match="allowed: running, finished, failed, interrupted"):
        write_status(tmp_path, "done")  # type: ignore[arg-type]


def test_a_running_run_whose_process_is_gone_was_interrupted(tmp_path: Path):
    script = (
        "import os, signal, sys; from pathlib import Path; from mtlbench.tracking.folder import write_status\n"
        "write_status(Path(sys.argv[1]), 'running'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    status = read_status(tmp_path)
    assert status.state == "interrupted"
    assert status.reason == f"process {status.process[1]} ended without a reason"
    values = json_of(tmp_path / "status.json")
    (tmp_path / "status.json").write_text(json.dumps({**values, "process": ["another-machine", 1, 0.0]}))
    assert read_status(tmp_path).state == "running", "nothing is known about processes elsewhere"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"attempt": {}}'])
def test_a_damaged_folder_is_named(tmp_path: Path, content: str):
    with pytest.raises(ValueError, match=r"run\.json is missing: .* is not the folder of a run"):
        read_facts(tmp_path)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json"):
        read_facts(tmp_path)


# Parameters


def test_a_configuration_becomes_flat_text():
    config = {
        "model": {"experts": 8, "layers": [128, 64], "gate": None, "open": True, "name": "a b", "empty": {}},
        "optimizer": {"groups": {"*embedding*": {"lr": 0.1}}},
    }
    assert flatten(config) == {
        "model.experts": "8",
        "model.layers": "[128, 64]",
        "model.gate": "null",
        "model.open": "true",
        "model.name": "a b",
        "model.empty": "{}",
        "optimizer.groups": '{"*embedding*": {"lr": 0.1}}',
    }


@pytest.mark.parametrize(
    ("origin", "raw", "kept"),
    [
        ("simulated", None, {"name": "aliccp", "simulator": {"rows": 9}}),
        ("simulated", "/data/found", {"name": "aliccp"}),
        ("real", None, {"name": "aliccp"}),
        ("real", "/data/ali", {"name": "aliccp"}),
    ],
)
def test_only_what_makes_a_run_this_run_is_a_parameter(origin: str, raw: str | None, kept: dict[str, object]):
    dataset = {"name": "aliccp", "raw": raw, "source": "auto", "simulator": {"rows": 9}}
    config = {"seed": 3, "dataset": dataset, "run": {"device": "cpu"}, "profile": {"dropout": 0.1}, "hydra": {}}
    assert identity_config(config, origin) == {"seed": 3, "dataset": kept}
    assert dataset["raw"] == raw, "the configuration itself stays as it is"


def test_long_values_are_shortened_and_named():
    assert shorten({"a": "x" * 6001, "b": "y" * 6000}) == ({"a": "x" * 6000, "b": "y" * 6000}, ("a",))


# Sending


def test_everything_arrives(runs: Path):
    folder = make_run(runs)
    measure(folder, range(25))
    counts = {"evaluations": 3, "needed": 2, "evaluations_since_best": {"model": 0}, "steps_since_best": {"model": 0}}
    result = replace(MADE_UP, convergence=Convergence(converged=False, behind_best={"model": (-0.1, 0.0)}, **counts))
    write_result(folder, result)
    assert read_result(folder).convergence == result.convergence
    write_status(folder, "finished")
    report = send(folder, default_uri(runs), EXPERIMENT)
    assert (report.points, report.described, report.shortened) == (50, True, ())

    client = connect(default_uri(runs))
    run = client.get_run(report.run_id)
    expected = {"model.experts": "8", "model.tower_layers": "[64, 32]", "seed": "3"}
    assert run.data.params == expected | {"dataset.name": "aliccp", "dataset.simulator.rows": "9"}
    expected = {"identity": "1f", "model": "mmoe", "dataset": "aliccp", "seed": "3", "data": "d" * 64}
    expected |= {"origin": "simulated", "commit": "0.1.0+g2f", "state": "finished", "reason": ""}
    expected |= {"attempt": read_facts(folder)[1].key, "mlflow.runName": "mmoe aliccp 3", "converged": "no"}
    expected |= {"mlflow.source.name": "mtlbench 0.1.0+g2f", "mlflow.source.type": "LOCAL"}
    expected |= {"undefined/valid/conversion/auc": "step 19: all 19 labels are 0"}
    assert run.data.tags == expected
    assert run.info.status == "FINISHED"
    assert run.info.start_time == read_facts(folder)[1].began
    assert run.info.end_time == read_status(folder).time
    for name in ("train/click/loss", "train/conversion/loss"):
        assert history(runs, report.run_id, name) == journalled(folder, name)
    assert run.inputs is not None
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("aliccp", "d" * 36)
    assert json.loads(data.dataset.source)["tags"] == {"origin": "simulated", "fingerprint": "d" * 64}

    stored = runs / ARTIFACTS / report.run_id / "artifacts"
    assert (stored / RESULT).read_bytes() == (folder / RESULT).read_bytes()
    assert sorted(path.name for path in stored.iterdir()) == [CONFIG, RESULT]  # MLflow draws the curves itself


def test_what_only_this_machine_should_know_stays_here(runs: Path):
    folder = make_run(runs)
    config = yaml.safe_load((folder / CONFIG).read_text())
    config["dataset"]["raw"] = "/home/someone/ali"
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    write_status(folder, "finished")
    run_id = send(folder, default_uri(runs), EXPERIMENT).run_id
    uploaded = yaml.safe_load((runs / ARTIFACTS / run_id / "artifacts" / CONFIG).read_text())
    del config["run"], config["dataset"]["raw"]
    assert uploaded == config


def test_a_parameter_that_differs_on_resume_stays_as_first_sent_and_is_named(runs: Path):
    folder = make_run(runs)
    run_id = send(folder, default_uri(runs), EXPERIMENT).run_id
    config = yaml.safe_load((folder / CONFIG).read_text())
    config["model"] |= {"experts": 4, "gates": 2}
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    measure(folder, range(3))
    write_status(folder, "finished")
    assert send(folder, default_uri(runs), EXPERIMENT).points == 6
    run = connect(default_uri(runs)).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert (run.data.params["model.experts"], run.data.params["model.gates"]) == ("8", "2")
    assert run.data.tags["changed_parameters"] == "shown as first sent: model.experts"


def test_sending_twice_changes_nothing_even_without_memory(runs: Path):
    folder = make_run(runs)
    measure(folder, range(25))
    write_status(folder, "finished")
    first = send(folder, default_uri(runs), EXPERIMENT)
    client = connect(default_uri(runs))
    before = client.get_run(first.run_id).to_dictionary()
    remembered = (folder / SENT).read_bytes()

    second = send(folder, default_uri(runs), EXPERIMENT)
    assert second.up_to_date
    assert second.run_id == first.run_id
    (folder / SENT).unlink()
    third = send(folder, default_uri(runs), EXPERIMENT)
    assert (third.run_id, third.points) == (first.run_id, 0)
    assert (folder / SENT).read_bytes() == remembered
    assert client.get_run(first.run_id).to_dictionary() == before
    assert history(runs, first.run_id, "train/click/loss") == journalled(folder, "train/click/loss")


def test_only_what_is_new_is_sent_while_a_run_goes_on(runs: Path):
    folder = make_run(runs)
    client = connect(default_uri(runs))
    measure(folder, range(10))
    assert send(folder, default_uri(runs), EXPERIMENT).points == 20
    measure(folder, range(10, 15))
    report = send(folder, default_uri(runs), EXPERIMENT)
    assert (report.points, report.described) == (10, False)
    run = client.get_run(report.run_id)
    assert (run.info.status, run.data.tags["state"]) == ("RUNNING", "running")
    assert not (runs / ARTIFACTS).exists(), "pictures are drawn at the end"
    write_status(folder, "interrupted", "SIGTERM")
    send(folder, default_uri(runs), EXPERIMENT)
    run = client.get_run(report.run_id)
    assert (run.info.status, run.data.tags["reason"]) == ("KILLED", "SIGTERM")
    begin(folder, FACTS)
    send(folder, default_uri(runs), EXPERIMENT)
    run = client.get_run(report.run_id)
    assert (run.info.status, run.data.tags["state"], run.data.tags["reason"]) == ("RUNNING", "running", "")
    write_status(folder, "failed", "loss is nan")
    send(folder, default_uri(runs), EXPERIMENT)
    assert client.get_run(report.run_id).info.status == "FAILED"
    assert history(runs, report.run_id, "train/click/loss") == journalled(folder, "train/click/loss")


def test_a_run_resumed_behind_what_was_sent_sends_only_what_differs(runs: Path):
    folder = make_run(runs)
    measure(folder, range(20))
    run_id = send(folder, default_uri(runs), EXPERIMENT).run_id
    first = journalled(folder, "train/click/loss")
    Journal(folder).truncate(10)
    measure(folder, range(10, 25))  # ten steps again, with the same results, and five new ones
    assert send(folder, default_uri(runs), EXPERIMENT).points == 10
    again = journalled(folder, "train/click/loss")
    assert history(runs, run_id, "train/click/loss") == first[:20] + again[20:]

    Journal(folder).truncate(20)
    Journal(folder).append(step=20, epoch=2, values={"train/click/loss": 9.0})
    assert send(folder, default_uri(runs), EXPERIMENT).points == 1
    assert [value for step, value, _ in history(runs, run_id, "train/click/loss") if step == 20] == [1 / 21, 9.0]


def test_more_points_than_one_request_takes(runs: Path):
    folder = make_run(runs)
    for step in range(3):
        Journal(folder).append(step=step, epoch=0, values={f"train/task{n}/loss": step + n for n in range(701)})
    report = send(folder, default_uri(runs), EXPERIMENT)
    assert report.points == 2103
    assert history(runs, report.run_id, "train/task700/loss") == journalled(folder, "train/task700/loss")


def test_more_names_than_one_request_takes_and_values_too_long(runs: Path):
    folder = make_run(runs)
    config = {"model": {f"width{n}": n for n in range(230)}, "note": "x" * 7000}
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    reasons = {f"valid/task{n}/auc": "no rows" for n in range(130)}
    Journal(folder).append(step=0, epoch=0, values={}, undefined=reasons)
    report = send(folder, default_uri(runs), EXPERIMENT)
    assert report.shortened == ("note",)
    run = connect(default_uri(runs)).get_run(report.run_id)
    assert len(run.data.params) == 231
    assert run.data.params["note"] == "x" * 6000
    assert run.data.tags["shortened_parameters"] == "note"
    assert sum(name.startswith("undefined/") for name in run.data.tags) == 130


def test_a_run_that_was_deleted_there_is_made_anew(runs: Path, empty_database: Path):
    folder = make_run(runs)
    measure(folder, range(3))
    first = send(folder, default_uri(runs), EXPERIMENT).run_id
    connect(default_uri(runs)).delete_run(first)
    second = send(folder, default_uri(runs), EXPERIMENT)
    assert second.run_id != first
    assert second.points == 6
    assert history(runs, second.run_id, "train/click/loss") == journalled(folder, "train/click/loss")
    (folder / SENT).unlink()
    assert send(folder, default_uri(runs), EXPERIMENT).run_id == second.run_id

    elsewhere = runs / "moved"
    elsewhere.mkdir()
    shutil.copy(empty_database, elsewhere / DATABASE)
    memory = json_of(folder / SENT)
    memory[default_uri(elsewhere)] = memory[default_uri(runs)]
    (folder / SENT).write_text(json.dumps(memory))
    assert send(folder, default_uri(elsewhere), EXPERIMENT).points == 6, "a database without the run it remembers"


def test_two_attempts_of_one_identity_are_two_runs(runs: Path):
    folder = make_run(runs)
    measure(folder, range(3))
    first = send(folder, default_uri(runs), EXPERIMENT).run_id
    shutil.rmtree(folder)
    folder = make_run(runs)
    measure(folder, range(5))
    second = send(folder, default_uri(runs), EXPERIMENT).run_id
    assert second != first
    assert len(history(runs, first, "train/click/loss")) == 3
    assert history(runs, second, "train/click/loss") == journalled(folder, "train/click/loss")


def test_a_folder_goes_to_several_places(runs: Path):
    folder = make_run(runs)
    measure(folder, range(3))
    first = send(folder, default_uri(runs), EXPERIMENT).run_id
    other = send(folder, default_uri(runs), "another experiment")
    assert other.run_id != first
    assert other.points == 6
    assert send(folder, default_uri(runs), EXPERIMENT).run_id == first
    assert len(history(runs, first, "train/click/loss")) == 3


def test_a_deleted_experiment_says_how_to_get_it_back(runs: Path):
    client = connect(default_uri(runs))
    client.delete_experiment(client.create_experiment(EXPERIMENT))
    with pytest.raises(TrackingError, match=r"experiment 'tests' was deleted there; restore it \(mlflow experiments"):
        send(make_run(runs), default_uri(runs), EXPERIMENT)


def test_nothing_global_is_left_behind(runs: Path):
    send(make_run(runs), default_uri(runs), EXPERIMENT)
    import mlflow

    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() != default_uri(runs)


def test_a_folder_that_is_being_sent_is_left_alone(runs: Path, tmp_path: Path):
    folder = make_run(runs)
    from filelock import FileLock

    with (
        FileLock(folder / f".{SENT}.lock", is_singleton=False),
        pytest.raises(TrackingError, match="being sent by another"),
    ):
        send(folder, default_uri(runs), EXPERIMENT)
    assert send(folder, default_uri(runs), EXPERIMENT).described


def test_nothing_heavy_is_imported_before_something_is_sent():
    heavy = ["mlflow", "matplotlib", "torch"]
    script = f"import sys, mtlbench.tracking.tracker; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", script]) == b"[]\n"


# A server that is not there: see tests/tracking/test_worker.py


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_an_error_is_reported_once_and_as_what_people_can_mend():
    with pytest.raises(OSError, match=r"^MLflow at http://server: gone$"), errors_of("http://server"):
        raise TrackingError("MLflow at http://server: gone")
    with pytest.raises(TrackingError, match=r"^MLflow at http://server: full$"), errors_of("http://server"):
        raise OSError("full")


def test_a_damaged_folder_does_not_stop_a_run(runs: Path, caplog: pytest.LogCaptureFixture):
    folder = make_run(runs)
    (folder / CONFIG).write_text("model: [")
    Tracker(uri=default_uri(runs), experiment=EXPERIMENT).finish(folder)
    assert f"{CONFIG} is damaged" in caplog.text


def test_the_tracker_that_a_configuration_asks_for(tmp_path: Path):
    arguments = {path.stem: yaml.safe_load(path.read_text()) for path in CONF.glob("*.yaml")}
    assert set(arguments) == {"mlflow", "none"}
    for values in arguments.values():
        assert set(values) == set(inspect.signature(open_tracker).parameters) - {"runs"}
    assert open_tracker(**arguments["none"], runs=tmp_path) is None
    tracker = open_tracker(**arguments["mlflow"], runs=tmp_path)
    assert tracker is not None
    assert (tracker.uri, tracker.experiment) == (f"sqlite:///{tmp_path}/mlflow.db", "mtlbench")


# Sending later


def test_sync_sends_what_is_missing_and_names_what_it_cannot(runs: Path):
    for identity in ("1a", "2b", "3c"):
        measure(make_run(runs, identity), range(3))
        write_status(runs / identity, "finished")
    (runs / "no run").mkdir()
    (runs / "2b" / CONFIG).unlink()
    send(runs / "3c", default_uri(runs), EXPERIMENT)
    report = sync(runs, default_uri(runs), EXPERIMENT)
    assert (report.sent, report.up_to_date) == (("1a",), ("3c",))
    assert list(report.failed) == ["2b"]
    assert "config.yaml is missing" in report.failed["2b"]
    again = sync(runs, default_uri(runs), EXPERIMENT)
    assert (again.sent, again.up_to_date) == ((), ("1a", "3c"))


def test_sync_stops_at_a_server_that_is_not_there(runs: Path):
    make_run(runs)
    with pytest.raises(TrackingError, match="Connection refused"):
        sync(runs, f"http://127.0.0.1:{free_port()}", EXPERIMENT)


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    (tmp_path / DATABASE).write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(TrackingError, match=r"mlflow\.db: .*file is not a database"):
        connect(default_uri(tmp_path))


# The user interface


def test_the_user_interface_needs_a_database_on_this_machine(tmp_path: Path):
    with pytest.raises(ValueError, match=r"http://host:5000: not a SQLite file; open the server's address"):
        ui("http://user:secret@host:5000")
    with pytest.raises(ValueError, match="is missing: no run has been sent yet"):
        ui(default_uri(tmp_path))


def test_the_page_of_the_runs_is_that_of_their_experiment(runs: Path):
    uri, address = default_uri(runs), "http://127.0.0.1:5000"
    assert runs_page(address, uri, EXPERIMENT) == runs_page(address, uri, None) == address
    folder = make_run(runs)
    values = {"test/click/auc": 0.7, "test/click/pcoc": 1.0, "test/stay/rmse": 3.0}
    Journal(folder).append(step=1, epoch=1, values=values)
    send(folder, uri, EXPERIMENT)
    found = connect(uri).get_experiment_by_name(EXPERIMENT)
    page = f"{address}/#/experiments/{found.experiment_id}/runs"
    asked = "workflowType=machine_learning&viewStateShareKey=mtlbench"
    assert runs_page(address, uri, EXPERIMENT) == f"{page}?{asked}"
    tags = connect(uri).get_experiment_by_name(EXPERIMENT).tags
    assert json.loads(tags["mlflow.sharedViewState.mtlbench"])["selectedColumns"] == [
        "attributes.`Created`", "attributes.`Duration`", "tags.`converged`",
        "metrics.`test/click/auc`", "metrics.`test/stay/rmse`",
    ]  # fmt: skip


def wait_until_healthy(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1) as answer:
                assert answer.read() == b"OK"
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not answer within 30 s")


@pytest.mark.long
def test_a_real_server_takes_a_run_dies_and_is_replaced(runs: Path, caplog: pytest.LogCaptureFixture):
    import psutil

    port = free_port()
    command = ui(default_uri(runs), port)

    def start() -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            command.arguments, env=command.environment, cwd=command.folder, stdout=quiet, stderr=quiet
        )
        wait_until_healthy(command.address, process)
        return process

    folder = make_run(runs)
    uri = command.address.replace("http://", "http://user:secret@")
    tracker = Tracker(uri=uri, experiment=EXPERIMENT)
    measure(folder, range(1200))
    server = start()
    try:
        assert len(psutil.Process(server.pid).children(recursive=True)) == 1, "two processes in all"
        tracker.finish(folder)
        run_id = json_of(folder / SENT)[command.address]["run_id"]
        assert history(runs, run_id, "train/click/loss") == journalled(folder, "train/click/loss")
    finally:
        for child in psutil.Process(server.pid).children(recursive=True):
            child.kill()
        server.kill()
        server.wait()
    measure(folder, range(1200, 1210))
    began = time.monotonic()
    tracker = Tracker(uri=uri, experiment=EXPERIMENT)
    tracker.update(folder)
    write_status(folder, "finished")
    tracker.finish(folder)
    assert time.monotonic() - began < 8
    assert "Send it later" in caplog.text

    server = start()
    try:
        report = sync(runs, uri, EXPERIMENT)
        assert report.sent == ("1f",)
        assert sync(runs, command.address, EXPERIMENT).up_to_date == ("1f",)
        assert "secret" not in (folder / SENT).read_text()
        (folder / SENT).unlink()
        assert send(folder, uri, EXPERIMENT).points == 0, "asked, it says that it has them all"
        assert history(runs, run_id, "train/click/loss") == journalled(folder, "train/click/loss")
        artifact = f"{command.address}/get-artifact?run_uuid={run_id}&path={CONFIG}"
        with urllib.request.urlopen(artifact, timeout=10) as answer:
            shared = shareable_config(yaml.safe_load((folder / CONFIG).read_text()))
            assert yaml.safe_load(answer.read()) == shared, "without folders and the server, which are of this machine"
            assert shared["model"]["experts"] == 8
    finally:
        server.terminate()
        server.wait()
    left = {"1f", ARTIFACTS, DATABASE}
    assert {path.name for path in runs.iterdir()} <= left


@pytest.mark.long
def test_processes_that_start_at_once_on_an_empty_folder_all_succeed(tmp_path: Path):
    folders = [make_run(tmp_path, f"{n}a") for n in range(4)]
    for folder in folders:
        measure(folder, range(5))
    script = (
        "import sys; from pathlib import Path; from mtlbench.tracking.connect import default_uri\n"
        "from mtlbench.tracking.send import send; folder = Path(sys.argv[1])\n"
        f"send(folder, default_uri(folder.parent), '{EXPERIMENT}')"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(f)], env=environment, stderr=subprocess.PIPE)
        for f in folders
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    for folder in folders:
        run_id = json_of(folder / SENT)[default_uri(tmp_path)]["run_id"]
        assert history(tmp_path, run_id, "train/click/loss") == journalled(folder, "train/click/loss")
