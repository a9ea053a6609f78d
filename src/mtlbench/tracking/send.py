"""Sends a run folder to a tracking server, idempotently: only what the server lacks."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import yaml
from filelock import Timeout

from mtlbench.locking import locked
from mtlbench.tracking.connect import TrackingError, artifact_root, connect, errors_of, without_password
from mtlbench.tracking.folder import (
    ANALYSIS,
    CONFIG,
    RESULT,
    SENT,
    RunInfo,
    check_config_hash,
    check_journal,
    read_facts,
    read_result,
    read_status,
    write_json,
)
from mtlbench.tracking.journal import Journal, Line
from mtlbench.tracking.parameters import flatten, identity_config, read_config, shareable_config, shorten
from mtlbench.tracking.sent import Sent, description_digest, digest, own_facts, read_sent

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

LINES_PER_REQUEST = 1000
"""Lines of the journal per batch; progress is recorded after each, so that an interrupted send resumes there."""

LONGEST_DIGEST = 36
"""Maximum length of a data set's digest in MLflow, in characters."""

OWN_TAGS = ("attempt", "state", "reason", "shortened_parameters", "changed_parameters", "table", "figure", "runs")
"""Tags set by this module, besides those of a run's facts."""

LONGEST_NAME = 250
"""Maximum length of a run's name in MLflow, in characters."""

MLFLOW_STATES = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SendReport:
    """Report of one `send`.

    Attributes:
        run_id: MLflow's id of the run.
        points: number of metric values sent.
        described: whether parameters, tags, state or artifacts were sent.
        shortened: parameters shortened to MLflow's limit; the artifact ``config.yaml`` has the full values.
    """

    run_id: str
    points: int
    described: bool
    shortened: tuple[str, ...] = ()

    @property
    def up_to_date(self) -> bool:
        """Whether there was nothing to send."""
        return not self.points and not self.described


def send(folder: Path, uri: str, experiment: str) -> SendReport:
    """Send what the server does not have yet: parameters, tags, metrics, input data, state, artifacts.

    Can be called at any time and repeatedly, also while the run is training. The MLflow run is the one recorded in the
    folder, or found by the tags ``identity`` and ``attempt``, or created; a run deleted in MLflow is created again,
    since the copy follows the folder. If the journal was truncated below what was sent (the run was resumed from a
    checkpoint), it is compared with the server's values, and only differences are sent.

    Args:
        folder: the run folder.
        uri: tracking URI.
        experiment: name of the MLflow experiment; created if missing.

    Raises:
        TrackingError: the server could not be reached or rejected a request, or another process is sending this folder.
            Data already sent is kept, and sending again resumes from there.
        DamagedFileError: the folder is not that of a run, or a file in it is damaged; nothing was sent.
    """
    facts, _ = read_facts(folder)
    read_config(folder / CONFIG)
    check_config_hash(folder)
    read_sent(folder)
    if (folder / RESULT).exists():
        check_journal(folder)
    Journal(folder).read()
    try:
        with locked(folder / f".{SENT}.lock", timeout=0):
            client = connect(uri)
            with errors_of(uri):
                return _send(folder, client, uri, experiment)
    except Timeout as error:
        raise TrackingError(f"run {facts.identity} is being sent by another process") from error


def _send(folder: Path, client: "MlflowClient", uri: str, experiment: str) -> SendReport:
    memory = read_sent(folder)
    before = memory.get(without_password(uri))
    run_id = _remembered(client, before, experiment) or _found_or_made(client, folder, uri, experiment)
    if before is None or before.run_id != run_id:
        before = Sent(experiment=experiment, run_id=run_id, journal=0, journal_digest="", description="")

    def note(sent: Sent) -> None:
        if memory.get(without_password(uri)) != sent:
            memory[without_password(uri)] = sent
            write_json(folder / SENT, {name: asdict(each) for name, each in memory.items()})

    content = Journal(folder).content()
    points = described = 0
    sent = before
    for metrics, undefined, size in _batches(client, folder, content, before):
        client.log_batch(run_id, metrics=metrics)  # in requests of a thousand, 50 times faster than one by one
        if undefined:
            set_tags(client, run_id, {f"undefined/{name}": reason for name, reason in undefined.items()})
        points, described = points + len(metrics), described + len(undefined)
        sent = replace(sent, journal=size, journal_digest=digest(content[:size]))
        note(sent)

    description, shortened = description_digest(folder), ()
    if description != before.description:
        _close_orphans(client, folder, run_id)
        shortened = _describe(client, run_id, folder)
        described += 1
    note(replace(sent, journal=len(content), journal_digest=digest(content), description=description))
    return SendReport(run_id=run_id, points=points, described=bool(described), shortened=shortened)


def _batches(
    client: "MlflowClient", folder: Path, content: bytes, before: Sent
) -> "Iterator[tuple[list[Metric], dict[str, str], int]]":
    """Batches of points that the server lacks, reasons of undefined metrics, and bytes of the journal sent so far."""
    journal = Journal(folder)
    if digest(content[: before.journal]) != before.journal_digest:
        lines = journal.parse(content)
        reasons = {name: f"step {line.step}: {reason}" for line in lines for name, reason in line.undefined.items()}
        yield _missing(client, before.run_id, lines), reasons, len(content)
        return
    texts = content[before.journal :].splitlines(keepends=True)
    size = before.journal
    for start in range(0, len(texts), LINES_PER_REQUEST):
        part = b"".join(texts[start : start + LINES_PER_REQUEST])
        size += len(part)
        lines = journal.parse(part)
        reasons = {name: f"step {line.step}: {reason}" for line in lines for name, reason in line.undefined.items()}
        yield list(_points(lines)), reasons, size


