"""Alipay and Xiaomi: only simulated, in every place; what is planted is what a store holds, at the stated rates."""

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from mtlbench.cli.compose import compose
from mtlbench.data.split import SplitInput, at_random
from mtlbench.data.store import SPLITS, Store
from mtlbench.datasets.planted import expected_auc, sigmoid
from mtlbench.datasets.unpublished import dataset as unpublished
from mtlbench.datasets.unpublished.dataset import Unpublished
from mtlbench.datasets.unpublished.simulator import UnpublishedPopulation
from mtlbench.experiment.build import build
from mtlbench.experiment.data import resolve_data
from mtlbench.experiment.run import train
from mtlbench.ingest.parse import cut_file
from mtlbench.ingest.prepare import Provenance, prepare
from mtlbench.ingest.protocol import LINE, RawError

NAMES = ("alipay", "xiaomi")


@cache
def configured(name: str) -> Unpublished:
    return build(compose([f"dataset={name}"]).dataset.reader, "dataset.reader")


def population(name: str, rows: int, seed: int = 0, relatedness: float = 0.5) -> UnpublishedPopulation:
    return UnpublishedPopulation(
        published=configured(name), rows=rows, seed=seed, relatedness=relatedness, structure=True
    )


def prepared(dataset: Unpublished, raw: Path, store: Path) -> Store:
    return prepare(
        dataset,
        raw,
        store,
        split=partial(at_random, valid=0.1, test=0.1, seed=0),
        provenance=Provenance(origin="simulated"),
        processes=1,
    )


