"""Paired bootstrap over the test users: how far the numbers of finished runs depend on who is in the test split."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from mtlbench.data.store import MANIFEST, StoreError, open_store
from mtlbench.metrics.ranking import group_numbers
from mtlbench.metrics.resampled import affordable_draws, resampled_aucs
from mtlbench.reproduce.estimate import Sampling
from mtlbench.tracking.files import DamagedFileError
from mtlbench.tracking.scores import REMEDY, SCORES, read_scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Resampled:
    """A run's AUCs on bootstrap draws of the test split, which are the same for all runs on the same data.

    Attributes:
        aucs: by binary task: float64 ``[R]``, NaN for a draw of one class.
        units: how many were drawn from.
        kind: what was drawn: groups (users) where the split has them, else rows.
    """

    aucs: Mapping[str, np.ndarray]
    units: int
    kind: Literal["groups", "rows"]


def resample(store: Path, folders: Iterable[Path]) -> dict[str, Resampled]:
    """Bootstrap draws of runs on the same data, by identity; runs that have kept no scores are left out.

    Args:
        store: of the data; nothing can be drawn where it is gone.
        folders: of finished runs.

    Raises:
        DamagedFileError: scores that are damaged, or are not those of the store's test rows.
    """
    scores = {folder: found for folder in folders if (found := read_scores(folder, folder.name)) is not None}
    if not scores or not (store / MANIFEST).exists():
        return {}
    try:
        rows = open_store(store).split("test")
    except StoreError as error:  # which finished runs can do without
        tqdm.write(f"{error}\nTests on these data count seeds only", file=sys.stderr)
        return {}
    for folder, by_task in scores.items():
        if any(len(column) != len(rows) for column in by_task.values()):
            raise DamagedFileError(f"{folder / SCORES} has not the {len(rows):,} test rows of {store}. {REMEDY}")
    grouped = "group" in rows.columns
    unit = group_numbers(rows.columns["group"].numpy()) if grouped else np.arange(len(rows))
    aucs: dict[Path, dict[str, np.ndarray]] = {folder: {} for folder in scores}
    binary = [(t, task.name) for t, task in enumerate(rows.schema.tasks) if task.kind == "binary"]
    for t, task in tqdm(binary, desc="bootstrap", unit="task", disable=None, delay=2, file=sys.stderr):
        seen = rows.columns["observed"][:, t].numpy() if "observed" in rows.columns else slice(None)
        positive = rows.columns["labels"][:, t].numpy()[seen] == 1
        measured = {folder: by_task[task][seen] for folder, by_task in scores.items() if task in by_task}
        if not measured:  # every run learnt a subset of the tasks
            continue
        found = resampled_aucs(
            list(measured.values()), positive, group_numbers(unit[seen]), affordable_draws(len(positive))
        )
        for folder, draws in zip(measured, found, strict=True):
            aucs[folder][task] = draws
    units, kind = int(unit.max(initial=-1)) + 1, "groups" if grouped else "rows"
    return {folder.name: Resampled(aucs=by_task, units=units, kind=kind) for folder, by_task in aucs.items()}


def restore_missing(folders: Iterable[Path]) -> None:
    """Score the test rows of finished runs that have not kept their scores, where their weights are at hand."""
    from mtlbench.experiment.evaluation import restore_scores  # imports torch, which plans do without

    for folder in folders:
        if not (folder / SCORES).exists() and (folder / "best.pt").exists():
            restore_scores(folder)


def sampling_of(
    task: str, ours: Sequence[Resampled | None], theirs: Sequence[Resampled | None] | None = None
) -> Sampling | None:
    """Variance of a mean over seeds, or of the mean difference of two rows, when test users are drawn anew.

    Users are drawn once for all seeds and both rows. ``None`` where a run has kept no scores, or where fewer than two
    draws hold both classes.

    Args:
        task: whose AUC it is.
        ours: of one row, by seed.
        theirs: of the other, by the same seeds.
    """
    known = [each for each in (*ours, *(theirs or ())) if each is not None]
    if not ours or len(known) < len(ours) + len(theirs or ()) or any(task not in each.aucs for each in known):
        return None
    draws = np.mean([each.aucs[task] for each in known[: len(ours)]], axis=0)
    if theirs:
        draws = draws - np.mean([each.aucs[task] for each in known[len(ours) :]], axis=0)
    draws = draws[np.isfinite(draws)]
    if len(draws) < 2:
        return None
    units, kind = known[0].units, known[0].kind
    return Sampling(
        variance=float(draws.var(ddof=1)),
        degrees=float(max(1, min(len(draws), units) - 1)),
        units=f"{units:,} test {kind}",
    )
