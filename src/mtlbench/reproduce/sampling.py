"""Paired bootstrap over test users: variance of the results of finished runs due to the choice of the test split."""

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
    """A run's AUCs on bootstrap draws of the test split; draws are the same for all runs on the same data.

    Attributes:
        aucs: by binary task, float64 ``[R]``, NaN for a draw with a single class.
        units: number of units to draw from.
        kind: kind of units: groups (users) if the split has them, otherwise rows.
    """

    aucs: Mapping[str, np.ndarray]
    units: int
    kind: Literal["groups", "rows"]


def resample(store: Path, folders: Iterable[Path]) -> dict[str, Resampled]:
    """Bootstrap draws of runs on the same data, by identity; runs without stored scores are left out.

    Args:
        store: folder of the store; without it nothing can be drawn.
        folders: folders of finished runs.

    Raises:
        DamagedFileError: scores are damaged, or do not belong to the store's test rows.
    """
    scores = {folder: found for folder in folders if (found := read_scores(folder, folder.name)) is not None}
    if not scores or not (store / MANIFEST).exists():
        return {}
    try:
        rows = open_store(store).split("test")
    except StoreError as error:  # finished runs do not need the store
        tqdm.write(f"{error}\nTests on these data include the variance between seeds only", file=sys.stderr)
        return {}
    for folder, by_task in scores.items():
        if any(len(column) != len(rows) for column in by_task.values()):
            raise DamagedFileError(f"{folder / SCORES} does not have the {len(rows):,} test rows of {store}. {REMEDY}")
    grouped = "group" in rows.columns
    unit = group_numbers(rows.columns["group"].numpy()) if grouped else np.arange(len(rows))
    aucs: dict[Path, dict[str, np.ndarray]] = {folder: {} for folder in scores}
    binary = [(t, task.name) for t, task in enumerate(rows.schema.tasks) if task.kind == "binary"]
    for t, task in tqdm(binary, desc="bootstrap", unit="task", disable=None, delay=2, file=sys.stderr):
        seen = rows.columns["observed"][:, t].numpy() if "observed" in rows.columns else slice(None)
        positive = rows.columns["labels"][:, t].numpy()[seen] == 1
        measured = {folder: by_task[task][seen] for folder, by_task in scores.items() if task in by_task}
        if not measured:  # every run was trained on a subset of the tasks
            continue
        found = resampled_aucs(
            list(measured.values()), positive, group_numbers(unit[seen]), affordable_draws(len(positive))
        )
        for folder, draws in zip(measured, found, strict=True):
            aucs[folder][task] = draws
    units, kind = int(unit.max(initial=-1)) + 1, "groups" if grouped else "rows"
    return {folder.name: Resampled(aucs=by_task, units=units, kind=kind) for folder, by_task in aucs.items()}


def restore_missing(folders: Iterable[Path]) -> None:
    """Score the test rows of finished runs without stored scores, if their weights exist."""
    from mtlbench.experiment.evaluation import restore_scores  # imports torch, not needed for planning

    for folder in folders:
        if not (folder / SCORES).exists() and (folder / "best.pt").exists():
            restore_scores(folder)


def sampling_of(
    task: str, ours: Sequence[Resampled | None], theirs: Sequence[Resampled | None] | None = None
) -> Sampling | None:
    """Variance, over draws of the test users, of a mean over seeds or of the mean difference of two rows.

    The same draws are used for all seeds and both rows. ``None`` if a run has no stored scores, or if fewer than two
    draws have both classes.

    Args:
        task: the task of the AUC.
        ours: draws of one row, by seed.
        theirs: draws of the other row, by the same seeds.
    """
    resampled = [each for each in (*ours, *(theirs or ())) if each is not None]
    if not ours or len(resampled) < len(ours) + len(theirs or ()) or any(task not in each.aucs for each in resampled):
        return None
    draws = np.mean([each.aucs[task] for each in resampled[: len(ours)]], axis=0)
    if theirs:
        draws = draws - np.mean([each.aucs[task] for each in resampled[len(ours) :]], axis=0)
    draws = draws[np.isfinite(draws)]
    if len(draws) < 2:
        return None
    units, kind = resampled[0].units, resampled[0].kind
    return Sampling(
        variance=float(draws.var(ddof=1)),
        degrees=float(max(1, min(len(draws), units) - 1)),
        units=f"{units:,} test {kind}",
    )
