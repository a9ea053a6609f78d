"""Convergence by hand: where the best validation score lies among the evaluations, and how many steps follow it."""

import pytest

from mtlbench.result import Convergence
from mtlbench.tracking.journal import Line
from mtlbench.train.convergence import convergence
from mtlbench.train.selection import Selected, Term

AUC = (Selected(name="model", terms=(Term(metric="auc", tasks=("click", "buy")),)),)
EACH = tuple(Selected(name=task, terms=(Term(metric="auc", tasks=(task,)),)) for task in ("click", "buy"))


def journal(click: list[float], buy: list[float] | None = None, every: int = 100) -> list[Line]:
    """Evaluations with a line of training losses before each, and the test metrics at the end."""
    lines = []
    for at, pair in enumerate(zip(click, buy or click, strict=True), start=1):
        lines.append(Line(step=at * every - 1, epoch=at, time=0, values={"train/click/loss": 0.5}))
        valid = dict(zip(("valid/click/auc", "valid/buy/auc"), pair, strict=True))
        lines.append(Line(step=at * every, epoch=at, time=0, values=valid))
    return [*lines, Line(step=len(click) * every, epoch=len(click), time=0, values={"test/click/auc": 0.9})]


def found(*arguments: object, **more: object) -> Convergence:
    result = convergence(*arguments, **more)  # pyright: ignore[reportArgumentType]
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("scores", "patience", "converged"),
    [
        ([0.6, 0.7, 0.69, 0.68], 2, True),  # stopped by patience
        ([0.6, 0.7, 0.69], 2, False),  # the budget ran out one evaluation too early
        ([0.6, 0.65, 0.7], 2, False),  # still rising
        ([0.6, 0.7, 0.7, 0.7], 2, True),  # equal is not better
        ([0.6, 0.65, 0.7], None, False),  # three epochs, the best is the last: 20 % is one
        ([0.6, 0.7, 0.65], None, True),
        ([0.7], None, False),  # one evaluation shows nothing
        ([0.5, 0.6, 0.7, 0.7, 0.71, 0.7], None, False),  # of six evaluations the last two
        ([0.5, 0.6, 0.7, 0.71, 0.7, 0.7], None, True),
    ],
)
def test_a_run_converged_if_nothing_better_came_late(
    scores: list[float], patience: int | None, converged: bool
) -> None:
    assert found(AUC, journal(scores), patience).converged is converged


def test_epochs_of_a_few_steps_do_not_pass_for_a_plateau() -> None:
    short = found(AUC, journal([0.6, 0.7, 0.69, 0.68], every=4), 2)
    assert (short.converged, short.steps_since_best) == (False, {"model": 8})
    assert found(AUC, journal([0.6, 0.7, 0.69, 0.68], every=50), 2).converged, "100 steps"
    assert not found(AUC, journal([0.6, 0.7, 0.69, 0.68], every=49), 2).converged, "98 steps"


def test_each_task_must_have_stopped_where_each_is_selected_by_itself() -> None:
    lines = journal([0.6, 0.7, 0.69, 0.68], [0.5, 0.6, 0.7, 0.69])
    both = found(EACH, lines, 2)
    assert (both.converged, both.evaluations_since_best) == (False, {"click": 2, "buy": 1})
    assert found(EACH[:1], lines, 2).converged


def test_how_far_the_last_evaluations_are_from_the_best() -> None:
    result = found(AUC, journal([0.6, 0.7, 0.69, 0.68], [0.6, 0.8, 0.79, 0.8]), 2)
    assert result.behind_best["model"] == pytest.approx((-0.01, -0.01))
    assert (result.evaluations, result.needed) == (4, 2)
    assert result.text == (
        "converged: no better validation score in the last 2 of 4 evaluations (200 steps), the last 0.01 below the best"
    )


def test_what_is_said_of_a_run_that_did_not_converge() -> None:
    assert found(AUC, journal([0.6, 0.65, 0.7]), 2).text == (
        "NOT CONVERGED: the last of 3 validation scores is the best. A converged run has at least 2 evaluations and "
        "100 steps without a better score: train longer (trainer.epochs)"
    )
    assert found(EACH, journal([0.6, 0.7, 0.6], [0.7, 0.6, 0.5]), 2).text == (
        "NOT CONVERGED: no better validation score of click in the last 1 of 3 evaluations (100 steps), the last 0.1 "
        "below the best. A converged run has at least 2 evaluations and 100 steps without a better score: raise "
        "trainer.patience and trainer.epochs, or take smaller batches (trainer.batch_size)"
    )


def test_a_journal_without_the_score_says_nothing() -> None:
    assert convergence(AUC, [], 2) is None
    assert convergence(AUC, [Line(step=1, epoch=1, time=0, values={"valid/click/logloss": 0.5})], 2) is None
