"""Mechanism worlds: what is planted is there, what is removed is gone, and nothing else changes."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import mtlbench
from mtlbench import cli
from mtlbench.datasets.draws import TEST, TRAIN
from mtlbench.datasets.mechanism.dataset import MechanismWorld
from mtlbench.datasets.mechanism.simulator import MechanismPopulation
from mtlbench.datasets.mechanism.worlds import COMMON, FIELDS, FIRST, MECHANISMS, RING, SECOND, USELESS
from mtlbench.datasets.planted import expected_auc

ROWS = 50_000
Ids = dict[str, npt.NDArray]


def population(mechanism: str, planted: bool, seed: int = 0, ceiling: float = 0.82) -> MechanismPopulation:
    return MechanismPopulation(
        mechanism=mechanism, planted=planted, rows=ROWS, test_rows=ROWS, seed=seed, rate=0.2, ceiling=ceiling,
        structure=True,
    )  # fmt: skip


class World:
    """Some rows of a world, and its log-odds where some of their ids are other ones."""

    def __init__(self, mechanism: str, planted: bool) -> None:
        self.population = population(mechanism, planted)
        self.ids = self.population.ids(TEST, 0, 2000)
        self.others = self.population.ids(TEST, 5000, 2000)

    def log_odds(self, *changed: str) -> npt.NDArray:
        """Up to their scale, ``[R, T]``."""
        ids = {name: (self.others if name in changed else self.ids)[name] for name in self.ids}
        return self.population.components(ids)["log_odds"]

    def depends(self, *names: str) -> list[bool]:
        """Whether the log-odds of each task change with some fields."""
        return [bool(changed) for changed in (abs(self.log_odds(*names) - self.log_odds()) > 1e-9).any(axis=0)]

    def interacts(self, left: str, right: str) -> bool:
        """Whether what one field does depends on the other one."""
        mixed = self.log_odds(left, right) - self.log_odds(left) - self.log_odds(right) + self.log_odds()
        return bool((abs(mixed) > 1e-4).any())  # single precision

    def main_effect(self, name: str) -> npt.NDArray:
        """The share of each task's variance that one field alone explains, ``[T]``."""
        means = pd.DataFrame(self.log_odds()).groupby(self.ids[name]).transform("mean")
        return (means.var() / pd.DataFrame(self.log_odds()).var()).to_numpy()

    def correlation(self, one: int, other: int) -> float:
        return np.corrcoef(self.log_odds().T)[one, other]


PLANTED = pytest.mark.parametrize("planted", [True, False], ids=["planted", "removed"])


def test_how_many_there_are() -> None:
    assert len(MECHANISMS) == 10


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_rates_and_ceilings_do_not_tell_whether_the_mechanism_is_planted(mechanism: str) -> None:
    for planted in (True, False):
        world = population(mechanism, planted)
        ids = world.ids(TEST, 0, ROWS)
        labels, chances = world.draw(TEST, 0, ids)
        assert chances.mean(axis=0) == pytest.approx(0.2, abs=0.005)
        ceilings = [expected_auc(chances[:, task]) for task in range(labels.shape[1])]
        assert ceilings == pytest.approx([0.82] * labels.shape[1], abs=0.005)
        oracle = [roc_auc_score(labels[:, task], chances[:, task]) for task in range(labels.shape[1])]
        assert oracle == pytest.approx([0.82] * labels.shape[1], abs=0.015)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_world_is_its_seed(mechanism: str) -> None:
    draws = [world.draw(TEST, 0, world.ids(TEST, 0, 500)) for world in map(population, [mechanism] * 2, [True] * 2)]
    assert all(np.array_equal(one, other) for one, other in zip(*draws, strict=True))
    other = population(mechanism, True, seed=1)
    assert not np.array_equal(draws[0][1], other.draw(TEST, 0, other.ids(TEST, 0, 500))[1])


def test_the_switch_leaves_inputs_alone() -> None:
    """Except for those that sources shift, which are the mechanism."""
    for name in sorted({*MECHANISMS} - {"scenario_shift"}):
        planted, removed = (population(name, planted).ids(TRAIN, 0, 500) for planted in (True, False))
        assert all(np.array_equal(planted[field], removed[field]) for field in planted)


