"""Criteo-R and Criteo-UR: the maps by hand, the calibration on distributions that are known to meet both correlations,
and the derived store: the base's inputs, labels of nothing but a row's inputs and noise."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from mtlbench.cli.compose import compose
from mtlbench.data import matrices
from mtlbench.data.loader import Rows
from mtlbench.data.split import TEST, SplitInput, at_random
from mtlbench.data.store import SPLITS, Store, StoreError, open_store
from mtlbench.experiment.data import DataSource, open_or_prepare, resolve_data
from mtlbench.experiment.errors import ConfigError
from mtlbench.relabel import network
from mtlbench.relabel.calibration import Calibration, calibrate, related, unrelated
from mtlbench.relabel.confidence import ConfidenceLabels, standard_normal
from mtlbench.relabel.network import Network
from mtlbench.relabel.store import relabelled

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "criteo"
PRINTED = (0.9877, 0.5288)
SMALL = ("dataset.source=simulated", "dataset.simulator.rows=6000", "dataset.relabel.epochs=3")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


class TestTheMaps:
    def test_hand_computed(self) -> None:
        c = np.array([1.0, -1.0, 0.0, math.e - 1])
        first, second = 2 * math.log(2), 0.1 * math.e
        last = 2 + 0.1 * math.exp(math.e - 1)
        np.testing.assert_allclose(related(c, "whole"), [first + second, -first - second, 0, last])
        np.testing.assert_allclose(related(c, "printed"), [first + second, -first + second, 0.1, last])
        half = math.pi / 2
        np.testing.assert_allclose(
            unrelated(np.array([half, -half, math.pi, 0.0, 4.0])),
            [2, -2, -0.1, 0, 2 * math.sin(4) + 0.1 * math.cos(4)],
            atol=1e-12,
        )

    def test_the_related_map_is_increasing_and_the_unrelated_one_turns(self) -> None:
        c = np.linspace(-4, 4, 801)
        assert (np.diff(related(c, "whole")) > 0).all()
        assert unrelated(np.array([3.0]))[0] > 0 > unrelated(np.array([3.2]))[0]


class TestNoise:
    def test_it_is_standard_normal_and_belongs_to_the_row(self) -> None:
        drawn = standard_normal(200_000, 3)
        assert abs(drawn.mean()) < 4 / 200_000**0.5
        assert drawn.std() == pytest.approx(1, abs=0.01)
        assert (drawn < 1.6449).mean() == pytest.approx(0.95, abs=0.002)
        np.testing.assert_array_equal(standard_normal(500, 3), drawn[:500])
        assert abs(correlation(standard_normal(200_000, 4), drawn)) < 0.01

    def test_it_is_the_same_for_ever(self) -> None:
        np.testing.assert_allclose(standard_normal(3, 0), PINNED, rtol=1e-9)


PINNED = [1.1917013116694632, -0.17248532921813478, -1.9360012882743598]
"""For the rows 0, 1, 2 and the seed 0: quantiles 0.88331081, 0.431528 and 0.02643377."""


def normal(mean: float, deviation: float, rows: int = 100_000) -> np.ndarray:
    return mean + deviation * standard_normal(rows, 77)


class TestCalibration:
    def solved(self, logits: np.ndarray, reading: str, clip: float = 4.0) -> tuple[Calibration, float, float]:
        drawn = standard_normal(len(logits), 0)
        found = calibrate(logits, drawn, reading, clip, PRINTED)  # pyright: ignore[reportArgumentType]
        c = found.confidence(logits)
        assert np.abs(c).max() <= clip
        y_r = related(c, reading) + found.noise * drawn  # pyright: ignore[reportArgumentType]
        return found, correlation(c, y_r), correlation(c, unrelated(c))

    @pytest.mark.parametrize(("mean", "deviation"), [(-0.993, 1.2), (-1.985, 2.4), (-0.4965, 0.6)])
    def test_click_like_logits_need_a_scale_and_a_little_noise(self, mean: float, deviation: float) -> None:
        """N(-0.993, 1.2^2), clipped to 4, meets the pair with noise of deviation 0.096, whatever the logits' unit."""
        found, first, second = self.solved(normal(mean, deviation), "whole")
        assert (first, second) == (pytest.approx(0.9877, abs=1e-6), pytest.approx(0.5288, abs=1e-6))
        assert found.scale * deviation == pytest.approx(1.2, abs=0.03)
        assert found.noise == pytest.approx(0.096, abs=0.015)
        assert found.shift == 0

    @pytest.mark.parametrize(("clip", "mean", "deviation"), [(4.0, 1.089, 1.011), (3.0, 1.292, 1.462)])
    def test_as_printed_the_confidences_must_be_mostly_positive(
        self, clip: float, mean: float, deviation: float
    ) -> None:
        logits = normal(-1.7, 0.8)
        found, first, second = self.solved(logits, "printed", clip)
        assert (first, second) == (pytest.approx(0.9877, abs=1e-4), pytest.approx(0.5288, abs=1e-4))
        moved = found.scale * logits + found.shift
        assert (moved.mean(), moved.std()) == (pytest.approx(mean, abs=0.05), pytest.approx(deviation, abs=0.05))
        assert found.noise == 0

    def test_what_cannot_be_reached_is_said(self) -> None:
        with pytest.raises(ValueError, match=r"related confidences correlate at 0\.9\d{3} at best, not at 0\.9877"):
            self.solved(normal(-1, 1), "whole", clip=0.5)
        with pytest.raises(ValueError, match=r"deviation of 0\.0: it has learnt nothing"):
            self.solved(np.full(50, -1.0), "whole")

    @pytest.mark.parametrize(
        ("key", "value"),
        [("relation", "other"), ("reading", "none"), ("threshold", 1), ("calibrate_on", "test"), ("clip", 0.0),
         ("epochs", 0), ("steps", 0), ("batch_size", -1), ("positive_rate", 1.0)],
    )  # fmt: skip
    def test_a_bad_choice_is_refused(self, key: str, value: object) -> None:
        with pytest.raises(ValueError, match=rf"{key} is .*; allowed"):
            ConfidenceLabels(**{"relation": "related", key: value})  # pyright: ignore[reportArgumentType]


