"""Before running: push local results to the tracking server and fetch results finished elsewhere."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mtlbench.reproduce.plan import PlannedRun
from mtlbench.tracking.connect import TrackingError, default_uri, tracking_uri
from mtlbench.tracking.credentials import without_password
from mtlbench.tracking.find import RemoteResult, find_results
from mtlbench.tracking.tracker import OPERATION, back_off, check_server, sync, unsent
from mtlbench.tracking.worker import call

AT_A_TIME = 64
"""Number of results that are fetched within one time limit."""


def exchange_results(missing: Sequence[PlannedRun], *, fetch_only: bool = False) -> dict[str, RemoteResult]:
    """Push finished runs of this machine, and fetch results of missing ones from the tracking server, by identity.

    Does nothing without a server, since the database beside the runs has no more than their folders. If the server
    fails, a message is printed, missing runs are trained here, and results are sent later.

    Args:
        missing: runs that are not finished on this machine.
        fetch_only: push nothing.
    """
    if not missing or (tracker := missing[0].config.run.tracker).experiment is None:
        return {}
    runs = missing[0].folder.parent
    uri, experiment = tracking_uri(tracker.uri, runs), tracker.experiment
    if uri == default_uri(runs):
        return {}
    results: dict[str, RemoteResult] = {}
    try:
        if not fetch_only:
            _send_first(runs, uri, experiment)
        check_server(uri)
        for start in range(0, len(missing), AT_A_TIME):
            identities = [run.identity for run in missing[start : start + AT_A_TIME]]
            results |= call(OPERATION, find_results, uri, experiment, identities)
    except TrackingError as error:
        back_off(uri)
        tqdm.write(
            f"{error}\nThe tables use local runs only, and nothing is sent. Later, run the same command again, or "
            + shlex.join(["mtlbench", "sync", f"run.folder={runs}", f"run.tracker.uri={without_password(uri)}"]),
            file=sys.stderr,
        )
        return {}
    return results


def _send_first(runs: Path, uri: str, experiment: str) -> None:
    if not (folders := unsent(runs, uri, experiment)):
        return
    report = sync(runs, uri, experiment, folders)
    tqdm.write(f"{len(report.sent)} runs of {runs} were sent to {without_password(uri)}", file=sys.stderr)
    for name, reason in report.failed.items():
        tqdm.write(f"  {name} was not sent: {reason}", file=sys.stderr)
