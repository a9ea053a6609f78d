"""Sends a run folder to a tracking server: idempotent, only what is missing."""

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
"""Lines of the journal after which it is noted that they were sent: what is cut off then goes on from there."""

LONGEST_DIGEST = 36
"""Characters of a data set's digest that MLflow stores."""

OWN_TAGS = ("attempt", "state", "reason", "shortened_parameters", "changed_parameters", "table", "figure", "runs")
"""Tags that are set here, beside those of a run's facts."""

LONGEST_NAME = 250
"""Characters of a run's name that MLflow stores."""

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
        DamagedFileError: the folder is not that of a run, or a file in it is damaged; nothing was sent then.
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
    """Points that the server lacks, reasons of undefined metrics, and the bytes of the journal up to there."""
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
    if found := _of_attempt(client, experiment_id, folder):
        return found[0].info.run_id
    made = client.create_run(
        experiment_id,
        start_time=attempt.began,
        run_name=facts.title[:LONGEST_NAME],
        tags={"identity": facts.identity, "attempt": attempt.key},
    )
    return made.info.run_id


def _of_attempt(client: "MlflowClient", experiment_id: str, folder: Path) -> "list[Run]":
    """MLflow's runs of this attempt, the one with most metrics first: there are several if an answer came too late."""
    facts, attempt = read_facts(folder)
    same = f"tags.identity = '{facts.identity}' and tags.attempt = '{attempt.key}'"
    found: list[Run] = list(client.search_runs([experiment_id], filter_string=same, max_results=100))
    return sorted(found, key=lambda run: (-len(run.data.metrics), run.info.run_id))


def _close_orphans(client: "MlflowClient", folder: Path, run_id: str) -> None:
    """Delete other MLflow runs of this attempt: a server made one although the request for it had timed out."""
    for run in _of_attempt(client, client.get_run(run_id).info.experiment_id, folder):
        if run.info.run_id != run_id:
            client.delete_run(run.info.run_id)


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
    parameters, shortened = shorten(flatten(identity_config(config, facts.origin)))
    there = client.get_run(run_id).data.params
    new = {name: value for name, value in parameters.items() if name not in there}
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
    # State first: if time runs out, a run that lacks its configuration is better than one that says RUNNING for ever.
    client.set_terminated(run_id, MLFLOW_STATES[status.state], end_time=status.time)
    with TemporaryDirectory() as made:
        copy = Path(made) / CONFIG
        copy.write_text(yaml.safe_dump(shareable_config(config), sort_keys=False))
        client.log_artifact(run_id, str(copy))
    if (folder / ANALYSIS).is_dir():
        client.log_artifacts(run_id, str(folder / ANALYSIS), ANALYSIS)
    return shortened


def _log_input(client: "MlflowClient", run_id: str, facts: RunInfo) -> None:
    """The data set by name and fingerprint; nothing of it is read."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    source = json.dumps({"tags": {"origin": facts.origin, "fingerprint": facts.data}})
    data = Dataset(name=facts.dataset, digest=facts.data[:LONGEST_DIGEST], source_type="code", source=source)
    inputs = [DatasetInput(data, [InputTag("mlflow.data.context", "training")])]
    try:
        client.log_inputs(run_id, inputs)
    except MlflowException:  # two processes added one data set at once: MLflow looks first, and its database refuses
        client.log_inputs(run_id, inputs)


def set_tags(client: "MlflowClient", run_id: str, tags: dict[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