def data_of(name: str, folder: Path, *more: str) -> DataSource:
    return resolve_data(composed(name, *more), folder)


def composed(name: str, *more: str) -> DictConfig:
    return compose(
        [f"dataset={name}", *(key for key in SMALL if name != "criteo" or "relabel" not in key), *more]
    ).dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def stores(folder: Path) -> dict[str, Store]:
    return {name: open_or_prepare(data_of(name, folder)) for name in ("criteo_r", "criteo_ur")}


@pytest.fixture(scope="module")
def base(folder: Path) -> Store:
    return open_or_prepare(data_of("criteo", folder))


def columns(store: Store, split: str) -> dict[str, np.ndarray]:
    return matrices.read(store.folder / "rows" / f"{split}.arrow")


class TestTheStore:
    def test_it_is_the_base_but_for_labels_truth_and_confidences(self, stores: dict[str, Store], folder: Path) -> None:
        base = data_of("criteo", folder)
        assert base.store.exists(), "Criteo's own store is the base"
        other = open_store(base.store)
        for store in stores.values():
            store.verify()
            assert store.origin == "simulated"
            assert store.schema == replace(other.schema, tasks=store.schema.tasks)
            for split in SPLITS:
                mine, theirs = columns(store, split), columns(other, split)
                assert (mine["ids"] == theirs["ids"]).all()
                assert set(mine) == set(theirs) == {"ids", "labels", "truth"}
                assert mine["labels"].shape == (len(theirs["labels"]), 2)
            names = {path.name for path in (other.folder / "vocabulary").iterdir()}
            assert names == {path.name for path in (store.folder / "vocabulary").iterdir()}
            for name in names:
                assert (store.folder / "vocabulary" / name).samefile(other.folder / "vocabulary" / name)

    def test_tasks_have_their_names_and_the_click_is_no_longer_there(self, stores: dict[str, Store]) -> None:
        assert [task.name for task in stores["criteo_r"].schema.tasks] == ["base", "related"]
        assert [task.label for task in stores["criteo_ur"].schema.tasks] == ["base", "unrelated"]
        base = [columns(store, "test")["labels"][:, 0].tolist() for store in stores.values()]
        assert base[0] == base[1]

    def test_labels_are_indicators_of_the_confidences(self, stores: dict[str, Store]) -> None:
        for store in stores.values():
            facts = store.manifest["relabel"]
            for split in SPLITS:
                values = np.load(store.folder / "confidences" / f"{split}.npy")
                above = values > np.array([facts["thresholds"][task.name] for task in store.schema.tasks])
                np.testing.assert_array_equal(columns(store, split)["labels"], above)
                if store is stores["criteo_ur"]:
                    np.testing.assert_allclose(values[:, 1], unrelated(values[:, 0].astype(float)), atol=1e-5)

    def test_both_printed_correlations_hold_and_the_manifest_says_so(self, stores: dict[str, Store]) -> None:
        for name, store in stores.items():
            facts = store.manifest["relabel"]
            found = facts["confidence_correlations"]
            assert found["related"]["all"] == pytest.approx(0.9877, abs=0.003)
            assert found["unrelated"]["all"] == pytest.approx(0.5288, abs=0.01)
            values = np.concatenate([np.load(store.folder / "confidences" / f"{split}.npy") for split in SPLITS])
            labels = np.concatenate([columns(store, split)["labels"] for split in SPLITS])
            second = store.schema.tasks[1].name
            assert found[second]["all"] == pytest.approx(correlation(*values.T.astype(float)), abs=1e-5)
            assert facts["label_correlations"][second]["all"] == pytest.approx(correlation(*labels.T), abs=1e-9)
            assert facts["network_auc"]["train"] > 0.7
            assert name == store.manifest["dataset"]

    def test_the_truth_is_certain_but_for_the_noise(self, stores: dict[str, Store]) -> None:
        for name, store in stores.items():
            labels, truth = (
                np.concatenate([columns(store, split)[what] for split in SPLITS]) for what in ("labels", "truth")
            )
            assert (truth[:, 0] == labels[:, 0]).all()
            if name == "criteo_ur":
                assert (truth[:, 1] == labels[:, 1]).all()
                continue
            p = truth[:, 1].astype(float)
            unsure = (p > 0.01) & (p < 0.99)
            assert unsure.sum() > 100
            for low, high in ((0.01, 0.3), (0.3, 0.7), (0.7, 0.99)):
                here = (p > low) & (p < high)
                spread = (p[here] * (1 - p[here])).sum() ** 0.5
                assert abs(labels[here, 1].sum() - p[here].sum()) < 4 * spread

    def test_the_rate_of_training_rows_is_that_of_the_clicks(self, stores: dict[str, Store], folder: Path) -> None:
        clicks = columns(open_store(data_of("criteo", folder).store), "train")["labels"].mean()
        for store in stores.values():
            assert columns(store, "train")["labels"].mean(axis=0) == pytest.approx([clicks, clicks], abs=1e-3)

    def test_a_manifest_counts_what_is_there(self, stores: dict[str, Store]) -> None:
        for store in stores.values():
            for split, facts in store.manifest["splits"].items():
                labels = columns(store, split)["labels"]
                assert facts["rows"] == len(labels)
                assert list(facts["positives"].values()) == labels.sum(axis=0).tolist()
                assert list(facts["together"].values()) == [int((labels.sum(axis=1) == 2).sum())]


