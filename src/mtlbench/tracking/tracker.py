"""Sending to MLflow beside training, and afterwards with `sync`.

The run folder is the queue: whatever its journal holds and the server lacks is sent next. The end of an epoch only
requests a send, and a send that fails loses nothing.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlbench.tracking.connect import TrackingError, check, load_mlflow, tracking_uri, without_password
from mtlbench.tracking.files import DamagedFileError
from mtlbench.tracking.folder import read_status, run_folders
from mtlbench.tracking.send import SendReport, send
from mtlbench.tracking.sent import is_sent, unsent_text
from mtlbench.tracking.worker import NoAnswerError, Worker, call, give_back, take

LOADING = 60.0
"""Seconds that importing MLflow and making a SQLite database may take, which goes on while the run trains."""

OPERATION = 120.0
"""Seconds that sending one run folder may take."""

WAIT = 10.0
"""Seconds that a run waits at its end for a server that has not failed it."""

SHARE = 0.02
"""Part of the run's own time that it waits, at most `WAIT`, for a server that has."""

RETRY = 60.0
"""Seconds after which a server that failed is asked again during the same run."""

COOLDOWN_SECONDS = 300.0
"""Seconds in which a server that failed a run is not asked by the next ones of this process."""

_failed: dict[str, float] = {}
"""When a server last failed a run, on the monotonic clock, by its URI."""

_log = logging.getLogger(__name__)


class Tracker:
    """Sends one run's folder from a worker process. It never waits before the end, and never raises.

    Runs that begin in this process soon after one that a server failed leave that server alone, so that it does not
    cost every run of a table its waiting time.
    """

    def __init__(self, *, uri: str, experiment: str) -> None:
        self.uri = uri
        self.experiment = experiment
        self._began = time.monotonic()
        self._alone = self._began - _failed.get(uri, -COOLDOWN_SECONDS) < COOLDOWN_SECONDS
        self._problem: Exception | None = TrackingError(f"MLflow at {without_password(uri)}: it failed a moment ago")
        self._problem = self._problem if self._alone else None
        self._asked = self._began
        self._worker: Worker | None = None

    def update(self, folder: Path) -> None:
        """Have what is new sent. Call it when the run begins and after every checkpoint of an epoch.

        Where the worker is still busy nothing happens: the next call sends this epoch too.
        """
        if self._alone:
            return
        try:
            self._collect()
            if self._worker is None and (self._problem is None or self._since_asked() > RETRY):
                self._ask(folder)
        except Exception as problem:  # noqa: BLE001  # no copy of a run is worth the run
            self._note(problem)

    def finish(self, folder: Path) -> None:
        """Send the rest, within a stated time. Call it at the very end, after the status is written."""
        try:
            if not self._alone:
                self._send_rest(folder)
        except Exception as problem:  # noqa: BLE001  # no copy of a run is worth the run
            self._note(problem)
        finally:
            self._stop()
        if self._problem is None:
            return
        if isinstance(self._problem, OSError) and not self._alone:  # no damaged file of the run: the server's fault
            back_off(self.uri)
        _log.warning(
            "run %s was not sent: %s (%s)\nSend it later: mtlbench sync run.folder=%s run.tracker.uri=%s",
            folder.name,
            self._problem,
            _left(folder, self.uri),
            folder.parent,
            without_password(self.uri),
        )

    def finish_unsent(self, folder: Path) -> None:
        """`finish` for a run that ended before, unless all of it was sent; one that was sent costs no time."""
        try:
            done = is_sent(folder, self.uri, self.experiment)
        except DamagedFileError:  # sending says what is wrong
            done = False
        if not done:
            self.finish(folder)

    def _send_rest(self, folder: Path) -> None:
        """Wait for the send that is under way, then for a last one, within one limit for both."""
        failed = self._problem is not None
        if failed and self._since_asked() < RETRY:
            return
        under_way = self._worker is not None
        worker = self._worker or self._ask(folder)
        if not failed and worker.pending > 1:  # importing MLflow is our own time, not the server's
            worker.answer(LOADING - self._since_asked())
        patience = min(WAIT, SHARE * (time.monotonic() - self._began)) if failed else WAIT
        ends = time.monotonic() + patience
        self._wait(ends, patience)
        if under_way and not is_sent(folder, self.uri, self.experiment):
            self._ask(folder)
            self._wait(ends, patience)

    def _wait(self, ends: float, patience: float) -> None:
        while self._worker is not None and self._worker.pending:
            if not self._worker.answered(ends - time.monotonic()):
                raise NoAnswerError(f"not done {patience:.3g} s after the end of the run")
            self._worker.answer(0)
        self._problem = None
        self._stop()

    def _ask(self, folder: Path) -> Worker:
        self._asked = time.monotonic()
        self._worker = worker = take()
        worker.submit(load_mlflow, self.uri)
        worker.submit(send, folder.absolute(), self.uri, self.experiment)
        return worker

    def _collect(self) -> None:
        """Take the answers that are there, and give up a send that takes too long."""
        while self._worker is not None and self._worker.pending:
            if not self._worker.answered():
                if self._since_asked() > LOADING + OPERATION:
                    raise NoAnswerError(f"not done within {OPERATION:.0f} s")
                return
            self._worker.answer(0)
        if self._worker is not None:
            self._problem = None
            self._stop()

    def _note(self, problem: Exception) -> None:
        named = isinstance(problem, NoAnswerError)
        self._problem = TrackingError(f"MLflow at {without_password(self.uri)}: {problem}") if named else problem
        self._stop()

    def _stop(self) -> None:
        if self._worker is not None:
            give_back(self._worker)
        self._worker = None

    def _since_asked(self) -> float:
        return time.monotonic() - self._asked