class TestEachMechanism:
    @PLANTED
    def test_task_fields(self, planted: bool) -> None:
        world = World("task_fields", planted)
        assert world.depends(*COMMON) == [True, True]
        assert world.depends(*FIRST) == [True, not planted]
        assert world.depends(*SECOND) == [not planted, True]
        assert world.depends(*USELESS) == [not planted, not planted]

    @PLANTED
    def test_shared_subfunctions(self, planted: bool) -> None:
        """Three of eight sub-functions of equal variance are common."""
        expected = pytest.approx(3 / 8, abs=0.2) if planted else pytest.approx(1)
        assert World("shared_subfunctions", planted).correlation(0, 1) == expected

    @PLANTED
    def test_conflict(self, planted: bool) -> None:
        expected = pytest.approx(0, abs=0.2) if planted else pytest.approx(1)
        world = World("conflict", planted)
        assert world.correlation(0, 1) == expected
        shares = [world.main_effect(field) for field in FIELDS]
        assert np.mean(shares, axis=0) == pytest.approx(1 / 12, abs=0.03), "opposite signs cancel no main effect"

    @PLANTED
    def test_routing(self, planted: bool) -> None:
        world = World("routing", planted)
        assert world.depends("context") == [planted, planted]
        assert world.interacts("context", "field_1") == planted

    @PLANTED
    def test_label_relevance(self, planted: bool) -> None:
        """Fields outside of the first task's route never matter to the second, and to the third only if planted."""
        world = World("label_relevance", planted)
        assert world.correlation(0, 1) == pytest.approx(0.9, abs=0.05)
        assert abs(world.correlation(0, 2)) < 0.3
        mine = world.population.world.routes()[0]
        for context in range(3):
            rows = world.ids["context"] == context
            off_route = set(FIELDS) - set(RING[mine[context]])
            changed = (abs(world.log_odds(*off_route) - world.log_odds()) > 1e-9)[rows].any(axis=0)
            assert changed.tolist() == [False, False, planted]

    @PLANTED
    def test_window_order(self, planted: bool) -> None:
        world = World("window_order", planted)
        assert world.depends("field_1", "field_2") == [True, False]
        assert world.depends("field_3") == [True, True]
        assert world.depends("field_7", "field_8") == [False, True]
        assert not world.interacts("field_3", "field_4")
        assert world.interacts("field_3", "field_5") == planted

    @PLANTED
    def test_high_order(self, planted: bool) -> None:
        world = World("high_order", planted)
        assert all(world.depends(name) == [True, True] for name in FIELDS)
        assert world.interacts("field_1", "field_2") == planted

    @PLANTED
    def test_scenario_shift(self, planted: bool) -> None:
        """Sources differ in which values are popular and in their rates; inputs mean the same in all of them."""
        world = population("scenario_shift", planted)
        ids = world.ids(TRAIN, 0, ROWS)
        assert set(world.ids(TEST, 0, 100)["source"]) == {2}
        counts = [np.bincount(ids["field_1"][ids["source"] == source], minlength=30) for source in (0, 1)]
        distance = abs(counts[0] / counts[0].sum() - counts[1] / counts[1].sum()).sum() / 2
        assert (distance > 0.2) == planted
        log_odds = [world.components({**ids, "source": np.full(ROWS, source)})["log_odds"] for source in (0, 1)]
        assert np.ptp(log_odds[0] - log_odds[1], axis=0) == pytest.approx(0)
        assert (log_odds[0] - log_odds[1]).mean() == pytest.approx(1.6 if planted else 0)

    @PLANTED
    def test_histories(self, planted: bool) -> None:
        world = World("histories", planted)
        assert world.depends("history") == [True, True]
        assert world.interacts("history", "item") == planted
        assert world.depends("item") == [planted, planted]

    @PLANTED
    def test_task_neighbours(self, planted: bool) -> None:
        """Rows of even ids, which have common latent values in either case, are alike in both tasks."""
        world = World("task_neighbours", planted)
        log_odds = world.log_odds()
        own = np.any([world.ids[name] % 2 for name in FIELDS], axis=0)
        assert np.array_equal(log_odds[~own, 0], log_odds[~own, 1])
        assert (abs(log_odds[own, 0] - log_odds[own, 1]) > 1e-9).any() == planted


class TestTheCommand:
    def test_simulate_writes_a_world_and_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        words = ["simulate", "dataset=mechanism", "dataset.mechanism=histories", "rows=200", "to=world"]
        assert cli.main([*words, "dataset.simulator.planted=false"]) == 0
        mark = json.loads(Path("world/simulated.json").read_text())
        assert mark["knobs"]["mechanism"] == "histories"
        assert mark["knobs"]["planted"] is False
        assert len(Path("world/train.csv").read_text().splitlines()) == 201

    @pytest.mark.parametrize(
        ("mechanism", "model"), [("histories", "mpa_sequence"), ("scenario_shift", "mpa_cognitive")]
    )
    def test_models_that_need_histories_or_sources_train(self, mechanism: str, model: str, tmp_path: Path) -> None:
        run = mtlbench.train(
            "dataset=mechanism", f"dataset.mechanism={mechanism}", "dataset.simulator.rows=600", f"model={model}",
            "profile=mechanism", "trainer.epochs=1", "tracker=none", f"run.data={tmp_path / 'data'}",
            f"run.folder={tmp_path / 'runs'}",
        )  # fmt: skip
        assert run.metrics["task_1/ceiling_auc"] == pytest.approx(0.82, abs=0.1)

    def test_an_unknown_mechanism_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(ValueError, match=r"dataset.mechanism.*'sharing'.*task_fields.*routing"):
            MechanismWorld(mechanism="sharing")

    def test_a_ceiling_out_of_range_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"mechanism simulator: ceiling"):
            population("routing", True, ceiling=0.99)
