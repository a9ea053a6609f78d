"""A Slurm cluster of one node with accounting, started without systemd: munged, mariadbd, slurmdbd, slurmctld, slurmd.

    python tests/cluster/slurm.py FOLDER      starts it, prints the environment that Slurm's commands need, and waits

Everything that the daemons write lies in one folder, which must be on a path short enough for a Unix socket. Needs root
and, from the package manager, ``slurm-wlm slurmdbd munge mariadb-server`` (Debian's names).
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd")
NODE = "node1"
PARTITION = "main"
KILL_WAIT = 5
"""Seconds between SIGTERM and SIGKILL of a job that is cancelled or out of time."""

PATIENCE = 90
"""Seconds for a daemon to answer."""


@dataclass(frozen=True, slots=True)
class Slurm:
    """A running cluster, by the environment that its commands need."""

    environment: dict[str, str]

    def ask(self, *words: str) -> str:
        """What a command of Slurm prints.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        return subprocess.run(
            words, env=os.environ | self.environment, text=True, check=True, stdout=subprocess.PIPE
        ).stdout

    def running(self) -> list[str]:
        """Ids of the jobs that run now."""
        return self.ask("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i").split()

    def release(self) -> None:
        """Start jobs at once that were submitted again, for which Slurm otherwise waits two minutes."""
        for job in self.ask("squeue", "--noheader", "--array", "--states=PENDING", "--format=%i").split():
            with suppress(subprocess.CalledProcessError):  # it has begun by now
                self.ask("scontrol", "update", f"jobid={job}", "StartTime=now")


def missing() -> str | None:
    """Why no cluster can be started here, if so."""
    if os.geteuid():
        return "Slurm's daemons are started by root"
    absent = [name for name in DAEMONS if shutil.which(name, path=_path()) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


@contextmanager
def slurm(folder: Path, cores: int = 2) -> Generator[Slurm]:
    """A cluster, until the end of the block.

    Args:
        folder: for configuration, state, logs and sockets; made if missing.
        cores: that its node offers.

    Raises:
        TimeoutError: a daemon does not answer; its log is in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    ports = _free_ports(4)
    _write_configuration(folder, cores, ports)
    cluster = Slurm(environment)
    with ExitStack() as daemons:

        def start(*words: str | Path) -> None:
            daemons.enter_context(_daemon(folder, [str(word) for word in words], environment))

        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o400)
        places = [f"--{name}={folder / file}" for name, file in _MUNGE.items()]
        start("munged", "--foreground", "--force", *places)
        _wait("munged", (folder / "munge.sock").exists)

        _prepare_database(folder, environment)
        start("mariadbd", *_mariadb(folder), f"--port={ports[0]}", "--bind-address=127.0.0.1")
        _wait("mariadbd", lambda: _listens(ports[0]))
        start("slurmdbd", "-D")
        _wait("slurmdbd", lambda: _listens(ports[1]))
        start("slurmctld", "-D", "-f", folder / "slurm.conf")
        _wait("slurmctld", lambda: _listens(ports[2]))
        start("slurmd", "-D", "-f", folder / "slurm.conf", "-N", NODE)
        _wait("slurmd", lambda: "idle" in cluster.ask("sinfo", "--noheader", "--format=%t"))
        try:
            yield cluster
        finally:  # steps outlive the daemons
            cluster.ask("scancel", "--user=root")
            _wait("scancel", lambda: not cluster.running())


_MUNGE = {
    "socket": "munge.sock",
    "key-file": "munge.key",
    "pid-file": "munged.pid",
    "seed-file": "munge.seed",
    "log-file": "munged.log",
}
_PASSWORD = "accounting"


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _write_configuration(folder: Path, cores: int, ports: Sequence[int]) -> None:
    database, accounting, controller, node = ports
    here = socket.gethostname()
    munge = f"AuthType=auth/munge\nAuthInfo=socket={folder / 'munge.sock'}\n"
    (folder / "slurmdbd.conf").write_text(
        munge
        + f"DbdHost={here}\nDbdAddr=127.0.0.1\nDbdPort={accounting}\nSlurmUser=root\n"
        + f"LogFile={folder / 'slurmdbd.log'}\nPidFile={folder / 'slurmdbd.pid'}\n"
        + f"StorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\nStoragePort={database}\n"
        + f"StorageUser=slurm\nStoragePass={_PASSWORD}\nStorageLoc=accounting\n"
    )
    (folder / "slurmdbd.conf").chmod(0o600)
    (folder / "slurm.conf").write_text(
        munge
        + f"ClusterName=tests\nSlurmctldHost={here}(127.0.0.1)\nSlurmctldPort={controller}\nSlurmUser=root\n"
        + f"StateSaveLocation={folder / 'controller'}\nSlurmdSpoolDir={folder / 'node'}\n"
        + "".join(f"{name}PidFile={folder / name.lower()}.pid\n" for name in ("Slurmctld", "Slurmd"))
        + f"SlurmctldLogFile={folder / 'slurmctld.log'}\nSlurmdLogFile={folder / 'slurmd.log'}\n"
        + "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
        + f"AccountingStoragePort={accounting}\nAccountingStoragePass={folder / 'munge.sock'}\n"
        + "JobAcctGatherType=jobacct_gather/none\n"
        + "ProctrackType=proctrack/pgid\nTaskPlugin=task/none\nMpiDefault=none\n"
        + "SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n"
        + f"ReturnToService=2\nJobRequeue=1\nKillWait={KILL_WAIT}\nMinJobAge=300\n"
        + "SchedulerParameters=bf_interval=5,sched_interval=5\n"
        + f"NodeName={NODE} NodeHostname={here} NodeAddr=127.0.0.1 Port={node} CPUs={cores} State=UNKNOWN\n"
        + f"PartitionName={PARTITION} Nodes={NODE} Default=YES MaxTime=INFINITE State=UP OverTimeLimit=0\n"
    )


def _prepare_database(folder: Path, environment: dict[str, str]) -> None:
    data = folder / "mariadb"
    if data.exists():
        return
    made = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"]
    subprocess.run(made, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
    (folder / "init.sql").write_text(
        "CREATE DATABASE accounting;\n"
        f"CREATE USER 'slurm'@'%' IDENTIFIED BY '{_PASSWORD}';\n"
        "GRANT ALL ON accounting.* TO 'slurm'@'%';\n"
    )


def _mariadb(folder: Path) -> list[str]:
    return [
        "--no-defaults",
        "--user=root",
        f"--datadir={folder / 'mariadb'}",
        f"--socket={folder / 'mariadb.sock'}",
        f"--pid-file={folder / 'mariadb.pid'}",
        f"--init-file={folder / 'init.sql'}",
        "--innodb-flush-log-at-trx-commit=0",
    ]


@contextmanager
def _daemon(folder: Path, words: list[str], environment: dict[str, str]) -> Generator[None]:
    """A daemon in the foreground of a process of its own, its output in ``<name>.out``."""
    with (folder / f"{words[0]}.out").open("ab") as output:
        process = subprocess.Popen(
            words, env=os.environ | environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def _wait(name: str, answers: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if answers():
                return
        except (OSError, subprocess.CalledProcessError):
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{name} does not answer after {PATIENCE} s; see its log and {name}.out")


if __name__ == "__main__":
    with slurm(Path(sys.argv[1]).absolute()) as started:
        sys.stdout.write(f"SLURM_CONF={started.environment['SLURM_CONF']}\n")
        sys.stdout.flush()
        signal.sigwait([signal.SIGINT, signal.SIGTERM])