def back_off(uri: str) -> None:
    """Note that a server failed; runs that begin in this process within `REST` seconds do not ask it."""
    _failed[uri] = time.monotonic()


def open_tracker(*, uri: str | None, experiment: str | None, runs: Path) -> Tracker | None:
    """The tracker that a configuration asks for.

    Args:
        uri: tracking URI; ``None`` means ``MLFLOW_TRACKING_URI``, or else a SQLite database beside the runs.
        experiment: name of the MLflow experiment; ``None`` means that nothing is sent.
        runs: folder that holds the run folders.
    """
    return None if experiment is None else Tracker(uri=tracking_uri(uri, runs), experiment=experiment)


def check_server(uri: str) -> None:
    """Ask a server, or open a database, from a worker.

    Raises:
        TrackingError: it does not answer as MLflow does, or not within `WAIT` seconds.
    """
    try:
        call(LOADING, load_mlflow, uri)
        call(WAIT, check, uri)
    except NoAnswerError as error:
        raise TrackingError(f"MLflow at {without_password(uri)}: {error}") from error


def send_bounded(folder: Path, uri: str, experiment: str) -> SendReport:
    """`send` from a worker, within `OPERATION` seconds.

    Raises:
        TrackingError, DamagedFileError: as `send`, or that time was too short.
    """
    try:
        return call(OPERATION, send, folder.absolute(), uri, experiment)
    except NoAnswerError as error:
        raise TrackingError(f"MLflow at {without_password(uri)}: {error}; sending again goes on from there") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncReport:
    """Names of run folders by what became of them; those that failed with the reason."""

    sent: tuple[str, ...]
    up_to_date: tuple[str, ...]
    failed: dict[str, str]


def unsent(runs: Path, uri: str, experiment: str) -> list[Path]:
    """Folders of runs that have ended and, as far as they remember, are not wholly at the server; nobody is asked."""
    folders: list[Path] = []
    for folder in run_folders(runs):
        try:
            if read_status(folder).state != "running" and not is_sent(folder, uri, experiment):
                folders.append(folder)
        except DamagedFileError:  # sending it says how
            folders.append(folder)
    return folders


def sync(runs: Path, uri: str, experiment: str, folders: Sequence[Path] | None = None) -> SyncReport:
    """Send run folders; one that cannot be sent does not stop the others.

    Args:
        runs: folder that holds the run folders.
        uri: tracking URI.
        experiment: name of the MLflow experiment.
        folders: what to send; default: every run folder below `runs`, by name.

    Raises:
        TrackingError: the server does not answer, at the beginning or after a failure; what was sent stays.
    """
    check_server(uri)
    sent, up_to_date, failed = [], [], {}
    for folder in run_folders(runs) if folders is None else folders:
        try:
            (up_to_date if send_bounded(folder, uri, experiment).up_to_date else sent).append(folder.name)
        except DamagedFileError as problem:
            failed[folder.name] = str(problem)
        except TrackingError as problem:
            failed[folder.name] = str(problem)
            check_server(uri)  # a server that is gone would fail every folder after its time-out
    return SyncReport(sent=tuple(sent), up_to_date=tuple(up_to_date), failed=failed)


def _left(folder: Path, uri: str) -> str:
    try:
        return unsent_text(folder, uri)
    except DamagedFileError as problem:
        return str(problem)
