"""A password of a tracking server appears nowhere: not on the terminal, and in no file that a command leaves."""

import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from mtlbench.cli import main

TINY = ["model=dnn", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=600", "trainer.epochs=1"]

SECRETS = ("s3cr%40t/pw", "s3cr@t/pw", "s3cr%40t%2Fpw", "qu3ry-tok3n", "env-p4ssword", "env-t0ken")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def without_secrets(place: str, content: bytes) -> None:
    for secret in SECRETS:
        assert secret.encode() not in content, f"{secret} in {place}: {content[:2000]!r}"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "jane")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "env-p4ssword")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "env-t0ken")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


URI = "http://jane:s3cr%40t%2Fpw@127.0.0.1:{port}/?token=qu3ry-tok3n"

COMMANDS = [
    ["train", *TINY],
    ["train", *TINY, "trainer.epoch=3"],
    ["train", "-m", *TINY, "seed=0,1", "optimizer.lr=1e30"],  # the first was finished before, and both fail
    ["sync"],
    ["doctor"],
    ["ui"],
    ["show", "trainer.epochs=2"],
]


@pytest.mark.usefixtures("environment")
def test_a_server_that_does_not_answer(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    uri = URI.format(port=free_port())
    for words in COMMANDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            main([*words, f"run.tracker.uri={uri}"])
        said = capfd.readouterr()
        without_secrets(" ".join(words), (said.out + said.err).encode())
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "store" not in path.parts]
    assert {"config.yaml", "run.json", "result.json", "status.json"} <= {path.name for path in files}
    for path in files:
        without_secrets(str(path), path.read_bytes())


@pytest.mark.usefixtures("environment")
def test_a_configuration_file_that_names_the_server(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    (tmp_path / "mine" / "tracker").mkdir(parents=True)
    uri = URI.format(port=free_port())
    (tmp_path / "mine" / "tracker" / "own.yaml").write_text(
        f"# @package run.tracker\nuri: {uri}\nexperiment: mtlbench\n"
    )
    for more in ([], ["--cfg", "job"]):
        main(["train", "tracker=own", *TINY, "--config-dir", "mine", *more])
    said = capfd.readouterr()
    without_secrets("terminal", (said.out + said.err).encode())
    for path in (tmp_path / "runs").rglob("*"):
        without_secrets(str(path), path.read_bytes() if path.is_file() else b"")


def test_a_traceback(tmp_path: Path):
    """Asked for, it shows the errors of the libraries below, which name the address that they were given."""
    (tmp_path / "runs").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "mtlbench", "sync", f"run.tracker.uri={URI.format(port=free_port())}"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        env=os.environ | {"MTLBENCH_TRACEBACK": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
    )
    assert b"Traceback" in done.stderr
    assert b"http://127.0.0.1" in done.stderr
    without_secrets("terminal", done.stdout + done.stderr)
