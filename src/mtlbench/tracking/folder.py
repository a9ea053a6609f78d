"""The small files of a run folder beside its journal: what the run is, and how it stands.

``run.json``     what the run is: its facts, written when it begins
``status.json``  running, finished, failed or interrupted, and why
``mlflow.json``  what was already sent where (`mtlbench.tracking.send`)
"""

import json
import os
import platform
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from mtlbench.tracking.credentials import redacted
from mtlbench.tracking.journal import write_beside

FACTS = "run.json"
STATUS = "status.json"
CONFIG = "config.yaml"
RESULT = "result.json"

State = Literal["running", "finished", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a run is; every fact becomes a tag of the same name in MLflow.

    Attributes:
        identity: hash of config and data; the name of the folder.
        model, dataset, seed: what was chosen.
        data: fingerprint of the data.
        origin: whether the data are real or simulated.
        commit: version of the code that measures; ``<version> then <version>`` where one went on with what another
            began.
        paper: whose profile the run follows, if any.
    """

    identity: str
    model: str
    dataset: str
    seed: int
    data: str
    origin: Literal["real", "simulated"]
    commit: str
    paper: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Tells two runs of one identity apart (started over, or on two machines), so that their curves never mix.

    Attributes:
        key: random.
        began: milliseconds since 1970, UTC.
    """

    key: str
    began: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How a run stands.

    Attributes:
        state: ``interrupted`` means stopped from outside (a signal, a killed process): it can be resumed.
        reason: why it failed or was interrupted.
        time: since when, milliseconds since 1970, UTC.
        process: host, process id and its start, of who wrote this.
    """

    state: State
    reason: str | None
    time: int
    process: tuple[str, int, float]


def begin(folder: Path, facts: Facts) -> None:
    """Write down what the run is, and that it runs. A run that is resumed in its folder stays the same attempt."""
    folder.mkdir(parents=True, exist_ok=True)
    attempt = Attempt(key=uuid.uuid4().hex[:16], began=time.time_ns() // 1_000_000)
    if (folder / FACTS).exists():
        attempt = read_facts(folder)[1]
    write_json(folder / FACTS, {**asdict(facts), "attempt": asdict(attempt)})
    write_status(folder, "running")


def read_facts(folder: Path) -> tuple[Facts, Attempt]:
    """Facts and attempt of a run folder.

    Raises:
        ValueError: the folder is none, or its ``run.json`` is damaged.
    """
    values = read_json(folder / FACTS)
    try:
        attempt = Attempt(**values.pop("attempt"))
        return Facts(**values), attempt
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / FACTS}: not what a run writes ({error})") from error


def write_status(folder: Path, state: State, reason: str | None = None) -> None:
    """Say how the run stands, from the process that runs it."""
    if state not in get_args(State):
        raise ValueError(f"run {folder.name}: state is {state!r}; allowed: {', '.join(get_args(State))}")
    process = (platform.node(), os.getpid(), psutil.Process().create_time())
    reason = None if reason is None else redacted(reason)
    status = Status(state=state, reason=reason, time=time.time_ns() // 1_000_000, process=process)
    write_json(folder / STATUS, asdict(status))


def read_status(folder: Path) -> Status:
    """How the run stands. One that says ``running`` but whose process is gone from this machine was interrupted.

    Raises:
        ValueError: there is no status, or it is damaged.
    """
    values = read_json(folder / STATUS)
    try:
        host, process, started = values["process"]
        status = Status(**{**values, "process": (host, process, started)})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / STATUS}: not what a run writes ({error})") from error
    if (folder / RESULT).exists():  # written last and whole: what was killed before it could say so is finished
        return Status(state="finished", reason=None, time=status.time, process=status.process)
    if status.state == "running" and host == platform.node() and not _lives(process, started):
        reason = f"process {process} ended without saying why"
        return Status(state="interrupted", reason=reason, time=status.time, process=status.process)
    return status


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ValueError: it is missing, or not a JSON object.
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: {path.parent} is not the folder of a run") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: it holds {type(values).__name__}, expected an object")
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    write_beside(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def _lives(process: int, started: float) -> bool:
    try:
        # Process ids are used again; a start within a second of the written one is the same process.
        return abs(psutil.Process(process).create_time() - started) < 1
    except psutil.NoSuchProcess:
        return False
