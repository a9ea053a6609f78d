"""Connections to MLflow: environment variables, SQLite database, clients, and errors that say what to do.

MLflow takes a second or two to import, so it is only imported inside functions.
"""

import logging
import os
import socket
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from mtlbench.files import atomic
from mtlbench.locking import locked
from mtlbench.tracking.credentials import RedactingFilter, complete, redacted, withheld, without_password
from mtlbench.tracking.files import DamagedFileError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENVIRONMENT = {
    # Two attempts of three seconds: MLflow's default, seven attempts of two minutes, would delay a run by minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    # No telemetry.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Environment variables set before MLflow is imported, unless the user has set them."""

DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"


class TrackingError(ConnectionError):
    """MLflow could not be reached, or rejected a request; the run folder is complete and can be sent later."""


def tracking_uri(configured: str | None, runs: Path) -> str:
    """The tracking URI: ``run.tracker.uri``, else ``MLFLOW_TRACKING_URI``, else the database beside the runs."""
    if configured:
        return configured
    if named := os.environ.get("MLFLOW_TRACKING_URI"):
        _tell_of_environment(without_password(named))
        return withheld(named)
    return default_uri(runs)


@cache
def _tell_of_environment(uri: str) -> None:
    print(f"tracker: {uri}, set by MLFLOW_TRACKING_URI (run.tracker.uri=<uri> overrides it)", file=sys.stderr)  # noqa: T201


def default_uri(runs: Path) -> str:
    """The URI of the SQLite database beside the runs, the default if no tracking server is set."""
    return sqlite_uri(runs.absolute() / DATABASE)


def sqlite_uri(path: Path) -> str:
    """The URI of a SQLite file. Only characters with a meaning in URIs are quoted, so that paths stay readable."""
    quoted = str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    return f"sqlite:///{quoted}"


def connect(uri: str) -> "MlflowClient":
    """A client for a tracking URI; a missing SQLite database is created atomically, by one process.

    Raises:
        TrackingError: the server does not answer, or the database is not one of this version of MLflow.
    """
    uri = withheld(uri)
    load_mlflow(uri)
    from mlflow import MlflowClient

    with errors_of(uri), _no_stray_folder(uri):
        if (whole := complete(uri)) != uri:  # MLflow prints links to a run that contain the password
            os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        client = MlflowClient(tracking_uri=whole)
        client.search_experiments(max_results=1)
    return client


def load_mlflow(uri: str) -> None:
    """Import MLflow and create a missing SQLite database, which takes seconds of local CPU time.

    If a server refuses connections, this raises before the import.

    Raises:
        TrackingError: the server refuses connections, or the database cannot be created.
    """
    with errors_of(uri):
        parts = urlsplit(uri)
        if parts.scheme in ("http", "https") and not getproxies():
            address = (parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme])
            socket.create_connection(address, timeout=float(ENVIRONMENT["MLFLOW_HTTP_REQUEST_TIMEOUT"])).close()
        import_mlflow()
        if parts.scheme == "sqlite" and sqlite_path(uri) is None:
            raise TrackingError(
                f"MLflow at {uri}: a SQLite database in memory is lost with its process; use a file, sqlite:///<path>"
            )
        _create_database(uri)


def check(uri: str) -> None:
    """Check that a server responds, or that a database can be opened.

    Raises:
        TrackingError: it does not respond like MLflow.
    """
    connect(uri)


def import_mlflow() -> None:
    """Import MLflow with short time-outs, without log output and without telemetry."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # MLflow 3.17 uses features deprecated in SQLAlchemy 2.1; users cannot act on that.
        warnings.simplefilter("ignore", DeprecationWarning)
        import_module("mlflow.store.tracking.sqlalchemy_store")
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # after the import, which sets it to INFO
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # mtlbench reports failures itself
    for name in ("mlflow", "alembic", "sqlalchemy", "urllib3", ""):
        for handler in logging.getLogger(name).handlers:
            if not any(isinstance(known, RedactingFilter) for known in handler.filters):
                handler.addFilter(RedactingFilter())


@contextmanager
def errors_of(uri: str) -> Generator[None]:
    """Turn any error of MLflow, its database, its drivers or the connection into a `TrackingError` with the server."""
    before = sys.exc_info()[1]  # the error that stopped the run, if a failed run is being sent
    try:
        yield
    except (TrackingError, DamagedFileError):  # already explained
        raise
    except Exception as error:  # a missing driver is an ImportError, a wrong answer a KeyError
        raise TrackingError(f"MLflow at {without_password(uri)}: {_shown(error, before)}") from error


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite URI, or ``None`` for any other."""
    if not uri.startswith("sqlite:"):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(uri).database
    return Path(database).absolute() if database and database != ":memory:" else None


def artifact_root(uri: str) -> str | None:
    """The artifact location: beside a SQLite database; ``None`` for a server, which has its own."""
    path = sqlite_path(uri)
    return None if path is None else (path.parent / ARTIFACTS).as_uri()


def _create_database(uri: str) -> None:
    """Create a SQLite database under a temporary name and rename it when complete.

    MLflow's migrations are not atomic: processes that start at the same time on a missing database all fail and leave a
    file that cannot be opened.
    """
    path = sqlite_path(uri)
    if path is None or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with atomic(path) as beside, _no_stray_folder(sqlite_uri(beside)):
            SqlAlchemyStore(sqlite_uri(beside), artifact_root(uri)).engine.dispose()


@contextmanager
def _no_stray_folder(uri: str) -> Generator[None]:
    """Remove the folders that MLflow 3.17 creates by mistake, by using the quoted path of a database as its path."""
    path = Path(uri.removeprefix("sqlite:///")).parent
    stray = [folder for folder in (path, *path.parents) if "%" in str(folder) and not folder.exists()]
    try:
        yield
    finally:
        for folder in stray if uri.startswith("sqlite:///") else ():
            with suppress(OSError):
                folder.rmdir()


def _shown(error: BaseException, before: BaseException | None) -> str:
    """The first line of an error and its root cause (such as a refused connection), without passwords.

    Python chains an error to one that was being handled `before`, which is not a cause.
    """
    bottom = error
    while (below := bottom.__cause__ or bottom.__context__) is not None and below is not before:
        bottom = below
    text = (redacted(str(error)) or type(error).__name__).partition("\n")[0]
    return text if bottom is error else f"{text[:100]}... [{type(bottom).__name__}: {redacted(str(bottom))[:100]}]"
