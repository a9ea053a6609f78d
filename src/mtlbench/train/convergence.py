"""Convergence: whether the validation score had stopped improving when training ended, by the run's own journal."""

import math
from collections.abc import Sequence
from functools import reduce

from mtlbench.result import LEAST_STEPS, Convergence, Metrics
from mtlbench.tracking.journal import Line
from mtlbench.train.selection import Selected, is_better

SHARE = 0.2
"""Share of the evaluations, the last ones, in which the best must not lie where no patience is set."""


def convergence(units: Sequence[Selected], lines: Sequence[Line], patience: int | None) -> Convergence | None:
    """Whether a run converged, and how far the last evaluations were from the best.

    A run has *converged* if, for everything that is selected by itself (the model, or each task under
    ``trainer.checkpoint=task``), the best validation score is followed

    - by at least ``patience`` evaluations, which is so where early stopping ended training; without a patience by the
      last 20 % of the evaluations (`SHARE`), one at least; and
    - by at least 100 steps (`LEAST_STEPS`), so that a few epochs of a few steps do not pass for a plateau.

    Otherwise the budget (``trainer.epochs``, ``trainer.steps``) ran out while validation still improved: *not
    converged*. A better score is one that is higher by more than rounding, as in model selection. Nothing is said of
    how good the plateau is: a learning rate too small to move anything converges too.

    Args:
        units: what was selected, see `selection_units`.
        lines: of the run's journal.
        patience: ``trainer.patience``.

    Returns:
        ``None`` for a journal without evaluations that define the score.
    """
    curves = validation_curves(units, lines)
    if not all(curves.values()):
        return None
    count = len(next(iter(curves.values())))
    asked = patience or math.ceil(SHARE * count)
    bests = {name: _best(curve) for name, curve in curves.items()}
    since = {name: len(curve) - 1 - bests[name] for name, curve in curves.items()}
    steps = {name: curve[-1][0] - curve[bests[name]][0] for name, curve in curves.items()}
    return Convergence(
        converged=min(since.values()) >= asked and min(steps.values()) >= LEAST_STEPS,
        evaluations=count,
        needed=asked,
        evaluations_since_best=since,
        steps_since_best=steps,
        behind_best={
            name: tuple(score - curve[bests[name]][1] for _, score in curve[-asked:]) for name, curve in curves.items()
        },
    )


def validation_curves(units: Sequence[Selected], lines: Sequence[Line]) -> dict[str, list[tuple[int, float]]]:
    """Step and score of each evaluation that defines the score, by name of what is selected."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for unit in units:
        scored = [(line.step, unit.score(Metrics(values=line.values).of_split("valid").values)) for line in lines]
        curves[unit.name] = [(step, score) for step, score in scored if score is not None]
    return curves


def _best(curve: Sequence[tuple[int, float]]) -> int:
    """Place of the best score, the first of equal ones."""

    def better(best: int, at: int) -> int:
        return at if is_better(curve[at][1], curve[best][1]) else best

    return reduce(better, range(len(curve)))
