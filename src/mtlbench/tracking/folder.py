"""The small files of a run folder besides its journal, written atomically and validated when read.

``run.json``     facts of the run, written when it begins
``status.json``  running, finished, failed or interrupted, and why
``config.yaml``  its resolved configuration (`mtlbench.tracking.parameters.read_config`)
``result.json``  its metrics and costs, with a content hash, written last
``mlflow.json``  what has been sent to which server (`mtlbench.tracking.sent`)

The folder ``analysis`` contains later analyses of the run (`mtlbench.report.analysis`).
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
"""Files of which any one identifies a run folder, so that one without its ``run.json`` is still found."""

HASH = "sha256"
"""Key in ``result.json`` of the hash of all other keys."""

TRAIN_AGAIN = "Restore it, or train the run again with run.fresh=true"
MEASURE_AGAIN = "Restore it, or remove it and repeat the training command, which measures again from the checkpoint"
"""What to do about damaged files."""

RESULT_TYPE = TypeAdapter(Result)

State = Literal["running", "finished", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """Facts of a run; in MLflow each is a tag of the same name, except ``name``, ``tags`` and ``notes``.

    Attributes:
        identity: hash of configuration and data; the name of the folder.
        model, dataset, seed: the choices.
        data: fingerprint of the data.
        origin: whether the data are real or simulated.
        commit: version of the code; ``<version> then <version>`` if the run was resumed with other code.
        ranks: number of processes, if there was ever more than one; ``<ranks> then <ranks>`` if the run was resumed
            with another number.
        paper: the paper whose profile the run follows, if any.
        overrides: ``key=value`` overrides other than model, data set and seed.
        name, tags, notes: free text by the user.
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
        """The name, or the choices: ``mtphn aliccp 0 placement=Dpri_CFpub``."""
        words = (word.partition("=") for word in self.overrides)
        settings = (f"{key.rpartition('.')[2]}={value}" for key, _, value in words)
        return self.name or " ".join([self.model, self.dataset, str(self.seed), *settings])


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Distinguishes two runs of the same identity (started over, or on two machines), so that their curves never mix.

    Attributes:
        key: a random text.
        began: milliseconds since 1970, UTC.
    """

    key: str
    began: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """State of a run.

    Attributes:
        state: ``interrupted`` means stopped from outside (by a signal, or killed), so that it can be resumed.
        reason: why it failed or was interrupted.
        time: when the state was entered, milliseconds since 1970, UTC.
        process: host, id and start time of the process that wrote the state.
    """

    state: State
    reason: str | None
    time: int
    process: tuple[str, int, float]


@first_only
def begin(folder: Path, facts: RunInfo) -> None:
    """Write the run's facts and the state ``running``. A run resumed in its folder keeps its attempt.

    ``run.json`` contains the hash of ``config.yaml``, which must have been written before.
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
    """Update the facts of a run that is not running, if they have changed."""
    if facts != read_facts(folder)[0]:
        written = read_json(TypeAdapter(dict[str, Any]), folder / FACTS, TRAIN_AGAIN)
        write_json(folder / FACTS, {**written, **asdict(facts)})


def read_facts(folder: Path) -> tuple[RunInfo, Attempt]:
    """Facts and attempt of a run folder.

    Raises:
        DamagedFileError: the folder is not a run folder, or its ``run.json`` is damaged.
    """
    path = folder / FACTS
    values = read_json(TypeAdapter(dict[str, Any]), path, TRAIN_AGAIN)
    attempt = json.dumps(values.pop("attempt", None)).encode()
    values.pop("config", None)  # see `check_config_hash`
    facts = parse_json(TypeAdapter(RunInfo), json.dumps(values).encode(), path, TRAIN_AGAIN)
    return facts, parse_json(TypeAdapter(Attempt), attempt, path, TRAIN_AGAIN)


def check_config_hash(folder: Path) -> None:
    """Compare ``config.yaml`` with its hash in ``run.json``; runs of versions before 0.2 have no hash.

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
    """Write the state of the run; called by the process that runs it."""
    one_of(f"run {folder.name}: state", state, State)
    process = (platform.node(), os.getpid(), psutil.Process().create_time())
    reason = None if reason is None else redacted(reason)
    status = Status(state=state, reason=reason, time=time.time_ns() // 1_000_000, process=process)
    write_json(folder / STATUS, asdict(status))


def read_status(folder: Path) -> Status:
    """The state of the run; ``running`` becomes ``interrupted`` if the process no longer exists on this machine.

    Raises:
        DamagedFileError: the status is missing or damaged.
    """
    status = read_json(TypeAdapter(Status), folder / STATUS, TRAIN_AGAIN)
    host, process, started = status.process
    if (
        folder / RESULT
    ).exists():  # written last and atomically, so the run is finished even if it was killed before updating its status
        return Status(state="finished", reason=None, time=status.time, process=status.process)
    if status.state == "running" and host == platform.node() and not _lives(process, started):
        reason = f"process {process} ended without a reason"
        return Status(state="interrupted", reason=reason, time=status.time, process=status.process)
    return status


@first_only
def write_result(folder: Path, result: Result) -> None:
    """Write ``result.json`` with the hashes of the complete journal and of its own content."""
    values = asdict(replace(result, journal=hashlib.sha256(read_content(folder / JOURNAL)).hexdigest()))
    if result.convergence is None:
        del values["convergence"]
    write_json(folder / RESULT, {**values, HASH: content_hash(values)})


def read_result(folder: Path) -> Result:
    """The result of a run.

    Raises:
        DamagedFileError: it is missing, damaged, or was edited.
    """
    return parse_result(read_content(folder / RESULT, MEASURE_AGAIN), folder / RESULT)


def parse_result(content: bytes, source: object) -> Result:
    """Parse a result from the bytes of its file; results of versions before 0.2 have no hash.

    Args:
        content: bytes of the file.
        source: name of the source, for messages.

    Raises:
        DamagedFileError: it is damaged, or was edited.
    """
    result = parse_json(RESULT_TYPE, content, source, MEASURE_AGAIN)
    values = json.loads(content)  # the hash covers keys of other versions too
    written = values.pop(HASH, None)
    if written is not None and written != (found := content_hash(values)):
        raise DamagedFileError(
            f"{source} is damaged: it was changed after the run wrote it (content hash {found[:12]}, "
            f"written {str(written)[:12]}). {MEASURE_AGAIN}"
        )
    return result


def check_journal(folder: Path) -> None:
    """Compare the journal of a finished run with the hash in its result.

    Raises:
        DamagedFileError: the result or the journal is damaged, shortened or edited.
    """
    expected = read_result(folder).journal
    path = folder / JOURNAL
    if expected is not None and hashlib.sha256(read_content(path, TRAIN_AGAIN)).hexdigest() != expected:
        raise DamagedFileError(f"{path} is damaged: it differs from what the finished run wrote. {TRAIN_AGAIN}")


def content_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, independent of the order of keys and of white space."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode()).hexdigest()


def run_folders(runs: Path) -> list[Path]:
    """Folders that contain any file of a run, by name."""
    return sorted({path.parent for name in FILES for path in runs.glob(f"*/{name}")})


def write_json(path: Path, values: dict[str, Any]) -> None:
    write_beside(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def _lives(process: int, started: float) -> bool:
    try:
        # Process ids are reused; it is the same process if the start times agree within a second.
        return abs(psutil.Process(process).create_time() - started) < 1
    except psutil.NoSuchProcess:
        return False
