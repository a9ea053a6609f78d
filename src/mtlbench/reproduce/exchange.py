"""What happens at the tracking server before anything is run: it gets what it lacks, and gives what others finished."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mtlbench.reproduce.plan import PlannedRun
from mtlbench.tracking.connect import TrackingError, default_uri, public, tracking_uri
from mtlbench.tracking.find import RemoteResult, find_results
from mtlbench.tracking.tracker import OPERATION, check_server, leave_alone, sync, unsent
from mtlbench.tracking.worker import call

AT_A_TIME = 64
"""Runs whose results are asked for within one time limit."""


def exchange(missing: Sequence[PlannedRun], *, only_ask: bool = False) -> dict[str, RemoteResult]:
    """Results that other machines sent, by identity, after the runs of this one were sent.

    Nothing happens where no server is named: the database beside the runs knows nothing that their folders do not.
    A server that fails costs a message and nothing else: what it has is run here, and what is here is sent later.

    Args:
        missing: runs that are not finished here.
        only_ask: send nothing.
    """
    if not missing or (tracker := missing[0].config.run.tracker).experiment is None:
        return {}
    runs = missing[0].folder.parent
    uri, experiment = tracking_uri(tracker.uri, runs), tracker.experiment
    if uri == default_uri(runs):
        return {}
    found: dict[str, RemoteResult] = {}
    try:
        if not only_ask:
            _send_first(runs, uri, experiment)
        check_server(uri)
        for start in range(0, len(missing), AT_A_TIME):
            identities = [run.identity for run in missing[start : start + AT_A_TIME]]
            found |= call(OPERATION, find_results, uri, experiment, identities)
    except TrackingError as error:
        leave_alone(uri)
        tqdm.write(
            f"{error}\nThe tables are made of what is here and nothing is sent. Later: the same command again, or "
            + shlex.join(["mtlbench", "sync", f"run.folder={runs}", f"run.tracker.uri={public(uri)}"]),
            file=sys.stderr,
        )
        return {}
    return found


def _send_first(runs: Path, uri: str, experiment: str) -> None:
    if not (folders := unsent(runs, uri, experiment)):
        return
    report = sync(runs, uri, experiment, folders)
    tqdm.write(f"{len(report.sent)} runs of {runs} were sent to {public(uri)}", file=sys.stderr)
    for name, reason in report.failed.items():
        tqdm.write(f"  {name} was not: {reason}", file=sys.stderr)
