"""Starts MLflow's user interface on a run folder's database, for this machine only."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from mtlbench.tracking.connect import ENVIRONMENT, artifact_root, connect, sqlite_path, sqlite_uri
from mtlbench.tracking.credentials import without_password
from mtlbench.tracking.saved_view import PARAMETER, save_view

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerCommand:
    """Arguments of `subprocess.Popen`: ``Popen(command.arguments, cwd=command.folder, env=command.environment)``."""

    arguments: list[str]
    folder: Path
    environment: dict[str, str]
    address: str


def ui(uri: str, port: int = 5000) -> ServerCommand:
    """The command of an MLflow server that shows a SQLite database.

    By default that server takes 15 processes and 2.6 GB, mostly for scheduled jobs, which are not used here; without
    those and with one worker it takes two processes and about 530 MB.

    Raises:
        ValueError: `uri` is a server (which has its own user interface), or a missing database.
    """
    path = sqlite_path(uri)
    if path is None:
        raise ValueError(
            f"tracker.uri is {without_password(uri)}: not a SQLite file; open the server's address in a browser"
        )
    if not path.exists():
        raise ValueError(f"{path} is missing: no run has been sent yet; train one, or run mtlbench sync")
    root = artifact_root(uri)
    assert root is not None, "artifacts are stored beside a SQLite file"
    # By file name within its folder: MLflow's server mishandles paths that need quoting.
    database = sqlite_uri(Path(path.name))
    arguments = [sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", database]
    arguments += ["--default-artifact-root", root]
    arguments += ["--no-serve-artifacts", "--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {**ENVIRONMENT, **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return ServerCommand(
        arguments=arguments, folder=path.parent, environment=environment, address=f"http://{HOST}:{port}"
    )


def runs_page(address: str, uri: str, experiment: str | None) -> str:
    """The address of an experiment's list of runs on a server at `address`, with a column for each task's test metric.

    If there is no such experiment, the front page, which is about language models, two clicks away from training runs.

    Raises:
        TrackingError: the database is not one of this version of MLflow.
    """
    client = connect(uri)
    found = client.get_experiment_by_name(experiment) if experiment else None
    if found is None:
        return address
    save_view(client, found.experiment_id)
    return f"{address}/#/experiments/{found.experiment_id}/runs?workflowType=machine_learning&{PARAMETER}"
