"""One run folder to one tracking server: whatever is not there yet, and nothing twice."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import yaml
from filelock import FileLock, Timeout

from mtlbench.tracking.connect import TrackingError, artifact_root, connect, errors_of, public
from mtlbench.tracking.curves import draw_curves
from mtlbench.tracking.folder import CONFIG, RESULT, Facts, read_facts, read_json, read_status, write_json
from mtlbench.tracking.journal import Journal, Line
from mtlbench.tracking.parameters import flatten, identifying, portable, read_config, shorten

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

SENT = "mlflow.json"

LONGEST_DIGEST = 36
"""Characters of a data set's digest that MLflow stores."""

MLFLOW_STATES = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SendReport:
    """What one `send` did.

    Attributes:
        run_id: MLflow's id of the run.
        points: metric values sent.
        described: whether parameters, tags, state or artifacts were sent.
        shortened: parameters longer than MLflow stores; ``config.yaml``, among the artifacts, has them whole.
    """

    run_id: str
    points: int
    described: bool
    shortened: tuple[str, ...] = ()

    @property
    def up_to_date(self) -> bool:
        """Whether there was nothing to send."""
        return not self.points and not self.described


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What a server is known to have of a run folder; kept in ``mlflow.json``, per server.

    Attributes:
        experiment, run_id: where it is.
        journal: how many bytes of the journal were sent, and ``journal_digest``, their SHA-256.
        description: SHA-256 of everything else that is sent.
    """

    experiment: str
    run_id: str
    journal: int
    journal_digest: str
    description: str


def send(folder: Path, uri: str, experiment: str) -> SendReport:
    """Send what the server does not have yet: parameters, tags, metrics, input data, state, artifacts.

    Safe at any moment and any number of times, also while the run goes on. The MLflow run is the one remembered in
    the folder, or else found by the tags ``identity`` and ``attempt``, or else made; one that was deleted in MLflow
    is made anew, since the copy follows the folder. A journal that was cut back behind what was sent (the run was
    resumed from a checkpoint) is compared with what the server has, and only what differs is sent.

    Args:
        folder: the run folder.
        uri: tracking URI.
        experiment: name of the MLflow experiment; made if missing.

    Raises:
        TrackingError: the server could not be reached or refused, or another process is sending this very folder.
            What was sent stays, and sending again goes on from there.
        ValueError: the folder is not that of a run, or a file in it is damaged.
    """
    facts, _ = read_facts(folder)
    try:
        lock = FileLock(folder / f".{SENT}.lock").acquire(timeout=0)
    except Timeout as error:
        raise TrackingError(f"run {facts.identity} is being sent by another process") from error
    with lock:
        client = connect(uri)
        with errors_of(uri):
            return _send(folder, client, uri, experiment)


def is_sent(folder: Path, uri: str, experiment: str) -> bool:
    """Whether, as far as the run's folder remembers, the server has all of it; nobody is asked.

    Raises:
        ValueError: the folder is not that of a run, or a file in it is damaged.
    """
    memory = read_json(folder / SENT) if (folder / SENT).exists() else {}
    if public(uri) not in memory:
        return False
    sent = Sent(**memory[public(uri)])
    journal = _digest(Journal(folder).content())
    return (sent.experiment, sent.journal_digest, sent.description) == (experiment, journal, _description(folder))


def _send(folder: Path, client: "MlflowClient", uri: str, experiment: str) -> SendReport:
    path = folder / SENT
    memory = read_json(path) if path.exists() else {}
    sent = Sent(**memory[public(uri)]) if public(uri) in memory else None
    run_id = _remembered(client, sent, experiment) or _found_or_made(client, folder, uri, experiment)
    if sent is None or sent.run_id != run_id:
        sent = Sent(experiment=experiment, run_id=run_id, journal=0, journal_digest="", description="")

    journal = Journal(folder)
    content = journal.content()
    if _digest(content[: sent.journal]) == sent.journal_digest:
        lines = journal.parse(content[sent.journal :])
        points = list(_points(lines))
    else:
        lines = journal.parse(content)
        points = _missing(client, run_id, lines)
    client.log_batch(run_id, metrics=points)  # in requests of a thousand, 50 times faster than one by one
    undefined = {name: f"step {line.step}: {reason}" for line in lines for name, reason in line.undefined.items()}
    set_tags(client, run_id, {f"undefined/{name}": reason for name, reason in undefined.items()})

    description = _description(folder)
    shortened = _describe(client, run_id, folder) if description != sent.description else ()
    now = Sent(
        experiment=experiment,
        run_id=run_id,
        journal=len(content),
        journal_digest=_digest(content),
        description=description,
    )
    if now != sent:
        write_json(path, {**memory, public(uri): asdict(now)})
    described = description != sent.description or bool(undefined)
    return SendReport(run_id=run_id, points=len(points), described=described, shortened=shortened)


def _remembered(client: "MlflowClient", sent: Sent | None, experiment: str) -> str | None:
    """The run that was used before, unless it is gone or was for another experiment."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

    if sent is None or sent.experiment != experiment:
        return None
    try:
        run = client.get_run(sent.run_id)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return None
    return sent.run_id if run.info.lifecycle_stage == "active" else None


