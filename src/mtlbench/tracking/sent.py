"""Record of what each tracking server has of a run, in ``mlflow.json`` of its folder; no server is contacted."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mtlbench.tracking.connect import without_password
from mtlbench.tracking.files import read_json
from mtlbench.tracking.folder import ANALYSIS, RESULT, SENT, RunInfo, read_facts, read_status
from mtlbench.tracking.journal import Journal


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """Record of what one server has of a run folder.

    Attributes:
        experiment, run_id: MLflow's experiment and run.
        journal: number of bytes of the journal that were sent; ``journal_digest`` is their SHA-256.
        description: SHA-256 of everything else that is sent.
    """

    experiment: str
    run_id: str
    journal: int
    journal_digest: str
    description: str


def read_sent(folder: Path) -> dict[str, Sent]:
    """The records by server URI, without password.

    Raises:
        DamagedFileError: ``mlflow.json`` is damaged.
    """
    path = folder / SENT
    if not path.exists():
        return {}
    return read_json(TypeAdapter(dict[str, Sent]), path, "Remove it: the run is found on the server by its tags")


def is_sent(folder: Path, uri: str, experiment: str) -> bool:
    """Whether the server has all of a run, according to the record in its folder.

    Raises:
        DamagedFileError: the folder is not that of a run, or a file in it is damaged.
    """
    sent = read_sent(folder).get(without_password(uri))
    if sent is None:
        return False
    journal = digest(Journal(folder).content())
    return (sent.experiment, sent.journal_digest, sent.description) == (experiment, journal, description_digest(folder))


def unsent_text(folder: Path, uri: str) -> str:
    """Description of what the server lacks of a run, according to the record in its folder.

    Raises:
        DamagedFileError: a file in the folder is damaged.
    """
    sent, content = read_sent(folder).get(without_password(uri)), Journal(folder).content()
    if sent is None:
        return "nothing has been sent"
    sent_lines = content[: sent.journal].count(b"\n") if digest(content[: sent.journal]) == sent.journal_digest else 0
    lines = content.count(b"\n")
    state = " and its state and result" if sent.description != description_digest(folder) else ""
    return f"not sent: {lines - sent_lines} of {lines} lines of the journal{state}"


def link_of(folder: Path) -> str | None:
    """The address of a run's page on the tracking server; none for a database file, which ``mtlbench ui`` serves.

    Raises:
        DamagedFileError: ``mlflow.json`` is damaged.
    """
    servers = {uri: sent.run_id for uri, sent in read_sent(folder).items() if uri.startswith("http")}
    return next((f"{uri.rstrip('/')}/#/runs/{run_id}" for uri, run_id in servers.items()), None)


def description_digest(folder: Path) -> str:
    """SHA-256 of everything that is sent besides metrics."""
    facts, attempt = read_facts(folder)
    result = (folder / RESULT).read_bytes() if (folder / RESULT).exists() else b""
    texts = {name: value for name in ("overrides", "name", "tags", "notes") if (value := getattr(facts, name))}
    parts = [own_facts(facts) | texts, asdict(attempt), asdict(read_status(folder)), digest(result)]
    parts += [{path.name: digest(path.read_bytes())} for path in sorted((folder / ANALYSIS).glob("*"))]
    return digest(json.dumps(parts).encode())


def own_facts(facts: RunInfo) -> dict[str, Any]:
    """Facts that become tags: all except those with their own field in MLflow and the user's texts."""
    return {name: v for name, v in asdict(facts).items() if name not in ("overrides", "name", "tags", "notes")}


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
