"""The small files of a run folder beside its journal, each written whole and validated when it is read.

``run.json``     what the run is: its facts, written when it begins
``status.json``  running, finished, failed or interrupted, and why
``config.yaml``  its resolved configuration (`mtlbench.tracking.parameters.read_config`)
``result.json``  its metrics and costs, with a content hash, written last
``mlflow.json``  what was already sent where (`mtlbench.tracking.sent`)

The folder ``analysis`` holds what was found out about the run later (`mtlbench.report.analysis`).
"""

import hashlib
import json
import os
import platform
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import TypeAdapter

from mtlbench.checks import one_of
from mtlbench.distributed.job import first_only
from mtlbench.files import write_beside
from mtlbench.result import Result
from mtlbench.tracking.credentials import redacted
from mtlbench.tracking.files import DamagedFileError, parse_json, read_content, read_json
from mtlbench.tracking.journal import JOURNAL

FACTS = "run.json"
STATUS = "status.json"
CONFIG = "config.yaml"
RESULT = "result.json"
SENT = "mlflow.json"
ANALYSIS = "analysis"

FILES = (FACTS, STATUS, CONFIG, RESULT, SENT, JOURNAL, "last.pt", "best.pt")
"""Any of these makes a folder that of a run, so that one whose ``run.json`` was deleted is not forgotten."""

HASH = "sha256"
"""Key of ``result.json`` that holds the hash of all others."""

TRAIN_AGAIN = "Restore it, or train the run again with run.fresh=true"
MEASURE_AGAIN = "Restore it, or remove it and repeat the training command, which measures again from the checkpoint"
"""What to do about damaged files."""

RESULT_TYPE = TypeAdapter(Result)

