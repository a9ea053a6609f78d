"""Which weights are kept: by any metric that has a direction, with ties going to the earlier step."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from mtlbench.schema import Task
from mtlbench.tracking.journal import Journal
from mtlbench.train import checkpoint
from mtlbench.train.progress import Progress, RunContext
from mtlbench.train.selection import ROUNDING, Selected, Term, out_of_patience, select, selection_units
from mtlbench.train.settings import Settings

TASKS = (Task(name="click", label="click"), Task(name="buy", label="buy", given="click"))


def settings(select: str, checkpoint: str = "run") -> Settings:
    return Settings(
        epochs=1, batch_size=1, evaluation_batch_size=1, patience=None, select=select, precision="fp32", compile=False,
        clip=None, log_steps=1, checkpoint_minutes=1, checkpoint=checkpoint,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def selected(folder: Path, metric: str, values: list[float]) -> Progress:
    """Progress after epochs of one step with these validation values."""
    place = RunContext(identity="toy", folder=folder, journal=Journal(folder), device=torch.device("cpu"), seed=0)
    unit, progress = Selected(name="model", terms=(Term(metric=metric, tasks=("click",)),)), Progress()
    for value in values:
        progress.step += 1
        select(nn.Linear(1, 1), (unit,), {f"click/{metric}": value}, progress, place)
    return progress


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("auc", [0.6, 0.7, 0.65], 2),
        ("logloss", [0.6, 0.5, 0.55], 2),
        ("ne", [0.6, 0.5, 0.55], 2),
        ("pcoc", [2.0, 1.1, 0.8, 1.2], 2),
        ("pcoc", [1.3, 0.8, 0.9], 3),
        ("ece", [0.1, 0.2], 1),
    ],
)
def test_the_best_step_is_by_the_direction_of_the_metric(
    tmp_path: Path, metric: str, values: list[float], best: int
) -> None:
    assert selected(tmp_path, metric, values).best_step == {"model": best}


@pytest.mark.parametrize(
    ("metric", "values"), [("auc", [0.7, 0.7]), ("ece", [0.0, 0.0]), ("pcoc", [1.25, 0.75]), ("pcoc", [1.0, 1.0])]
)
def test_of_equal_scores_the_earlier_is_kept(tmp_path: Path, metric: str, values: list[float]) -> None:
    """A perfect score of 0 has no margin of rounding, so there the comparison itself must be strict."""
    progress = selected(tmp_path, metric, values)
    assert (progress.best_step, progress.stale) == ({"model": 1}, {"model": 1})
    assert checkpoint.load(tmp_path / "best.pt", identity="toy")["steps"] == {"model": 1}


def test_a_better_score_starts_the_patience_anew(tmp_path: Path) -> None:
    progress = selected(tmp_path, "auc", [0.5, 0.4, 0.3, 0.6, 0.5])
    assert (progress.best_step, progress.stale) == ({"model": 4}, {"model": 1})
    assert selected(tmp_path, "auc", [0.5, 0.5 * (1 + 3 * ROUNDING)]).stale == {"model": 0}
    assert selected(tmp_path, "logloss", [0.5, 0.5 * (1 - ROUNDING / 3)]).stale == {"model": 1}


@pytest.mark.parametrize(("stale", "patience", "out"), [(2, 2, True), (1, 2, False), (3, 2, True), (9, None, False)])
def test_patience_ends_after_so_many_epochs_without_a_better_score(stale: int, patience: int | None, out: bool) -> None:
    units = selection_units(TASKS, settings("auc", "task"))
    assert out_of_patience(Progress(stale={"click": stale, "buy": stale}), units, patience) is out
    assert not out_of_patience(Progress(stale={"click": 9, "buy": 0}), units, 2), "one task still gets better"
    assert not out_of_patience(Progress(), units, 1), "before the first epoch"


def test_the_mean_is_over_the_tasks_that_define_the_metric() -> None:
    unit = Term(metric="pcoc", tasks=("click", "buy"))
    assert unit.score({"click/pcoc": 0.5, "buy/pcoc": 1.25}) == pytest.approx(-0.375), "of distances, not of values"
    assert unit.score({"buy/pcoc": 1.25}) == -0.25
    assert unit.score({"click/auc": 0.5}) is None
    loss = Term(metric="logloss", tasks=("click", "buy")).score({"click/logloss": 0.3, "x": math.nan})
    assert loss == -0.3


@pytest.mark.parametrize("name", ["pcoc", "ne", "auc_on_clicks", "buy/auc_on_clicks", "click/ece"])
def test_any_metric_with_a_direction_may_select(name: str) -> None:
    assert selection_units(TASKS, settings(name))[0].terms[0].metric == name.rpartition("/")[2]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("logloss_constant", "(did you mean 'logloss'?)"),
        ("aucc", "(did you mean 'auc'?)"),
        ("rows", ""),
        ("positives", ""),
        ("equal_scores", ""),
        ("excess_auc_share", ""),
        ("parameters", ""),
        ("weighted_uauc", ""),
        ("auc_on_buys", "(did you mean 'auc_on_clicks'?)"),
        ("precision_at_2_own", ""),
        ("clik/auc", "(did you mean 'click'?)"),
        ("click/aucc", "(did you mean 'auc'?)"),
        ("zzz/auc", ""),
    ],
)
def test_a_metric_that_cannot_select_or_a_task_that_is_not_there_is_refused(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r"trainer\.select is") as caught:
        selection_units(TASKS, settings(name))
    assert str(caught.value).startswith(f"trainer.select is '{name}'{' ' * bool(hint)}{hint}; allowed: <metric> or ")
    allowed = str(caught.value).partition("allowed:")[2]
    assert all(f"'{metric}'" in allowed for metric in ("pcoc", "ece", "auc_on_clicks"))
    assert f"'{name}'" not in allowed


def test_a_task_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trainer\.select is 'look/auc'; allowed: .* a task of \['click', 'buy'\]"):
        selection_units(TASKS, settings("look/auc"))


def score(select: object, metrics: dict[str, float]) -> float | None:
    return selection_units(TASKS, settings(select))[0].score(metrics)  # pyright: ignore[reportArgumentType]


def test_several_metrics_select_by_their_weighted_sum() -> None:
    """Weights have the sign of the direction, as in FuxiCTR's ``monitor: {AUC: 1, logloss: -1}``."""
    valid = {"click/auc": 0.7, "buy/auc": 0.6, "click/logloss": 0.5, "buy/logloss": 0.2, "buy/pcoc": 0.75}
    assert score({"click/auc": 1, "buy/logloss": -2}, valid) == pytest.approx(0.7 - 2 * 0.2)
    assert score({"auc": 1, "logloss": -1}, valid) == pytest.approx(0.65 - 0.35), "means over the tasks"
    assert score({"buy/auc": 0.5, "buy/pcoc": -1}, valid) == pytest.approx(0.5 * 0.6 - 0.25), "the distance from 1"
    assert score(("click/auc", "buy/logloss"), valid) == pytest.approx(0.7 - 0.2), "each counts once, by its direction"
    assert score({"click/auc": 1, "buy/ece": -1}, valid) is None, "a sum without a term is another score"
    assert score("auc", valid) == (0.7 + 0.6) / 2