class TestWhatLabelsDependOn:
    """The base store is made once; labels are made from it directly."""

    FEW = ConfidenceLabels(relation="related", epochs=1)

    def test_the_same_bits_again_whatever_the_threads_and_torch_is_left_as_it_was(self, base: Store) -> None:
        threads = torch.get_num_threads()
        results = []
        try:
            for number in (1, 3):
                torch.set_num_threads(number)
                torch.manual_seed(number)
                before = torch.get_rng_state()
                results.append(self.FEW(base))
                assert torch.equal(torch.get_rng_state(), before)
                assert torch.get_num_threads() == number
        finally:
            torch.set_num_threads(threads)
        for split in SPLITS:
            np.testing.assert_array_equal(results[0].confidences[split], results[1].confidences[split])
        other = replace(self.FEW, seed=1)(base)
        assert (other.labels["train"] != results[0].labels["train"]).any()

    def test_clicks_of_other_rows_than_training_ones_have_no_say(self, base: Store, tmp_path: Path) -> None:
        """Labels may know a test row's inputs, and nothing of what was clicked there."""
        config = composed("criteo", f"dataset.raw={tmp_path}", "dataset.source=real")
        text = (data_of("criteo", base.folder.parents[2]).raw / "train.txt").read_bytes().split(b"\n")[:-1]
        none = SplitInput(test=np.zeros(len(text), bool), pointers={}, keys={})
        split = at_random(none, valid=0.1, test=0.1, seed=0)
        flipped = [
            bytes([line[0] ^ 1]) + line[1:] if where == TEST else line for line, where in zip(text, split, strict=True)
        ]
        (tmp_path / "train.txt").write_bytes(b"\n".join(flipped) + b"\n")
        other = open_or_prepare(resolve_data(config, tmp_path))
        assert (columns(other, "test")["labels"] != columns(base, "test")["labels"]).all()
        one, two = self.FEW(base), self.FEW(other)
        for name in SPLITS:
            np.testing.assert_array_equal(one.labels[name], two.labels[name])
            np.testing.assert_array_equal(one.confidences[name], two.confidences[name])

    def test_calibrated_on_training_rows_their_correlations_are_exact(self, base: Store) -> None:
        found = replace(self.FEW, calibrate_on="train")(base).facts["confidence_correlations"]
        assert found["related"]["train"] == pytest.approx(0.9877, abs=1e-6)
        assert found["unrelated"]["train"] == pytest.approx(0.5288, abs=1e-6)
        assert found["unrelated"]["all"] != pytest.approx(0.5288, abs=1e-6)

    def test_a_threshold_of_zero_and_a_rate_of_ones_own(self, base: Store) -> None:
        zero = replace(self.FEW, threshold="zero")(base)
        np.testing.assert_array_equal(zero.labels["train"], zero.confidences["train"] > 0)
        rate = replace(self.FEW, positive_rate=0.4)(base)
        assert rate.labels["train"].mean(axis=0) == pytest.approx([0.4, 0.4], abs=1e-3)

    def test_as_printed_without_noise_the_truth_is_certain(self, base: Store) -> None:
        made = replace(self.FEW, reading="printed")(base)
        assert made.facts["noise"] == 0
        assert made.facts["shift"] > 0
        np.testing.assert_array_equal(made.labels["test"], made.truth["test"])

    def test_no_more_steps_than_allowed_and_all_by_one_thread(
        self, base: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[int, int]] = []
        gather = Rows.gather

        def counted(rows: Rows, index: torch.Tensor) -> object:
            seen.append((len(index), torch.get_num_threads()))
            return gather(rows, index)

        monkeypatch.setattr(Rows, "gather", counted)
        monkeypatch.setattr(network, "SCORED_ROWS", 1000)
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            few = Network(embedding_width=2, layers=(3,), epochs=2, steps=5, batch_size=64, lr=0.001, seed=0)
            few.confidences(base)
        finally:
            torch.set_num_threads(threads)
        assert [rows for rows, _ in seen[:5]] == [64] * 5
        assert sum(rows for rows, _ in seen[5:]) == 6000
        assert {number for _, number in seen} == {1}


