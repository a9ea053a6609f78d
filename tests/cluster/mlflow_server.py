"""The tracking server of a team: MLflow with basic authentication on a PostgreSQL database, artifacts through it.

    python tests/cluster/mlflow_server.py FOLDER      starts both, prints the address with user and password, and waits

Needs, from the package manager, ``postgresql`` (started as the user ``postgres`` where this is root, since PostgreSQL
refuses to run as root), and the extra ``server`` (``pip install -e ".[server]"``).
"""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "admin", "a password of sixteen"
PATIENCE = 180
"""Seconds for a server to answer; MLflow makes its tables first."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its port, and a whole address with percent-encoded user and password."""

    port: int

    @property
    def uri(self) -> str:
        return f"http://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}"

    @property
    def public_uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def missing() -> str | None:
    """Why no such server can be started here, if so."""
    if _program("postgres") is None:
        return "PostgreSQL is not installed"
    absent = [name for name in ("psycopg2", "flask_wtf") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)} (extra 'server')" if absent else None


@contextmanager
def team_server(folder: Path, workers: int = 2) -> Generator[Server]:
    """PostgreSQL and MLflow, until the end of the block.

    Args:
        folder: for the database, artifacts and logs; made if missing, and given to the user ``postgres`` under root.
        workers: processes of MLflow's server.

    Raises:
        TimeoutError: one of them does not answer; its log is in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        database = stack.enter_context(_postgres(folder))
        (folder / "auth.ini").write_text(
            f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {database}\nadmin_username = {USER}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "grant_default_workspace_access = false\nauth_cache_ttl_seconds = 60\n"
        )
        port = _free_port()
        words = [
            *("--app-name", "basic-auth", "--backend-store-uri", database, "--workers", str(workers)),
            *("--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)),
        ]
        own = {
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        stack.enter_context(_process([sys.executable, "-m", "mlflow", "server", *words], folder / "mlflow.log", own))
        _wait("MLflow", lambda: _refuses_strangers(port), folder / "mlflow.log")
        yield Server(port)


@contextmanager
def _postgres(folder: Path) -> Generator[str]:
    """A database of its own; its address."""
    home = folder / "postgres"
    home.mkdir()
    if os.geteuid() == 0:
        shutil.chown(home, "postgres")
    data, port = home / "data", _free_port()
    made = _as_postgres([_program("initdb") or "", "-D", str(data), "--auth=trust", "--username=postgres", "-N"])
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/")
    words = ["-D", str(data), "-p", str(port), "-k", str(home), "-c", "fsync=off", "-h", "127.0.0.1"]
    with _process(_as_postgres([_program("postgres") or "", *words]), folder / "postgres.log", {}, signal.SIGINT):
        ready = [_program("pg_isready") or "", "-h", "127.0.0.1", "-p", str(port)]
        _wait("PostgreSQL", lambda: _succeeds(ready), folder / "postgres.log")
        yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres"


def _program(name: str) -> str | None:
    """PostgreSQL's programs, which Debian keeps out of the PATH, of the newest version there."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(versions[-1]) if versions else shutil.which(name)


def _as_postgres(words: list[str]) -> list[str]:
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *words] if os.geteuid() == 0 else words


@contextmanager
def _process(
    words: Sequence[str], log: Path, environment: dict[str, str], stop: signal.Signals = signal.SIGTERM
) -> Generator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, env=os.environ | environment, stdout=output, stderr=output, cwd="/", start_new_session=True
        )
    try:
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _succeeds(words: Sequence[str]) -> bool:
    return subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode == 0


def _refuses_strangers(port: int) -> bool:
    """Whether the server is up, and asks who one is."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1", timeout=5)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        pass
    return False


def _wait(name: str, answers: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not answers():
        if time.monotonic() > end:
            raise TimeoutError(f"{name} does not answer after {PATIENCE} s; see {log}")
        time.sleep(0.3)


if __name__ == "__main__":
    with team_server(Path(sys.argv[1]).absolute()) as started:
        sys.stdout.write(started.uri + "\n")
        sys.stdout.flush()
        signal.sigwait([signal.SIGINT, signal.SIGTERM])
