"""What happens at the tracking server before anything is run: it gets what it lacks, and gives what others finished."""

import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from mtlbench.reproduce.plan import PlannedRun
from mtlbench.tracking.connect import TrackingError, public
from mtlbench.tracking.find import find_results
from mtlbench.tracking.tracker import leave_alone, sync, unsent


def exchange(missing: Sequence[PlannedRun], *, only_ask: bool = False) -> dict[str, dict[str, Any]]:
    """Results that other machines sent, by identity, after the runs of this one were sent.

    Nothing happens where no server is named: the database beside the runs knows nothing that their folders do not.
    A server that fails costs a message and nothing else: what it has is run here, and what is here is sent later.

    Args:
        missing: runs that are not finished here.
        only_ask: send nothing.
    """
    if not missing or (tracker := missing[0].config.run.tracker).uri is None or tracker.experiment is None:
        return {}
    try:
        if not only_ask:
            _send_first(missing[0], tracker)
        return find_results(tracker.uri, tracker.experiment, [run.identity for run in missing])
    except TrackingError as error:
        leave_alone(tracker.uri)
        tqdm.write(
            f"{error}\nThe tables are made of what is here and nothing is sent. Later: the same command again, or "
            f"mtlbench sync run.folder={missing[0].folder.parent} run.tracker.uri={public(tracker.uri)}",
            file=sys.stderr,
        )
        return {}


def _send_first(one: PlannedRun, tracker: DictConfig) -> None:
    runs = one.folder.parent
    if not (folders := unsent(runs, tracker.uri, tracker.experiment)):
        return
    report = sync(runs, tracker.uri, tracker.experiment, folders)
    tqdm.write(f"{len(report.sent)} runs of {runs} were sent to {public(tracker.uri)}", file=sys.stderr)
    for name, reason in report.failed.items():
        tqdm.write(f"  {name} was not: {reason}", file=sys.stderr)