class TestIdentity:
    def test_every_key_of_the_labels_counts_and_so_does_the_base(self, folder: Path) -> None:
        others = [
            "dataset.relabel.seed=1", "dataset.relabel.reading=printed", "dataset.relabel.clip=3.5",
            "dataset.relabel.noise_seed=1", "dataset.min_count=5", "dataset.split_rule=x4",
            "dataset.numbers=standardise", "dataset.simulator.seed=1",
        ]  # fmt: skip
        found = {data_of("criteo_r", folder, other).fingerprint for other in others}
        found |= {data_of(name, folder).fingerprint for name in ("criteo", "criteo_r", "criteo_ur")}
        assert len(found) == len(others) + 3

    def test_only_what_makes_the_base_changes_the_base(self, folder: Path) -> None:
        own = data_of("criteo", folder).fingerprint
        for name in ("criteo_r", "criteo_ur"):
            base = data_of(name, folder, "dataset.relabel.seed=1").base
            assert base is not None
            assert base.fingerprint == own
        other = data_of("criteo_r", folder, "dataset.min_count=5").base
        assert other is not None
        assert other.fingerprint != own

    def test_tasks_are_those_of_the_labels(self, folder: Path) -> None:
        with pytest.raises(
            ConfigError, match=r"dataset\.tasks is \['click'\], but 'criteo_r' has the tasks \['base', 'rel"
        ):
            data_of("criteo_r", folder, "dataset.tasks=[click]")
        with pytest.raises(ConfigError, match=r"dataset\.relabel: epochs is 0; allowed: above 0"):
            data_of("criteo_r", folder, "dataset.relabel.epochs=0")


