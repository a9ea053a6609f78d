"""Tracking servers that are dead, slow, wrong, paused: no run ends, waits, changes or is sent twice because of one."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path

from scripts.torture.command import ENVIRONMENT, run, start
from scripts.torture.judge import LostError, Outcome, Seen, attempt, clean, done, line, same
from scripts.torture.place import TRAIN, Place, numbers, points
from scripts.torture.proxy import WRONG, Proxy

WORDS = (*(word for word in TRAIN if not word.startswith("trainer.checkpoint")), "trainer.epochs=8")
LONGEST_EXIT = 10.0
"""Seconds by which a tracker may delay the end of a run."""

NOISE = 0.5
"""Share by which the same run may take longer on a shared machine."""

PASSWORD = "correcthorse"

THROUGH_PROXY = (
    "is as it should be", "is slow", "sends one byte a second", "never answers", "breaks off half-way",
    "answers the creation of a run late", *WRONG,
)  # fmt: skip
DURING = ("is dead", "is paused and never goes on", "is paused for a while", "dies during the run")
URIS = {
    "a database without its driver": f"postgresql://me:{PASSWORD}@127.0.0.1:1/runs",
    "a database with a driver that is missing": f"mysql+pymysql://me:{PASSWORD}@127.0.0.1:1/runs",
    "a store of files elsewhere": "s3://bucket/runs",
    "a database in a place that cannot be": "sqlite:////dev/null/runs.db",
    "an address that refuses, with a password": f"http://me:{PASSWORD}@127.0.0.1:1",
}


def inject(place: Place, times: int, seed: int) -> Iterator[Outcome]:
    """Every fault, `times` times."""
    for number in range(times):
        for fault, uri in URIS.items():
            yield attempt(f"tracker: {fault}", f"round {number}", _alone, place, uri)
    with real_server(place.root / "server") as port:
        for number in range(times):
            for fault in (*THROUGH_PROXY, *DURING):
                draw = random.Random(f"{seed} servers {fault} {number}")
                yield attempt(
                    f"tracking server {fault}",
                    f"round {number}",
                    _behind,
                    place,
                    port,
                    fault,
                    f"{fault} {number} {seed}",
                    draw,
                )


def _alone(place: Place, uri: str) -> Seen:
    """A tracker that cannot be reached at all."""
    expected, without, _ = _without(place)
    case = place.restore("prepared")
    ran = done(run(case, (*WORDS, "tracker=mlflow", f"run.tracker.uri={uri}"), 120 + 10 * without))
    same(numbers(case), expected, "the run")
    told = [path for path in case.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    if PASSWORD in ran.out + ran.err or told:
        raise LostError(f"the password is shown in {told[0].name if told else 'the terminal'}")
    return Seen(line=line(ran), cost=_cost(ran.seconds, without))


def _behind(place: Place, upstream: int, fault: str, experiment: str, draw: random.Random) -> Seen:
    """A run whose tracking server has a fault; afterwards the server is well, and `sync` sends the rest."""
    expected, without, measured = _without(place)
    case = place.restore("prepared")
    proxy = Proxy(upstream, fault)
    uri = f"http://127.0.0.1:{proxy.port}"
    words = ("tracker=mlflow", f"run.tracker.uri={uri}", f"run.tracker.experiment='{experiment}'")
    if fault == "is dead":
        proxy.stop()
    try:
        started = start(case, (*WORDS, *words))
        if fault in DURING[1:]:
            time.sleep(draw.uniform(0, without))
            proxy.signal(signal.SIGKILL if fault.startswith("dies") else signal.SIGSTOP)
            if fault == "is paused for a while":
                time.sleep(draw.uniform(1, 6))
                proxy.signal(signal.SIGCONT)
        ran = done(started.wait(120 + 10 * without))
    finally:
        proxy.stop()
    same(numbers(case), expected, "the run")
    well = Proxy(upstream, THROUGH_PROXY[0], proxy.port)
    try:
        clean(run(case, ("sync", *words), 120), codes=(0,))
    finally:
        well.stop()
    sent = points(case, place.root / "server" / "mlflow.db", experiment)["mlflow"]
    same(len(sent), 1, "MLflow runs")
    same(sent[0]["status"], "FINISHED", "state in MLflow")
    same(len(sent[0]["points"]), _points_of(case), "points in MLflow")
    late = ran.seconds - without
    if late > LONGEST_EXIT + NOISE * without:
        raise LostError(f"takes {ran.seconds:.0f} s instead of {without:.0f} s")
    (result,) = case.glob("runs/*/result.json")
    if (seconds := json.loads(result.read_text())["seconds"]) > measured * (1 + NOISE) + 2:
        raise LostError(f"waiting stands in the run's seconds: {seconds:.0f} instead of {measured:.0f}")
    return Seen(line=line(ran), cost=_cost(ran.seconds, without))


def _without(place: Place) -> tuple[dict[str, object], float, float]:
    """The run without a tracker: numbers, wall time, and the seconds that it states; measured beside every case."""
    case = place.restore("prepared")
    ran = done(run(case, (*WORDS, "tracker=none")))
    (result,) = case.glob("runs/*/result.json")
    return numbers(case), ran.seconds, json.loads(result.read_text())["seconds"]


def _points_of(case: Path) -> int:
    (journal,) = numbers(case).values()
    return sum(len(text["values"]) for text in journal["journal"])


def _cost(seconds: float, without: float) -> float:
    return round(100 * (seconds / without - 1), 1)


@contextlib.contextmanager
def real_server(folder: Path) -> Generator[int]:
    """An MLflow server with a database of its own; its port."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = (
        f"--backend-store-uri sqlite:///{folder / 'mlflow.db'} --artifacts-destination {folder / 'files'} "
        f"--host 127.0.0.1 --port {port} --workers 1"
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words.split()],
            env=os.environ | ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 180
        while not _answers(port):
            if time.monotonic() > until or process.poll() is not None:
                raise OSError(f"the MLflow server does not start, see {folder / 'log'}")
            time.sleep(0.5)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
        return answer.status == 200
    return False
