"""Validates the files of finished runs before any missing run is trained."""

from collections.abc import Sequence

from mtlbench.reproduce.plan import PlannedRun
from mtlbench.tracking.files import DamagedFileError
from mtlbench.tracking.folder import check_journal
from mtlbench.tracking.scores import read_scores
from mtlbench.tracking.sent import link_of


def check_finished(planned: Sequence[PlannedRun]) -> None:
    """Validate the files of finished runs, before hours are spent on missing ones.

    Raises:
        DamagedFileError: files of one or more runs are damaged.
    """
    problems: list[str] = []
    for folder in dict.fromkeys(run.folder for run in planned if run.finished):
        try:
            check_journal(folder)
            link_of(folder)
            read_scores(folder, folder.name)
        except DamagedFileError as problem:
            problems.append(str(problem))
    if problems:
        raise DamagedFileError("\n".join(problems))