class TestAtomicity:
    def make(self, base: Store, store: Path, relabel: ConfidenceLabels) -> Store:
        return relabelled(base, store, relabel, name="criteo_r", identity={}, one_class="fail")

    def test_a_failure_leaves_nothing_and_the_next_try_works(
        self, base: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        few = ConfidenceLabels(relation="related", epochs=1)
        with monkeypatch.context() as patch:
            patch.setattr("mtlbench.relabel.store.manifest.files", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                self.make(base, tmp_path / "store", few)
        assert not list(tmp_path.iterdir())
        self.make(base, tmp_path / "store", few).verify()
        assert [path.name for path in tmp_path.iterdir()] == ["store"]

    def test_a_second_time_it_is_opened(self, base: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        few = ConfidenceLabels(relation="related", epochs=1)
        self.make(base, tmp_path / "store", few)
        monkeypatch.setattr(ConfidenceLabels, "__call__", lambda *_: 1 / 0)
        assert self.make(base, tmp_path / "store", few).schema.tasks == few.tasks

    def test_something_else_in_its_place_is_an_error(self, base: Store, tmp_path: Path) -> None:
        (tmp_path / "store").mkdir()
        with pytest.raises(StoreError, match="exists and is no prepared data set"):
            self.make(base, tmp_path / "store", ConfidenceLabels(relation="related"))


@pytest.mark.parametrize("name", ["criteo_r", "criteo_ur"])
def test_real_lines_meet_both_printed_correlations(name: str, tmp_path: Path) -> None:
    if not (SHARED / "train.10k.txt").exists():
        pytest.skip("real rows stand beside the checkout, not in it; no shared/data/criteo here")
    (tmp_path / "train.txt").symlink_to(SHARED / "train.10k.txt")
    store = open_or_prepare(resolve_data(compose([f"dataset={name}", f"dataset.raw={tmp_path}"]).dataset, tmp_path))
    assert store.origin == "real"
    facts = json.loads((store.folder / "manifest.json").read_text())["relabel"]
    found = facts["confidence_correlations"]
    assert found["related"]["all"] == pytest.approx(0.9877, abs=0.003)
    assert found["unrelated"]["all"] == pytest.approx(0.5288, abs=0.01)
    assert sum(len(store.split(split)) for split in SPLITS) == 10_000
    assert facts["label_correlations"]["unrelated"]["all"] < facts["label_correlations"]["related"]["all"] < 1