State = Literal["running", "finished", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """What a run is; every fact but ``name``, ``tags`` and ``notes`` becomes a tag of the same name in MLflow.

    Attributes:
        identity: hash of config and data; the name of the folder.
        model, dataset, seed: what was chosen.
        data: fingerprint of the data.
        origin: whether the data are real or simulated.
        commit: version of the code that measures; ``<version> then <version>`` where one went on with what another
            began.
        ranks: how many processes trained it together, where there were ever several; ``<ranks> then <ranks>`` where it
            went on with another number of them.
        paper: whose profile the run follows, if any.
        overrides: ``key=value`` words that chose its configuration, beside model, data set and seed.
        name, tags, notes: free text of the user's.
    """

    identity: str
    model: str
    dataset: str
    seed: int
    data: str
    origin: Literal["real", "simulated"]
    commit: str
    ranks: str | None = None
    paper: str | None = None
    overrides: tuple[str, ...] = ()
    name: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    notes: str | None = None

    @property
    def title(self) -> str:
        """The name, or what was chosen: ``mtphn aliccp 0 placement=Dpri_CFpub``."""
        words = (word.partition("=") for word in self.overrides)
        said = (f"{key.rpartition('.')[2]}={value}" for key, _, value in words)
        return self.name or " ".join([self.model, self.dataset, str(self.seed), *said])


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


@first_only
def begin(folder: Path, facts: RunInfo) -> None:
    """Write down what the run is, and that it runs. A run that is resumed in its folder stays the same attempt.

    ``run.json`` holds the hash of ``config.yaml``, which has been written before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    attempt = Attempt(key=uuid.uuid4().hex[:16], began=time.time_ns() // 1_000_000)
    if (folder / FACTS).exists():
        attempt = read_facts(folder)[1]
    config = hashlib.sha256(read_content(folder / CONFIG)).hexdigest() if (folder / CONFIG).exists() else None
    write_json(folder / FACTS, {**asdict(facts), "attempt": asdict(attempt), "config": config})
    write_status(folder, "running")


@first_only
def annotate(folder: Path, facts: RunInfo) -> None:
    """Replace the facts of a run that is not under way, where they have changed."""
    if facts != read_facts(folder)[0]:
        written = read_json(TypeAdapter(dict[str, Any]), folder / FACTS, TRAIN_AGAIN)
        write_json(folder / FACTS, {**written, **asdict(facts)})


def read_facts(folder: Path) -> tuple[RunInfo, Attempt]:
    """Facts and attempt of a run folder.

    Raises:
        DamagedFileError: the folder is none, or its ``run.json`` is damaged.
    """
    path = folder / FACTS
    values = read_json(TypeAdapter(dict[str, Any]), path, TRAIN_AGAIN)
    attempt = json.dumps(values.pop("attempt", None)).encode()
    values.pop("config", None)  # see `check_config_hash`
    facts = parse_json(TypeAdapter(RunInfo), json.dumps(values).encode(), path, TRAIN_AGAIN)
    return facts, parse_json(TypeAdapter(Attempt), attempt, path, TRAIN_AGAIN)


def check_config_hash(folder: Path) -> None:
    """Compare ``config.yaml`` with its hash in ``run.json``; one of a version before 0.2 has none to compare.

    Raises:
        DamagedFileError: it was changed after the run began, or one of the two files is missing or damaged.
    """
    recorded = read_json(TypeAdapter(dict[str, Any]), folder / FACTS, TRAIN_AGAIN).get("config")
    if recorded and hashlib.sha256(read_content(folder / CONFIG, TRAIN_AGAIN)).hexdigest() != recorded:
        raise DamagedFileError(
            f"{folder / CONFIG} is damaged: it was changed after the run began, so it is not what was trained. "
            + TRAIN_AGAIN
        )


@first_only
def write_status(folder: Path, state: State, reason: str | None = None) -> None:
    """Say how the run stands, from the process that runs it."""
    one_of(f"run {folder.name}: state", state, State)
    process = (platform.node(), os.getpid(), psutil.Process().create_time())
    reason = None if reason is None else redacted(reason)
    status = Status(state=state, reason=reason, time=time.time_ns() // 1_000_000, process=process)
    write_json(folder / STATUS, asdict(status))


def read_status(folder: Path) -> Status:
    """How the run stands. One that says ``running`` but whose process is gone from this machine was interrupted.

    Raises:
        DamagedFileError: there is no status, or it is damaged.
    """
    status = read_json(TypeAdapter(Status), folder / STATUS, TRAIN_AGAIN)
    host, process, started = status.process
    if (folder / RESULT).exists():  # written last and whole: what was killed before it could say so is finished
        return Status(state="finished", reason=None, time=status.time, process=status.process)
    if status.state == "running" and host == platform.node() and not _lives(process, started):
        reason = f"process {process} ended without saying why"
        return Status(state="interrupted", reason=reason, time=status.time, process=status.process)
    return status


@first_only
def write_result(folder: Path, result: Result) -> None:
    """Write ``result.json`` with the hashes of the journal, which is complete by now, and of its own content."""
    values = asdict(replace(result, journal=hashlib.sha256(read_content(folder / JOURNAL)).hexdigest()))
    if result.convergence is None:
        del values["convergence"]
    write_json(folder / RESULT, {**values, HASH: content_hash(values)})


def read_result(folder: Path) -> Result:
    """The result of a run.

    Raises:
        DamagedFileError: there is none, it is damaged, or it was edited.
    """
    return parse_result(read_content(folder / RESULT, MEASURE_AGAIN), folder / RESULT)


def parse_result(content: bytes, source: object) -> Result:
    """A result from the bytes of its file; one of a version before 0.2 has no hash to compare.

    Args:
        content: of the file.
        source: where it is from, for messages.

    Raises:
        DamagedFileError: it is damaged, or was edited.
    """
    result = parse_json(RESULT_TYPE, content, source, MEASURE_AGAIN)
    values = json.loads(content)  # keys of other versions count for the hash
    written = values.pop(HASH, None)
    if written is not None and written != (found := content_hash(values)):
        raise DamagedFileError(
            f"{source} is damaged: it was changed after the run wrote it (content hash {found[:12]}, "
            f"written {str(written)[:12]}). {MEASURE_AGAIN}"
        )
    return result


def check_journal(folder: Path) -> None:
    """Compare the journal of a finished run with the hash that its result holds.

    Raises:
        DamagedFileError: the result or the journal is damaged, shortened or edited.
    """
    expected = read_result(folder).journal
    path = folder / JOURNAL
    if expected is not None and hashlib.sha256(read_content(path, TRAIN_AGAIN)).hexdigest() != expected:
        raise DamagedFileError(f"{path} is damaged: it is not what the finished run wrote. {TRAIN_AGAIN}")


def content_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its keys and its white space."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode()).hexdigest()


def run_folders(runs: Path) -> list[Path]:
    """Folders that hold any file of a run, by name."""
    return sorted({path.parent for name in FILES for path in runs.glob(f"*/{name}")})


def write_json(path: Path, values: dict[str, Any]) -> None:
    write_beside(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def _lives(process: int, started: float) -> bool:
    try:
        # Process ids are used again; a start within a second of the written one is the same process.
        return abs(psutil.Process(process).create_time() - started) < 1
    except psutil.NoSuchProcess:
        return False
