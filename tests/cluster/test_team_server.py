"""Eight processes send runs to one MLflow server on PostgreSQL at once: none is lost, doubled or readable by strangers.

Needs PostgreSQL (see `cluster.mlflow_server`); the server takes half a minute to make its tables, so these are long.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cluster.mlflow_server import PASSWORD, Server, missing, team_server
from faults.command import start, succeeds
from mtlbench.tracking.connect import connect
from mtlbench.tracking.credentials import KEPT
from mtlbench.tracking.folder import CONFIG, RESULT, begin, write_result, write_status
from mtlbench.tracking.journal import Journal
from runs import FACTS
from runs import RESULT as ENDED

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(missing() is not None, reason=f"no server: {missing()}"),
    pytest.mark.xdist_group("server"),
]

WRITERS, RUNS, LINES = 8, 3, 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    for parent in (folder, *folder.parents[:3]):  # PostgreSQL's user passes through
        parent.chmod(parent.stat().st_mode | 0o111)
    with team_server(folder) as started:
        yield started


def journal_of(identity: str) -> list[tuple[int, float]]:
    seed = sum(identity.encode())
    return [(step, 1 / (seed + step)) for step in range(1, LINES + 1)]


def ended(folder: Path, identity: str) -> None:
    begin(folder / identity, replace(FACTS, identity=identity))
    (folder / identity / CONFIG).write_text(yaml.safe_dump({"model": {"experts": 8}, "dataset": {"name": "census"}}))
    for step, value in journal_of(identity):
        Journal(folder / identity).append(step=step, epoch=1, values={"train/income/loss": value})
    write_result(folder / identity, replace(ENDED, identity=identity))
    write_status(folder / identity, "finished")


def test_eight_writers_at_once_lose_and_double_nothing(server: Server, tmp_path: Path) -> None:
    for writer in range(WRITERS):
        (tmp_path / f"w{writer}").mkdir()
        for run in range(RUNS):
            ended(tmp_path / f"w{writer}" / "runs", f"{writer:08x}{run:08x}")
    # All writers but one have runs of their own; the last two share theirs.
    folders = [f"w{min(writer, WRITERS - 2)}" for writer in range(WRITERS)]
    processes = [start(tmp_path / folder, ["sync", f"run.tracker.uri={server.uri}"]) for folder in folders]
    outputs = [process.communicate() for process in processes]
    assert PASSWORD not in str(outputs)
    assert [process.returncode for process in processes[: WRITERS - 2]] == [0] * (WRITERS - 2), outputs
    again = start(tmp_path / folders[-1], ["sync", f"run.tracker.uri={server.uri}"])
    succeeds(again)

    client = connect(server.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'mtlbench'")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    sent = {f"{writer:08x}{run:08x}" for writer in range(WRITERS - 1) for run in range(RUNS)}
    assert Counter(run.data.tags["identity"] for run in runs) == Counter(sent)
    for run in runs:
        history = client.get_metric_history(run.info.run_id, "train/income/loss")
        there = sorted((point.step, point.value) for point in history)
        assert there == journal_of(run.data.tags["identity"])
        assert run.info.status == "FINISHED"


def test_artifacts_go_through_the_server(server: Server, tmp_path: Path) -> None:
    ended(tmp_path / "runs", "a" * 16)
    process = start(tmp_path, ["sync", f"run.tracker.uri={server.uri}"])
    succeeds(process)
    client = connect(server.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'mtlbench'")
    (run,) = client.search_runs([experiment.experiment_id], filter_string=f"tags.identity = '{'a' * 16}'")
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    copy = Path(client.download_artifacts(run.info.run_id, RESULT, str(tmp_path)))
    assert json.loads(copy.read_text()) == json.loads((tmp_path / "runs" / ("a" * 16) / RESULT).read_text())


@pytest.mark.parametrize("user", ["", "admin:wrong@"])
def test_a_stranger_is_refused_with_one_clear_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    monkeypatch.delenv(KEPT, raising=False)  # by which processes know the passwords of the one that started them
    ended(tmp_path / "runs", "b" * 16)
    process = start(tmp_path, ["sync", f"run.tracker.uri=http://{user}127.0.0.1:{server.port}"])
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "401" in errors
    assert "Traceback" not in errors
    assert "wrong" not in errors