def _found_or_made(client: "MlflowClient", folder: Path, uri: str, experiment: str) -> str:
    facts, attempt = read_facts(folder)
    experiment_id = experiment_id_of(client, uri, experiment)
    same = f"tags.identity = '{facts.identity}' and tags.attempt = '{attempt.key}'"
    found: list[Run] = list(client.search_runs([experiment_id], filter_string=same, max_results=1))
    if found:
        return found[0].info.run_id
    made = client.create_run(
        experiment_id,
        start_time=attempt.began,
        run_name=f"{facts.model} {facts.dataset} {facts.seed}",
        tags={"identity": facts.identity, "attempt": attempt.key},
    )
    return made.info.run_id


def experiment_id_of(client: "MlflowClient", uri: str, name: str) -> str:
    """The id of an experiment, which another process may be making at the same time."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=artifact_root(uri))
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
        found = client.get_experiment_by_name(name)
        assert found is not None, "an experiment that already exists can be found"
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow at {public(uri)}: experiment '{name}' was deleted there; "
            f"restore it (mlflow experiments restore -x {found.experiment_id}) or choose another name"
        )
    return found.experiment_id


def _points(lines: Sequence[Line]) -> "Iterator[Metric]":
    from mlflow.entities import Metric

    for line in lines:
        for name, value in line.values.items():
            yield Metric(name, value, line.time, line.step)


def _missing(client: "MlflowClient", run_id: str, lines: Sequence[Line]) -> "list[Metric]":
    """The points that the server does not have: a step that was measured again with the same result is not new."""
    points = list(_points(lines))
    there = {
        (name, metric.step, metric.value)
        for name in client.get_run(run_id).data.metrics
        for metric in client.get_metric_history(run_id, name)
    }
    return [point for point in points if (point.key, point.step, point.value) not in there]


def _describe(client: "MlflowClient", run_id: str, folder: Path) -> tuple[str, ...]:
    """Everything but the metrics. Returns the names of parameters that had to be shortened."""
    from mlflow.entities import Param

    facts, attempt = read_facts(folder)
    status = read_status(folder)
    config = read_config(folder / CONFIG)
    parameters, shortened = shorten(flatten(identifying(config, facts.origin)))
    there = client.get_run(run_id).data.params
    new = {name: value for name, value in parameters.items() if name not in there}
    client.log_batch(run_id, params=[Param(name, value) for name, value in new.items()])
    tags = {name: str(value) for name, value in asdict(facts).items() if value is not None}
    tags |= {"attempt": attempt.key, "state": status.state, "reason": status.reason or ""}
    if shortened:
        tags["shortened_parameters"] = ", ".join(shortened)
    # MLflow never changes a parameter, and refuses all others beside one that differs.
    if changed := [name for name, value in parameters.items() if there.get(name, value) != value]:
        tags["changed_parameters"] = f"shown as first sent: {', '.join(changed)}"
    set_tags(client, run_id, tags)
    _log_input(client, run_id, facts)
    if status.state == "running":
        client.update_run(run_id, status=MLFLOW_STATES["running"])
        return shortened
    if (folder / RESULT).exists():
        client.log_artifact(run_id, str(folder / RESULT))
    with TemporaryDirectory() as made:
        copy = Path(made) / CONFIG
        copy.write_text(yaml.safe_dump(portable(config), sort_keys=False))
        client.log_artifact(run_id, str(copy))
        title = f"{facts.model} on {facts.dataset} ({facts.origin}), seed {facts.seed}"
        for picture in draw_curves(Journal(folder).read(), Path(made), title):
            client.log_artifact(run_id, str(picture), "curves")
    client.set_terminated(run_id, MLFLOW_STATES[status.state], end_time=status.time)
    return shortened


def _log_input(client: "MlflowClient", run_id: str, facts: Facts) -> None:
    """The data set by name and fingerprint; nothing of it is read."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"tags": {"origin": facts.origin, "fingerprint": facts.data}})
    data = Dataset(name=facts.dataset, digest=facts.data[:LONGEST_DIGEST], source_type="code", source=source)
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])


def set_tags(client: "MlflowClient", run_id: str, tags: dict[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _description(folder: Path) -> str:
    """Changes whenever `_describe` would send something else."""
    facts, attempt = read_facts(folder)
    result = (folder / RESULT).read_bytes() if (folder / RESULT).exists() else b""
    parts = [asdict(facts), asdict(attempt), asdict(read_status(folder)), _digest(result)]
    return _digest(json.dumps(parts).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
