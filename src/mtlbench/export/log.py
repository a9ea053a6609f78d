"""Logs an exported model to MLflow, under the run that trained it."""

from pathlib import Path

from mtlbench.experiment.errors import ConfigError
from mtlbench.tracking.connect import connect, errors_of, tracking_uri
from mtlbench.tracking.credentials import without_password
from mtlbench.tracking.folder import CONFIG, read_facts
from mtlbench.tracking.parameters import read_config
from mtlbench.tracking.send import send


def log_model(run_folder: Path, model: Path) -> str:
    """Send the rest of a run, and its exported folder as a logged model; returns the model's URI.

    Raises:
        ConfigError: the run was trained with tracker=none.
        TrackingError: the server could not be reached or rejected a request.
    """
    tracker = read_config(run_folder / CONFIG)["run"]["tracker"]
    if tracker["experiment"] is None:
        raise ConfigError(
            f"--log: run {run_folder.name} has tracker=none, so it has no server. {model} was written, and MLflow can "
            "serve it from there"
        )
    uri, facts = tracking_uri(tracker["uri"], run_folder.absolute().parent), read_facts(run_folder)[0]
    run_id = send(run_folder, uri, tracker["experiment"]).run_id
    client = connect(uri)
    from mlflow.entities import LoggedModelOutput

    with errors_of(uri):
        logged = client.create_logged_model(
            client.get_run(run_id).info.experiment_id,
            name=f"{facts.model}-{facts.dataset}-{facts.seed}",
            source_run_id=run_id,
            tags={"identity": facts.identity, "origin": facts.origin},
        )
        client.log_model_artifacts(logged.model_id, str(model))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return f"models:/{logged.model_id} in MLflow at {without_password(uri)}"
