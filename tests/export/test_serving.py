"""`mlflow models serve` on an exported folder: a real server, real requests, the run's own numbers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtlbench.export.bundle import Exported
from mtlbench.export.scorer import open_exported

pytestmark = pytest.mark.long

PATIENCE = 300.0


@pytest.fixture(scope="module")
def address(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serving") / "log"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(exported.folder)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts uvicorn by its name
    with log.open("wb") as said:
        server = subprocess.Popen(
            command, stdout=said, stderr=said, env=os.environ | {"PATH": path}, start_new_session=True
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(f"http://127.0.0.1:{port}/ping"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def ask(address: str, content: dict) -> list[dict[str, float]]:
    body = json.dumps(content).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)["predictions"]


def test_a_server_answers_with_the_runs_own_probabilities(address: str, exported: Exported):
    example = pq.read_table(exported.folder / "example.parquet").drop_columns(["p_click", "p_conversion"])
    rows = example.to_pylist()
    rows[1] |= {"colour": None, "price": None, "tags": None}
    rows[2] |= {"item": 10**12, "embedding": None}
    scorer = open_exported(exported.folder)
    raw = {name: pa.array([row[name] for row in rows], example[name].type) for name in example.column_names}
    own = [dict(zip(scorer.names, answer, strict=True)) for answer in scorer(raw).tolist()]
    split = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
    for content, count in (
        ({"dataframe_split": split}, 40),
        ({"dataframe_records": rows}, 40),
        ({"dataframe_records": rows[:1]}, 1),
    ):
        found = ask(address, content)
        assert len(found) == count
        for answer, expected in zip(found, own[:count], strict=True):
            assert answer == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item": "seven"}, "item"),  # MLflow refuses it by the signature, before the model sees it
        ({"tags": 5}, "column 'tags', row 0 (from 0): found 5; allowed: a list of texts"),
        ({"history:weight": [1.0, 2.0, 3.0, 4.0, 5.0]}, "5 weights for the"),
        ({"colour": ...}, "colour"),
    ],
)
def test_a_request_that_cannot_be_scored_is_told_why(address: str, exported: Exported, change: dict, message: str):
    row = pq.read_table(exported.folder / "example.parquet").to_pylist()[0] | change
    kept = {name: value for name, value in row.items() if value is not ...}
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(address, {"dataframe_records": [kept]})
    assert refused.value.code == 400
    assert message in json.load(refused.value)["message"]