@pytest.mark.parametrize("name", NAMES)
class TestBoth:
    def test_they_say_in_every_place_that_they_are_simulated(self, name: str, tmp_path: Path) -> None:
        config = compose([f"dataset={name}", f"run.data={tmp_path}"]).dataset
        assert config.source == "simulated"
        dataset = configured(name)
        comment = (Path(__file__).parents[2] / "conf" / "dataset" / f"{name}.yaml").read_text().splitlines()[0]
        assert "so every result on\nthese names is SIMULATED" in (unpublished.__doc__ or "")
        assert "never published: simulated to the printed statistics" in dataset.where
        assert "never published: simulated to the printed statistics" in comment
        dataset.simulate(tmp_path / "made", rows=1000)
        assert json.loads((tmp_path / "made" / "simulated.json").read_text())["note"] == dataset.where

    def test_real_is_refused(self, name: str, tmp_path: Path) -> None:
        config = compose([f"dataset={name}", "dataset.source=real"]).dataset
        with pytest.raises(RawError, match=r"Private data of .*, never published: simulated to the printed statistics"):
            resolve_data(config, tmp_path)

    def test_a_file_that_no_simulator_wrote_is_refused(self, name: str, tmp_path: Path) -> None:
        dataset = configured(name)
        dataset.simulate(tmp_path, rows=1000)
        (tmp_path / "simulated.json").unlink()
        with pytest.raises(RawError, match=f"{name}.csv was not written by a simulator, and cannot be the real thing"):
            prepared(dataset, tmp_path, tmp_path / "store")

    def test_a_store_holds_what_was_planted(self, name: str, tmp_path: Path) -> None:
        dataset = configured(name)
        dataset.simulate(tmp_path / "raw", rows=3000, seed=2)
        store = prepared(dataset, tmp_path / "raw", tmp_path / "store")
        planted = population(name, rows=3000, seed=2)
        inputs = planted.inputs(0, 3000)
        chance = planted.labels.probabilities(planted.components(inputs))
        split = at_random_numbers(3000)
        for number, part in enumerate(SPLITS):
            here, columns = split == number, store.split(part).columns
            assert np.allclose(columns["truth"], chance[here], atol=1e-7)
            assert columns["group"].tolist() == inputs["user"][here].tolist()
            for field in dataset.sizes:
                ids = columns["ids"].numpy()[:, store.schema.slots[field].start] - store.schema.offsets[field]
                values = store.vocabulary(field).decode(ids).to_pylist()
                known = [at for at, value in enumerate(values) if value is not None]
                assert [values[at] for at in known] == inputs[field][here][known].tolist()
                assert part != "train" or len(known) == here.sum()
        assert store.origin == "simulated"
        assert store.manifest["raw"][f"{name}.csv"]["published"] is None

    def test_rates_are_the_configured_ones_and_labels_follow_the_truth(self, name: str, tmp_path: Path) -> None:
        dataset = configured(name)
        for structure in (True, False):
            folder = tmp_path / str(structure)
            dataset.simulate(folder, rows=30_000, structure=structure)
            truth = np.load(folder / f"{name}.csv.truth.npy")[1:].astype(float)
            np.testing.assert_allclose(truth.mean(axis=0), dataset.rates, rtol=1e-4)
            assert (np.ptp(truth, axis=0) > 0.1).all() == structure
            table = [line.split(",") for line in (folder / f"{name}.csv").read_text().splitlines()[1:]]
            labels = np.array([line[-2:] for line in table], int)
            for task in range(2):
                for part in np.array_split(np.argsort(truth[:, task]), 5):
                    expected = truth[part, task]
                    deviation = np.sqrt((expected * (1 - expected)).sum())
                    assert abs(labels[part, task].sum() - expected.sum()) < 4 * deviation
            assert bool((labels[:, 1] > labels[:, 0]).any()) != dataset.chained

    def test_facts_are_functions_of_the_user_and_of_the_item(self, name: str) -> None:
        dataset = configured(name)
        inputs = population(name, rows=20_000).inputs(0, 20_000)
        for owner, facts in (("user", ("segment", "city", "age")), (dataset.item, ("category", "owner"))):
            for fact in facts:
                pairs = set(zip(inputs[owner].tolist(), inputs[fact].tolist(), strict=True))
                assert len(pairs) == len(set(inputs[owner].tolist()))
                assert len(set(inputs[fact].tolist())) > 0.8 * dataset.sizes[fact]

    def test_sizes_are_the_printed_ones_at_the_printed_rows(self, name: str) -> None:
        dataset = configured(name)
        sizes = population(name, rows=dataset.rows).sizes
        printed = {"alipay": (2_672_481, 1_838_449, 3_731), "xiaomi": (320_000_000, 11_000_000, 140_000)}[name]
        assert (dataset.rows, sizes["user"], sizes[dataset.item]) == printed

    def test_files_are_a_function_of_the_knobs(self, name: str, tmp_path: Path) -> None:
        dataset = configured(name)
        for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
            dataset.simulate(tmp_path / folder, rows=1000, seed=seed)
        content = [{path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in "abc"]
        assert content[0] == content[1]
        assert all(content[0][file] != content[2][file] for file in content[0])

    @pytest.mark.long
    @pytest.mark.parametrize("structure", [True, False])
    def test_structure_can_be_learnt_and_can_be_destroyed(self, name: str, tmp_path: Path, structure: bool) -> None:
        found = train(
            compose(
                [f"dataset={name}", "model=mmoe", "optimizer=lazy_adam", "tracker=none", "trainer.batch_size=256",
                 f"trainer.epochs={10 if structure else 2}", "trainer.patience=1", f"run.data={tmp_path}",
                 f"run.folder={tmp_path / 'runs'}", f"dataset.simulator.structure={structure}"]
            )
        ).result.metrics  # fmt: skip
        for task in configured(name).labels:
            if structure:
                assert found[f"test/{task}/excess_auc_share"] > 0.8
                assert found[f"test/{task}/auc"] < found[f"test/{task}/ceiling_auc"], "better than the truth: a leak"
            else:
                positives, rows = found[f"test/{task}/positives"], found[f"test/{task}/rows"]
                error = ((rows + 1) / (12 * positives * (rows - positives))) ** 0.5
                assert abs(found[f"test/{task}/auc"] - 0.5) < 4 * error


def at_random_numbers(rows: int) -> np.ndarray:
    return at_random(SplitInput(test=np.zeros(rows, bool), pointers={}, keys={}), valid=0.1, test=0.1, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_configurations_of_older_runs_name_the_former_class(name: str, tmp_path: Path) -> None:
    """Without ceilings, which older configurations do not have; the folder is one that a user kept."""
    configured(name).simulate(tmp_path / "raw", rows=1000)
    dataset = compose([f"dataset={name}", "dataset.source=real", f"dataset.raw={tmp_path / 'raw'}"]).dataset
    OmegaConf.set_struct(dataset, False)
    dataset.reader._target_ = "mtlbench.datasets.private.Private"
    del dataset.reader.ceilings
    data = resolve_data(dataset, tmp_path)
    assert (type(data.reader), data.origin) == (Unpublished, "simulated")


def test_labels_may_be_chained() -> None:
    assert [task.given for task in configured("alipay").tasks] == [None, None]
    assert [task.given for task in configured("xiaomi").tasks] == [None, "click"]


@pytest.mark.parametrize("relatedness", [0.0, 0.6, 1.0])
def test_relatedness_is_the_correlation_of_the_log_odds(relatedness: float) -> None:
    planted = population("alipay", rows=10_000, relatedness=relatedness)
    odds = planted.labels.log_odds(planted.components(planted.inputs(0, 10_000)))
    assert np.corrcoef(odds.T)[0, 1] == pytest.approx(relatedness, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_ceilings_are_the_configured_ones(name: str) -> None:
    for seed in (0, 1):
        planted = population(name, rows=20_000, seed=seed)
        odds = planted.labels.log_odds(planted.components(planted.inputs(0, 20_000)))
        click, after = sigmoid(odds).T
        found = [expected_auc(click), expected_auc(after, click if configured(name).chained else None)]
        assert found == pytest.approx(configured(name).ceilings, abs=1e-3)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2,3,4,5,6,7,0,2", "purchase is '2'; expected one of 0, 1"),
        ("1,2,3,4,5,6,0,1", "8 comma-separated columns; there must be 9"),
        ("1,2,,4,5,6,7,0,1", "city is ''; expected digits"),
        ("1,2,3,4,5,6,7,0,1\r", "carriage return"),
    ],
)
def test_a_bad_line_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    dataset = configured("alipay")
    head = "user,segment,city,age,advertisement,category,owner,following,purchase"
    path = tmp_path / "alipay.csv"
    path.write_bytes(f"{head}\n1,2,3,4,5,6,7,0,1\n{line}\n".encode())
    (tmp_path / "simulated.json").write_text("{}")
    blocks = [block for shard in cut_file(path, dataset.files[0]) for block in dataset.read(shard)]
    ((number, found),) = [(bad.line, bad.reason) for block in blocks for bad in block.rejected]
    assert (number, reason in found) == (2, True)
    (row,) = [row for block in blocks for row in block.columns.to_pylist()]
    assert row == {
        LINE: 1, "user": 1, "segment": 2, "city": 3, "age": 4, "advertisement": 5, "category": 6, "owner": 7,
        "group": 1, "following": 0, "purchase": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"rates": (0.1, 0.2)}, "valid_play needs click and is no likelier"),
        ({"rates": (0.1,)}, "there must be two of each"),
        ({"rates": (0.1, 0.0)}, "above 0 and below 1"),
        ({"ceilings": (0.7, 1.0)}, "above 0 and below 1"),
        ({"ceilings": (0.7,)}, "two of each"),
    ],
)
def test_rates_are_checked(keys: dict[str, Any], message: str) -> None:
    given = {
        "name": "xiaomi", "owner": "o", "paper": "p", "item": "album", "labels": ("click", "valid_play"),
        "rates": (0.2, 0.1), "chained": True, "rows": 10_000, "users": 100, "items": 10, **keys,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        Unpublished(**given)


@pytest.mark.parametrize(("knobs", "message"), [({"rows": 3}, "rows is 3; allowed"), ({"relatedness": 2}, "0 to 1")])
def test_knobs_out_of_range_are_refused(tmp_path: Path, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configured("alipay").simulate(tmp_path / "new", **knobs)
    assert not (tmp_path / "new").exists()
