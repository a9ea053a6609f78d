"""Sends runs to MLflow in the background during training, and afterwards with `sync`.

The run folder is the queue: everything in its journal that the server lacks is sent next. An evaluation only requests a
send, and a failed send loses nothing.
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
"""Time limit in seconds for importing MLflow and creating a SQLite database, in the background of training."""

OPERATION = 120.0
"""Time limit in seconds for sending one run folder."""

WAIT = 10.0
"""Seconds that a run waits at its end for a server that has not failed."""

SHARE = 0.02
"""For a server that has failed: the waiting time as a fraction of the run's duration, at most `WAIT`."""

RETRY = 60.0
"""Seconds before a failed server is contacted again during the same run."""

COOLDOWN_SECONDS = 300.0
"""Seconds during which a failed server is not contacted by later runs of this process."""

_failed: dict[str, float] = {}
"""Monotonic time of each server's last failure, by URI."""

_log = logging.getLogger(__name__)


class Tracker:
    """Sends one run's folder from a worker process; waits only at the end of the run, and never raises.

    After a server has failed, later runs of this process do not contact it for a while, so that not every run of a
    table waits for it.
    """

    def __init__(self, *, uri: str, experiment: str) -> None:
        self.uri = uri
        self.experiment = experiment
        self._began = time.monotonic()
        self._alone = self._began - _failed.get(uri, -COOLDOWN_SECONDS) < COOLDOWN_SECONDS
        self._problem: Exception | None = TrackingError(f"MLflow at {without_password(uri)}: it failed shortly before")
        self._problem = self._problem if self._alone else None
        self._asked = self._began
        self._worker: Worker | None = None

    def update(self, folder: Path) -> None:
        """Request that new data be sent. Call this when the run begins and after every evaluation.

        If the worker is still busy, nothing happens: the next call sends these data too.
        """
        if self._alone:
            return
        try:
            self._collect()
            if self._worker is None and (self._problem is None or self._since_asked() > RETRY):
                self._ask(folder)
        except Exception as problem:  # noqa: BLE001  # a failed copy must not stop the run
            self._note(problem)

    def finish(self, folder: Path) -> None:
        """Send the rest, within a time limit. Call this at the very end, after the status is written."""
        try:
            if not self._alone:
                self._send_rest(folder)
        except Exception as problem:  # noqa: BLE001  # a failed copy must not stop the run
            self._note(problem)
        finally:
            self._stop()
        if self._problem is None:
            return
        if isinstance(self._problem, OSError) and not self._alone:  # not a damaged file of the run
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
        """`finish` for a run that has already ended, unless all of it was sent, which takes no time to check."""
        try:
            done = is_sent(folder, self.uri, self.experiment)
        except DamagedFileError:  # sending reports the problem
            done = False
        if not done:
            self.finish(folder)

    def _send_rest(self, folder: Path) -> None:
        """Wait for the current send and then for a last one, within a common time limit."""
        failed = self._problem is not None
        if failed and self._since_asked() < RETRY:
            return
        under_way = self._worker is not None
        worker = self._worker or self._ask(folder)
        if not failed and worker.pending > 1:  # importing MLflow is local time, not the server's
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
        """Process available answers, and abort a send that takes too long."""
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
        unnamed = isinstance(problem, NoAnswerError)
        self._problem = TrackingError(f"MLflow at {without_password(self.uri)}: {problem}") if unnamed else problem
        self._stop()

    def _stop(self) -> None:
        if self._worker is not None:
            give_back(self._worker)
        self._worker = None

    def _since_asked(self) -> float:
        return time.monotonic() - self._asked


def back_off(uri: str) -> None:
    """Record that a server failed; runs that begin in this process within `REST` seconds do not contact it."""
    _failed[uri] = time.monotonic()


def open_tracker(*, uri: str | None, experiment: str | None, runs: Path) -> Tracker | None:
    """The tracker of a configuration.

    Args:
        uri: tracking URI; ``None`` means ``MLFLOW_TRACKING_URI``, or else a SQLite database beside the runs.
        experiment: name of the MLflow experiment; ``None`` disables tracking.
        runs: parent folder of the run folders.
    """
    return None if experiment is None else Tracker(uri=tracking_uri(uri, runs), experiment=experiment)


def check_server(uri: str) -> None:
    """Check, from a worker, that a server responds or that a database can be opened.

    Raises:
        TrackingError: it does not respond like MLflow, or not within `WAIT` seconds.
    """
    try:
        call(LOADING, load_mlflow, uri)
        call(WAIT, check, uri)
    except NoAnswerError as error:
        raise TrackingError(f"MLflow at {without_password(uri)}: {error}") from error


def send_bounded(folder: Path, uri: str, experiment: str) -> SendReport:
    """`send` from a worker, within `OPERATION` seconds.

    Raises:
        TrackingError, DamagedFileError: as `send`; also `TrackingError` if that time is exceeded.
    """
    try:
        return call(OPERATION, send, folder.absolute(), uri, experiment)
    except NoAnswerError as error:
        raise TrackingError(f"MLflow at {without_password(uri)}: {error}; sending again resumes from there") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncReport:
    """Names of run folders by outcome; failed ones with the reason."""

    sent: tuple[str, ...]
    up_to_date: tuple[str, ...]
    failed: dict[str, str]


def unsent(runs: Path, uri: str, experiment: str) -> list[Path]:
    """Folders of ended runs that, according to their records, the server lacks in part; no server is contacted."""
    folders: list[Path] = []
    for folder in run_folders(runs):
        try:
            if read_status(folder).state != "running" and not is_sent(folder, uri, experiment):
                folders.append(folder)
        except DamagedFileError:  # sending it reports the problem
            folders.append(folder)
    return folders


def sync(runs: Path, uri: str, experiment: str, folders: Sequence[Path] | None = None) -> SyncReport:
    """Send run folders; a failure does not stop the others.

    Args:
        runs: parent folder of the run folders.
        uri: tracking URI.
        experiment: name of the MLflow experiment.
        folders: the run folders to send; by default all below `runs`, by name.

    Raises:
        TrackingError: the server does not respond, at the beginning or after a failure; data already sent is kept.
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
            check_server(uri)  # if the server is down, every folder would fail after a time-out
    return SyncReport(sent=tuple(sent), up_to_date=tuple(up_to_date), failed=failed)


def _left(folder: Path, uri: str) -> str:
    try:
        return unsent_text(folder, uri)
    except DamagedFileError as problem:
        return str(problem)
