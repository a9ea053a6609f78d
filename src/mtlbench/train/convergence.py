"""Convergence: whether the validation score had stopped improving when training ended, from the run's journal."""

import math
from collections.abc import Sequence
from functools import reduce

from mtlbench.result import LEAST_STEPS, Convergence, Metrics
from mtlbench.tracking.journal import Line
from mtlbench.train.selection import Selected, is_better

SHARE = 0.2
"""Without a patience: the final fraction of the evaluations that must not contain the best one."""


def convergence(units: Sequence[Selected], lines: Sequence[Line], patience: int | None) -> Convergence | None:
    """Whether a run converged, and how far the last evaluations were from the best.

    A run has *converged* if, for every selected unit (the model, or each task under ``trainer.checkpoint=task``), the
    best validation score is followed

    - by at least ``patience`` evaluations, as after early stopping; without a patience, by the last 20 % of the
      evaluations (`SHARE`), at least one; and
    - by at least 100 steps (`LEAST_STEPS`), so that a few very short epochs do not count as a plateau.

    Otherwise the run has *not converged*: the budget (``trainer.epochs``, ``trainer.steps``) ran out while validation
    still improved. As in model selection, a score is better if it is higher by more than rounding. Convergence does not
    mean a good plateau: a run with far too small a learning rate converges too.

    Args:
        units: the selected units, see `selection_units`.
        lines: lines of the run's journal.
        patience: ``trainer.patience``.

    Returns:
        ``None`` if no evaluation in the journal has a defined score.
    """
    curves = validation_curves(units, lines)
    if not all(curves.values()):
        return None
    count = len(next(iter(curves.values())))
    needed = patience or math.ceil(SHARE * count)
    bests = {name: _best(curve) for name, curve in curves.items()}
    since = {name: len(curve) - 1 - bests[name] for name, curve in curves.items()}
    steps = {name: curve[-1][0] - curve[bests[name]][0] for name, curve in curves.items()}
    return Convergence(
        converged=min(since.values()) >= needed and min(steps.values()) >= LEAST_STEPS,
        evaluations=count,
        needed=needed,
        evaluations_since_best=since,
        steps_since_best=steps,
        behind_best={
            name: tuple(score - curve[bests[name]][1] for _, score in curve[-needed:]) for name, curve in curves.items()
        },
    )


def validation_curves(units: Sequence[Selected], lines: Sequence[Line]) -> dict[str, list[tuple[int, float]]]:
    """By unit, the step and score of each evaluation with a defined score."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for unit in units:
        scored = [(line.step, unit.score(Metrics(values=line.values).of_split("valid").values)) for line in lines]
        curves[unit.name] = [(step, score) for step, score in scored if score is not None]
    return curves


def _best(curve: Sequence[tuple[int, float]]) -> int:
    """Index of the best score; the first of equal ones."""

    def better(best: int, at: int) -> int:
        return at if is_better(curve[at][1], curve[best][1]) else best

    return reduce(better, range(len(curve)))