def test_several_metrics_may_select_for_each_task() -> None:
    chosen = settings({"auc": 1, "logloss": -1}, "task")  # pyright: ignore[reportArgumentType]
    click, buy = selection_units(TASKS, chosen)
    valid = {"click/auc": 0.7, "buy/auc": 0.6, "click/logloss": 0.5, "buy/logloss": 0.2}
    assert (click.score(valid), buy.score(valid)) == (pytest.approx(0.2), pytest.approx(0.4))


@pytest.mark.parametrize(
    ("select", "checkpoint", "message"),
    [
        ({"click/auc": -1}, "run", "the weight of click/auc is -1; allowed: above 0, since higher auc is better"),
        ({"logloss": 1}, "run", "the weight of logloss is 1; allowed: below 0, since lower logloss is better"),
        ({"pcoc": 1}, "run", "the weight of pcoc is 1; allowed: below 0, since pcoc closer to 1 is better"),
        ({"auc": 0}, "run", "the weight of auc is 0; allowed: above 0"),
        ({}, "run", "trainer.select is {}; allowed: at least one metric"),
        ((), "run", "trainer.select is (); allowed: at least one metric"),
        ({"auc": 1, "aucc": 1}, "run", "trainer.select is {'auc': 1, 'aucc': 1} (did you mean 'auc'?); allowed: <met"),
        ({"auc": 1, "buy/logloss": -1}, "task", "with trainer.checkpoint=task each task is selected by its own metric"),
    ],
)
def test_a_combination_that_means_nothing_is_refused(select: object, checkpoint: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"trainer\.select is") as caught:
        selection_units(TASKS, settings(select, checkpoint))  # pyright: ignore[reportArgumentType]
    assert message in str(caught.value)
