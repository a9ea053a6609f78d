"""Budgets in steps: where training ends, when validation is measured, and that patience counts evaluations."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mtlbench.train import checkpoint
from mtlbench.train.budget import Budget
from mtlbench.train.interrupt import Interrupted
from mtlbench.train.progress import Progress
from train.test_loop import SETTINGS, TRAIN, journal_values, signal_at, trained


def evaluated_at(folder: Path) -> list[float]:
    return [line["step"] for line in journal_values(folder) if "valid/task0/auc" in line]


def test_a_budget_by_hand() -> None:
    """101 rows in batches of 16: six of 16, one of 5; an epoch has 7 steps."""
    by_epoch = Budget.of(replace(SETTINGS, epochs=2), 101)
    assert (by_epoch.total, by_epoch.every) == (14, 7)
    assert [by_epoch.evaluation_after(step) for step in (0, 6, 7, 13)] == [7, 7, 14, 14]
    by_step = Budget.of(replace(SETTINGS, epochs=None, steps=12, evaluate_every=5), 101)
    assert (by_step.total, by_step.every) == (12, 5)
    assert [by_step.evaluation_after(step) for step in (0, 5, 10)] == [5, 10, 12]
    assert by_step.batches(Progress(step=5, evaluated=5, position=5)) == [(80, 96), (96, 101)], "to the epoch's end"
    assert by_step.batches(Progress(step=7, evaluated=5)) == [(0, 16), (16, 32), (32, 48)], "to the evaluation"
    assert by_step.batches(Progress(step=10, evaluated=5, position=3)) == [], "the evaluation comes next"
    assert [by_step.rows(step) for step in (0, 6, 7, 8, 14)] == [0, 96, 101, 117, 202]
    assert [by_step.epoch(step) for step in (1, 7, 8)] == [1, 1, 2]
    assert Budget.of(replace(SETTINGS, epochs=1, steps=12), 101).total == 7, "whichever is less"


@pytest.mark.parametrize(
    ("changes", "steps", "evaluations"),
    [
        ({"steps": 10}, 10, [7, 10]),
        ({"steps": 24, "epochs": None, "evaluate_every": 10}, 24, [10, 20, 24]),
        ({"epochs": 2, "evaluate_every": 3}, 14, [3, 6, 9, 12, 14]),
        ({"epochs": 2, "evaluate_every": 100}, 14, [14]),
        ({"epochs": 2}, 14, [7, 14]),
    ],
)
def test_training_ends_and_is_evaluated_where_the_budget_says(
    tmp_path: Path, changes: dict[str, int | None], steps: int, evaluations: list[int]
) -> None:
    _, progress = trained(tmp_path, replace(SETTINGS, **changes))  # pyright: ignore[reportArgumentType]
    assert (progress.step, progress.evaluated, progress.epoch) == (steps, steps, steps // 7)
    assert evaluated_at(tmp_path) == evaluations
    assert len(progress.rows_per_second) == len(evaluations)


def test_an_evaluation_at_the_end_of_each_epoch_in_steps_is_that_in_epochs_to_the_bit(tmp_path: Path) -> None:
    by_epoch, _ = trained(tmp_path / "epochs")
    by_step, _ = trained(tmp_path / "steps", replace(SETTINGS, epochs=None, steps=21, evaluate_every=7))
    assert all(torch.equal(p, q) for p, q in zip(by_epoch.parameters(), by_step.parameters(), strict=True))
    assert journal_values(tmp_path / "epochs") == journal_values(tmp_path / "steps")


def test_how_often_validation_is_measured_moves_no_weight(tmp_path: Path) -> None:
    rarely, _ = trained(tmp_path / "rarely")
    often, _ = trained(tmp_path / "often", replace(SETTINGS, evaluate_every=2))
    assert all(torch.equal(p, q) for p, q in zip(rarely.parameters(), often.parameters(), strict=True))


@pytest.mark.parametrize("signal_in_step", [1, 5, 6, 8, 15, 20])
def test_a_run_that_is_evaluated_inside_epochs_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal_in_step: int
) -> None:
    settings = replace(SETTINGS, epochs=None, steps=22, evaluate_every=5)
    whole, _ = trained(tmp_path / "whole", settings)
    calls = signal_at(monkeypatch, signal_in_step)
    with pytest.raises(Interrupted):
        trained(tmp_path / "halved", settings)
    resumed, _ = trained(tmp_path / "halved", settings)
    assert calls == [22], "no step is done twice"
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert journal_values(tmp_path / "whole") == journal_values(tmp_path / "halved")


@pytest.mark.parametrize("signal_in_step", [3, 7, 9])
def test_a_checkpoint_of_a_version_that_evaluated_each_epoch_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal_in_step: int
) -> None:
    trained(tmp_path / "whole")
    signal_at(monkeypatch, signal_in_step)
    with pytest.raises(Interrupted):
        trained(tmp_path / "halved")
    last = checkpoint.load(tmp_path / "halved" / "last.pt", identity="toy")
    for later in ("evaluated", "sums", "summed"):
        del last["progress"][later]
    if signal_in_step == 7:  # the signal came after the epoch's last batch: it counted as unfinished until evaluated
        last["progress"].update(epoch=0, position=7)
    checkpoint.save(tmp_path / "halved" / "last.pt", last)
    trained(tmp_path / "halved")
    assert journal_values(tmp_path / "whole") == journal_values(tmp_path / "halved")


def test_patience_counts_evaluations_so_that_short_epochs_do_not_end_a_run(tmp_path: Path) -> None:
    _, short = trained(tmp_path / "short", replace(SETTINGS, epochs=50, patience=2))
    _, long = trained(tmp_path / "long", replace(SETTINGS, epochs=50, patience=2, evaluate_every=70))
    assert len(TRAIN) // 16 + 1 == 7
    assert short.step == short.best_step["model"] + 2 * 7
    assert long.step == min(long.best_step["model"] + 2 * 70, 350)
    assert long.step >= 210 > short.step


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": None}, "trainer.epochs and trainer.steps are null, so training would never end; set one of them"),
        ({"epochs": 0}, "trainer.epochs is 0; allowed: 1 or more, or null if trainer.steps is set"),
        ({"steps": 0}, "trainer.steps is 0; allowed: 1 or more, or null"),
        ({"evaluate_every": 0}, "trainer.evaluate_every is 0; allowed: 1 or more, or null"),
        ({"shuffle_buffer": 0}, "trainer.shuffle_buffer is 0; allowed: 1 or more, or null"),
        ({"shuffle_block": 9}, "trainer.shuffle_block is 9 and trainer.shuffle_buffer None, less than a block"),
        ({"shuffle_buffer": 8, "shuffle_block": 9}, "allowed: a buffer of at least one block, or null for both"),
        ({"steps": 10**13}, "trainer.steps is 10000000000000; allowed: 1,000,000,000,000 at most"),
    ],
)
def test_a_budget_that_means_nothing_is_refused(changes: dict[str, int | None], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(SETTINGS, **changes)  # pyright: ignore[reportArgumentType]
