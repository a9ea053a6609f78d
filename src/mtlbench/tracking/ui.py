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
    """What to give `subprocess.Popen`: ``Popen(command.arguments, cwd=command.folder, env=command.environment)``."""

    arguments: list[str]
    folder: Path
    environment: dict[str, str]
    address: str


def ui(uri: str, port: int = 5000) -> ServerCommand:
    """The command of an MLflow server that shows a SQLite database.

    As it comes, that server runs 15 processes and 2.6 GB, most of them for scheduled jobs that nobody here has;
    without those and with one worker it is two processes and about 530 MB.

    Raises:
        ValueError: `uri` is a server (it has a user interface of its own), or a database that is not there.
    """
    path = sqlite_path(uri)
    if path is None:
        raise ValueError(
            f"tracker.uri is {without_password(uri)}: not a SQLite file; open the server's address in a browser"
        )
    if not path.exists():
        raise ValueError(f"{path} is missing: no run was sent there yet; train one, or run mtlbench sync")
    root = artifact_root(uri)
    assert root is not None, "artifacts lie beside a SQLite file"
    # The file by its name in its folder: nothing of the path has to be quoted, which MLflow's server gets wrong.
    database = sqlite_uri(Path(path.name))
    arguments = [sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", database]
    arguments += ["--default-artifact-root", root]
    arguments += ["--no-serve-artifacts", "--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {**ENVIRONMENT, **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return ServerCommand(
        arguments=arguments, folder=path.parent, environment=environment, address=f"http://{HOST}:{port}"
    )


def runs_page(address: str, uri: str, experiment: str | None) -> str:
    """Where a server at `address` lists the runs of an experiment, with a column for each task's test metric.

    The front page, where there is no such experiment, is about language models, and training runs are two clicks away
    from it.

    Raises:
        TrackingError: the database is not one of this MLflow.
    """
    client = connect(uri)
    found = client.get_experiment_by_name(experiment) if experiment else None
    if found is None:
        return address
    save_view(client, found.experiment_id)
    return f"{address}/#/experiments/{found.experiment_id}/runs?workflowType=machine_learning&{PARAMETER}"