def _remembered(client: "MlflowClient", sent: Sent | None, experiment: str) -> str | None:
    """The MLflow run used before, unless it was deleted or belongs to another experiment."""
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
    if found := _of_attempt(client, experiment_id, folder):
        return found[0].info.run_id
    created = client.create_run(
        experiment_id,
        start_time=attempt.began,
        run_name=facts.title[:LONGEST_NAME],
        tags={"identity": facts.identity, "attempt": attempt.key},
    )
    return created.info.run_id


def _of_attempt(client: "MlflowClient", experiment_id: str, folder: Path) -> "list[Run]":
    """MLflow's runs of this attempt, most metrics first; there may be several if a response came too late."""
    facts, attempt = read_facts(folder)
    query = f"tags.identity = '{facts.identity}' and tags.attempt = '{attempt.key}'"
    found: list[Run] = list(client.search_runs([experiment_id], filter_string=query, max_results=100))
    return sorted(found, key=lambda run: (-len(run.data.metrics), run.info.run_id))


def _close_orphans(client: "MlflowClient", folder: Path, run_id: str) -> None:
    """Delete duplicate MLflow runs of this attempt, which a server created although the request had timed out."""
    for run in _of_attempt(client, client.get_run(run_id).info.experiment_id, folder):
        if run.info.run_id != run_id:
            client.delete_run(run.info.run_id)


def experiment_id_of(client: "MlflowClient", uri: str, name: str) -> str:
    """The id of an experiment, created if missing; another process may be creating it at the same time."""
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
            f"MLflow at {without_password(uri)}: experiment '{name}' was deleted there; "
            f"restore it (mlflow experiments restore -x {found.experiment_id}) or choose another name"
        )
    return found.experiment_id


def _points(lines: Sequence[Line]) -> "Iterator[Metric]":
    from mlflow.entities import Metric

    for line in lines:
        for name, value in line.values.items():
            yield Metric(name, value, line.time, line.step)


def _missing(client: "MlflowClient", run_id: str, lines: Sequence[Line]) -> "list[Metric]":
    """The points that the server does not have; a step measured again with the same result is not new."""
    points = list(_points(lines))
    stored = {
        (name, metric.step, metric.value)
        for name in client.get_run(run_id).data.metrics
        for metric in client.get_metric_history(run_id, name)
    }
    return [point for point in points if (point.key, point.step, point.value) not in stored]


def _describe(client: "MlflowClient", run_id: str, folder: Path) -> tuple[str, ...]:
    """Send everything except metrics; returns the names of shortened parameters."""
    from mlflow.entities import Param

    facts, attempt = read_facts(folder)
    status = read_status(folder)
    config = read_config(folder / CONFIG)
    parameters, shortened = shorten(flatten(identity_config(config, facts.origin)))
    stored = client.get_run(run_id).data.params
    new = {name: value for name, value in parameters.items() if name not in stored}
    client.log_batch(run_id, params=[Param(name, value) for name, value in new.items()])
    if facts.name is not None:
        client.update_run(run_id, name=facts.name)
    tags = facts.tags | {name: str(value) for name, value in own_facts(facts).items() if value is not None}
    tags |= {"overrides": " ".join(facts.overrides)} if facts.overrides else {}
    tags |= {"mlflow.note.content": facts.notes} if facts.notes else {}
    tags |= {"mlflow.source.name": f"mtlbench {facts.commit}", "mlflow.source.type": "LOCAL"}
    tags |= {"attempt": attempt.key, "state": status.state, "reason": status.reason or ""}
    if (folder / RESULT).exists() and (found := read_result(folder).convergence) is not None:
        tags["converged"] = "yes" if found.converged else "no"
    if shortened:
        tags["shortened_parameters"] = ", ".join(shortened)
    # MLflow never changes a parameter, and rejects a whole batch if one parameter differs.
    if changed := [name for name, value in parameters.items() if stored.get(name, value) != value]:
        tags["changed_parameters"] = f"shown as first sent: {', '.join(changed)}"
    set_tags(client, run_id, tags)
    _log_input(client, run_id, facts)
    if status.state == "running":
        client.update_run(run_id, status=MLFLOW_STATES["running"])
        return shortened
    if (folder / RESULT).exists():
        client.log_artifact(run_id, str(folder / RESULT))
    # State first: if time runs out, a run without its configuration is better than one that stays RUNNING for ever.
    client.set_terminated(run_id, MLFLOW_STATES[status.state], end_time=status.time)
    with TemporaryDirectory() as made:
        copy = Path(made) / CONFIG
        copy.write_text(yaml.safe_dump(shareable_config(config), sort_keys=False))
        client.log_artifact(run_id, str(copy))
    if (folder / ANALYSIS).is_dir():
        client.log_artifacts(run_id, str(folder / ANALYSIS), ANALYSIS)
    return shortened


def _log_input(client: "MlflowClient", run_id: str, facts: RunInfo) -> None:
    """MLflow's data set input, by name and fingerprint, without reading any data."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    source = json.dumps({"tags": {"origin": facts.origin, "fingerprint": facts.data}})
    data = Dataset(name=facts.dataset, digest=facts.data[:LONGEST_DIGEST], source_type="code", source=source)
    inputs = [DatasetInput(data, [InputTag("mlflow.data.context", "training")])]
    try:
        client.log_inputs(run_id, inputs)
    except (
        MlflowException
    ):  # two processes added the same data set at once, which violates a constraint of MLflow's database
        client.log_inputs(run_id, inputs)


def set_tags(client: "MlflowClient", run_id: str, tags: dict[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
