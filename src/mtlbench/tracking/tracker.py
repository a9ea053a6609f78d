"""Sending to MLflow while a run goes on, without ever disturbing it; and sending afterwards, with `sync`."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlbench.tracking.connect import TrackingError, connect, default_uri, public
from mtlbench.tracking.folder import FACTS, read_status
from mtlbench.tracking.send import is_sent, send

PATIENCE = 10.0
"""Seconds that a send may take during training; after a slower one the rest waits for the end of the run."""

REST = 300.0
"""Seconds in which a server that failed a run is not asked by the next ones of this process."""

_failed: dict[str, float] = {}
"""When a server last failed a run, on the monotonic clock, by its URI."""

_log = logging.getLogger(__name__)


class Tracker:
    """Sends one run's folder at the ends of its epochs and of the run. What fails is logged, never raised.

    After a failure nothing is tried again until the end of the run, so that a dead server costs a run its time-out
    (six seconds, see `connect.ENVIRONMENT`) twice, and not once per epoch. Runs that begin in this process soon after
    leave it alone altogether, so that it does not cost every run of a table as much.
    """

    def __init__(self, *, uri: str, experiment: str) -> None:
        self.uri = uri
        self.experiment = experiment
        self._alone = time.monotonic() - _failed.get(uri, -REST) < REST
        self._waits = self._alone

    def update(self, folder: Path) -> None:
        """Send what is new. Call it at the end of an epoch, after the checkpoint is written."""
        if self._waits:
            return
        began = time.monotonic()
        self._waits = self._send(folder) is not None or time.monotonic() - began > PATIENCE

    def finish(self, folder: Path) -> None:
        """Send the rest, whatever failed before. Call it at the very end, after the status is written."""
        problem = TrackingError(f"MLflow at {public(self.uri)}: it failed a moment ago") if self._alone else None
        problem = problem or self._send(folder)
        if isinstance(problem, OSError) and not self._alone:
            leave_alone(self.uri)
        if problem is not None:
            _log.warning(
                "run %s was not sent: %s\nSend it later: mtlbench sync run.folder=%s run.tracker.uri=%s",
                folder.name,
                problem,
                folder.parent,
                public(self.uri),
            )

    def _send(self, folder: Path) -> Exception | None:
        try:
            send(folder, self.uri, self.experiment)
        except (ValueError, OSError) as problem:
            # All that a server (TrackingError), a file system or a damaged file can raise: no copy is worth a run.
            return problem
        return None


def leave_alone(uri: str) -> None:
    """Note that a server failed; runs that begin in this process within `REST` seconds do not ask it."""
    _failed[uri] = time.monotonic()


def open_tracker(*, uri: str | None, experiment: str | None, runs: Path) -> Tracker | None:
    """The tracker that a configuration asks for.

    Args:
        uri: tracking URI; ``None`` means a SQLite database beside the runs.
        experiment: name of the MLflow experiment; ``None`` means that nothing is sent.
        runs: folder that holds the run folders.
    """
    return None if experiment is None else Tracker(uri=uri or default_uri(runs), experiment=experiment)


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncReport:
    """Names of run folders by what became of them; those that failed with the reason."""

    sent: tuple[str, ...]
    up_to_date: tuple[str, ...]
    failed: dict[str, str]


def unsent(runs: Path, uri: str, experiment: str) -> list[Path]:
    """Folders of runs that have ended and, as far as they remember, are not wholly at the server; nobody is asked."""
    folders: list[Path] = []
    for folder in sorted(path.parent for path in runs.glob(f"*/{FACTS}")):
        try:
            if read_status(folder).state != "running" and not is_sent(folder, uri, experiment):
                folders.append(folder)
        except ValueError:  # damaged: sending it says how
            folders.append(folder)
    return folders


def sync(runs: Path, uri: str | None, experiment: str, folders: Sequence[Path] | None = None) -> SyncReport:
    """Send run folders; one that cannot be sent does not stop the others.

    Args:
        runs: folder that holds the run folders.
        uri: tracking URI; ``None`` means a SQLite database beside the runs.
        experiment: name of the MLflow experiment.
        folders: what to send; default: every run folder below `runs`, by name.

    Raises:
        TrackingError: the server does not answer, at the beginning or after a failure; what was sent stays.
    """
    uri = uri or default_uri(runs)
    connect(uri)
    sent, up_to_date, failed = [], [], {}
    for folder in sorted(path.parent for path in runs.glob(f"*/{FACTS}")) if folders is None else folders:
        try:
            (up_to_date if send(folder, uri, experiment).up_to_date else sent).append(folder.name)
        except (TrackingError, ValueError) as problem:
            failed[folder.name] = str(problem)
            connect(uri)  # a server that is gone would fail every folder after its time-out
    return SyncReport(sent=tuple(sent), up_to_date=tuple(up_to_date), failed=failed)
