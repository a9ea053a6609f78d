"""Settings of a paper on data that are not the paper's: what is carried over, and what is marked."""

from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from mtlbench.cli import main
from mtlbench.experiment.data import DataSource
from mtlbench.reproduce.carry_over import CarriedOver, carry_over
from reproduce.test_assemble import RUNS, assembled


def carried(
    same_steps: bool = False, origin: str = "simulated", published: int = 10_240, **changes: object
) -> CarriedOver:
    trainer = {"epochs": 3, "steps": None, "evaluate_every": None, "batch_size": 1024, "patience": None}
    config = DictConfig({"loss": {"pos_weight": [24, 4584]}, "trainer": trainer})
    for key, value in changes.items():
        OmegaConf.update(config, f"trainer.{key}", value)
    data = DataSource.__new__(DataSource)
    object.__setattr__(data, "origin", origin)
    return carry_over(config, data, published, ["model=mmoe"], same_steps=same_steps)


def test_class_weights_become_those_of_the_data_at_hand() -> None:
    assert carried().config.loss.pos_weight == "balanced"
    assert carried().notes == (
        "loss.pos_weight=balanced, by the rates of these rows, for [24, 4584] of the paper's data",
    )
    assert carried(origin="real").config.loss.pos_weight == [24, 4584]
    assert carried(origin="real").notes == ()


def test_class_weights_that_are_stated_stay() -> None:
    config = DictConfig({"loss": {"pos_weight": [2, 3]}, "trainer": {"epochs": None, "batch_size": 1, "steps": 5}})
    data = DataSource.__new__(DataSource)
    object.__setattr__(data, "origin", "simulated")
    found = carry_over(config, data, 10, ["loss.pos_weight=[2,3]"], same_steps=True)
    assert (found.config.loss.pos_weight, found.notes, found.config.trainer.steps) == ([2, 3], (), 5)


def test_the_same_steps_are_those_of_the_published_rows() -> None:
    """Ten steps an epoch, three epochs."""
    trainer = carried(same_steps=True).config.trainer
    assert (trainer.steps, trainer.evaluate_every, trainer.epochs) == (30, 10, None)
    assert carried(same_steps=True, published=10_241).config.trainer.steps == 33
    assert carried(same_steps=True, published=0).config.trainer.epochs == 3, "nobody says how many"
    assert carried(same_steps=True, origin="real").config.trainer.epochs == 3
    assert carried().config.trainer.epochs == 3


def test_a_budget_is_marked_where_nothing_else_ends_training() -> None:
    assert (carried().steps, carried(patience=2).steps, carried(published=0).steps) == (30, None, None)


def test_fewer_steps_stand_on_top_of_a_table() -> None:
    """The made-up runs took 50 steps."""
    few = [replace(run, paper_steps=101, carried_over=("weights of their own",)) for run in RUNS]
    result = assembled(few)
    assert "FEWER STEPS: D 50 for the paper's 101" in result.marks
    assert "D: weights of their own" in result.footnotes
    assert assembled([replace(run, paper_steps=100) for run in RUNS]).marks == ()


@pytest.mark.parametrize(("words", "short"), [((), True), (("--same-steps",), False)])
def test_reproduce_says_what_becomes_of_a_papers_settings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], short: bool
) -> None:
    places = [f"run.data={tmp_path}/data", f"run.folder={tmp_path}/runs", "tracker=none"]
    assert main(["reproduce", "dcrnn_table4", "--scale", "0.0001", "--dry-run", *words, *places]) == 0
    err = capfd.readouterr().err
    assert "! dcrnn_table4: Ali-CCP: loss.pos_weight=balanced, by the rates of these rows, for [24, 4584]" in err
    assert ("Ali-CCP: about 59 steps a run; the paper's setting makes 123,927 of the published rows" in err) is short, (
        err
    )
    assert ("123,927 steps at most, as 3 epochs of 42,300,135 published rows make" in err) is not short
