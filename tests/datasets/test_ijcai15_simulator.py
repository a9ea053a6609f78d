"""The IJCAI-15 simulator: what is written is what is read, the past is what drives it, and the truth is the truth."""

import json
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from decoded import decoded
from mtlbench.data.split import by_time
from mtlbench.data.store import SPLITS, Store
from mtlbench.datasets.ijcai15.dataset import AFTERWARDS, IJCAI15
from mtlbench.datasets.ijcai15.layout import LOG, USERS
from mtlbench.datasets.ijcai15.population import BAGS, SHARES, IJCAI15Population
from mtlbench.datasets.ijcai15.simulator import RATES, fitted, lived
from mtlbench.datasets.ijcai15.windows import Windows
from mtlbench.ingest.prepare import Provenance, prepare
from mtlbench.ingest.protocol import RawError

TRUTH = f"{LOG}.truth.npy"
STARTS = (1027, 1030, 1102, 1105, 1108)
"""First days of the default windows, as the log writes them."""


def prepared(folder: Path, dataset: IJCAI15 | None = None, **knobs: Any) -> Store:
    """A store of simulated data, of which nothing is too rare to be known."""
    dataset = dataset or IJCAI15()
    dataset.simulate(folder / "raw", **knobs)
    return stored(folder, dataset)


def stored(folder: Path, dataset: IJCAI15) -> Store:
    return prepare(
        dataset,
        folder / "raw",
        folder / "store",
        split=partial(by_time, valid=1, test=1),
        provenance=Provenance(origin="simulated"),
        disjoint=["time"],
        processes=1,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ijcai15")
    prepared(folder, rows=3_000, seed=3)
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return stored(folder, IJCAI15())


def log_of(folder: Path) -> list[list[str]]:
    return [line.split(",") for line in (folder / "raw" / LOG).read_text().splitlines()[1:]]


class TestWhatIsWrittenIsWhatIsRead:
    def test_every_sample(self, folder: Path, store: Store) -> None:
        """Each pair of user and item in a window, with its labels, against the lines of the log."""
        actions = defaultdict(set)
        for user, item, _, _, _, written, action in log_of(folder):
            if STARTS[0] <= int(written) <= 1110:
                actions[int(user), sum(int(written) >= start for start in STARTS) - 1, int(item)].add(action)
        assert len(actions) == 3_000
        seen = Counter()
        for split, windows in zip(SPLITS, ({0, 1, 2}, {3}, {4}), strict=True):
            known = set(store.vocabulary("item_id").values.to_pylist())
            expected = Counter(
                (user, window, item if item in known else None, int("3" in done), int("2" in done))
                for (user, window, item), done in actions.items()
                if window in windows
            )
            rows = decoded(store, split)
            found = Counter(
                (row["group"], row["time"], row["item_id"], row["favourite"], row["purchase"]) for row in rows
            )
            assert found == expected
            seen += found
        assert seen.total() == 3_000

    def test_every_input_of_a_training_row(self, folder: Path, store: Store) -> None:
        about = {int(line[1]): line[2:5] for line in log_of(folder)}
        persons = dict(line.split(",", 1) for line in (folder / "raw" / USERS).read_text().splitlines()[1:])
        past = defaultdict(list)
        for line in log_of(folder):
            past[int(line[0])].append(line)
        rows = decoded(store, "train")
        assert len(rows) > 1_500
        for row in rows[::5]:
            assert [row["cat_id"], row["seller_id"], row["brand_id"]] == [
                int(value) if value else None for value in about[row["item_id"]]
            ]
            age, gender = persons[str(row["user_id"])].split(",")
            assert (row["user_id"], row["age_range"]) == (row["group"], int(age or 0) or None)
            assert row["gender"] == {"0": 0, "1": 1}.get(gender)
            before = [line for line in past[row["user_id"]] if int(line[5]) < STARTS[row["time"]]]
            for place, name in ((1, "item"), (2, "cat"), (3, "seller"), (4, "brand")):
                counts = Counter(int(line[place]) for line in before if line[place])
                history = dict(zip(row[f"{name}_history"], row[f"{name}_history:weight"], strict=True))
                if len(counts) <= 50:
                    assert history == {value: np.float32(np.log1p(count)) for value, count in counts.items()}
            for action, name in enumerate(("clicks", "carts", "purchases", "favourites")):
                assert row[f"past_{name}"] == pytest.approx(
                    np.log1p(sum(line[6] == str(action) for line in before)), abs=1e-4
                )

    def test_what_is_cut_is_the_lightest(self, folder: Path, store: Store, tmp_path: Path) -> None:
        (tmp_path / "raw").symlink_to(folder / "raw")
        short = stored(tmp_path, IJCAI15(history_width=4))
        whole_facts, short_facts = (some.manifest["fields"]["item_history"] for some in (store, short))
        assert short_facts["cut"] > whole_facts["cut"]
        for one, two in zip(decoded(store, "test")[:300], decoded(short, "test")[:300], strict=True):
            assert (one["group"], one["favourite"], one["purchase"]) == (
                two["group"],
                two["favourite"],
                two["purchase"],
            )
            entries = list(zip(one["cat_history"], one["cat_history:weight"], strict=True))
            heaviest = sorted(entries, key=lambda entry: -entry[1])[:4]
            assert sorted(zip(two["cat_history"], two["cat_history:weight"], strict=True)) == sorted(heaviest)

    def test_accounts(self, folder: Path, store: Store) -> None:
        facts = store.manifest["raw"]
        log = log_of(folder)
        assert facts[LOG]["lines"] == len(log)
        assert facts[LOG]["dropped"] == {AFTERWARDS: sum(int(line[5]) > 1110 for line in log)}
        assert facts[USERS]["lines"] == store.manifest["tables"]["user"]
        assert store.manifest["overlaps"]["time"]["shared"] == {
            "train and valid": 0, "train and test": 0, "valid and test": 0
        }  # fmt: skip
        assert json.loads((folder / "raw" / "simulated.json").read_text())["knobs"]["rows"] == 3_000

    def test_files_have_everything_that_trips_readers(self, folder: Path) -> None:
        log = log_of(folder)
        assert {line[6] for line in log} == {"0", "1", "2", "3"}
        assert any(line[4] == "" for line in log)
        assert {len(line[5]) for line in log} == {3, 4}
        persons = [line.split(",") for line in (folder / "raw" / USERS).read_text().splitlines()[1:]]
        assert {"", "0"} <= {person[1] for person in persons}
        assert {"", "2"} <= {person[2] for person in persons}
        labelled = defaultdict(set)
        for line in log:
            labelled[line[0], line[1], line[5]].add(line[6])
        assert any("2" in done and "0" not in done for done in labelled.values()), "a purchase without a click"


def test_test_rows_change_nothing_that_is_fitted(folder: Path, store: Store, tmp_path: Path) -> None:
    """Other items, sellers and actions in the last window: vocabularies and scales are what they were."""
    (tmp_path / "raw").mkdir()
    changed = [
        [line[0], f"{int(line[1]) + 10**6}", "7", "8", "9", line[5], str((int(line[6]) + 2) % 4)]
        if int(line[5]) >= STARTS[-1]
        else line
        for line in log_of(folder)
    ]
    header = (folder / "raw" / LOG).read_text().splitlines()[0]
    (tmp_path / "raw" / LOG).write_text("\n".join([header, *map(",".join, changed), ""]))
    (tmp_path / "raw" / USERS).write_bytes((folder / "raw" / USERS).read_bytes())
    other = stored(tmp_path, IJCAI15())
    assert decoded(other, "test") != decoded(store, "test")
    assert decoded(other, "train") == decoded(store, "train")
    assert decoded(other, "valid") == decoded(store, "valid")
    names = {field.vocabulary_name for field in store.schema.id_fields}
    for name in names:
        assert other.vocabulary(name).values.equals(store.vocabulary(name).values)
    for name in (field.name for field in store.schema.number_fields):
        assert other.manifest["fields"][name]["mean"] == store.manifest["fields"][name]["mean"]


class TestTruth:
    def test_it_stands_beside_its_sample(self, folder: Path, store: Store) -> None:
        """Row by row the truth of the lines of the pair, which its lines agree on."""
        truth = np.load(folder / "raw" / TRUTH)
        of_pair = defaultdict(set)
        for line, chance in zip(log_of(folder), truth.tolist(), strict=True):
            if STARTS[0] <= int(line[5]) <= 1110:
                window = sum(int(line[5]) >= start for start in STARTS) - 1
                of_pair[int(line[0]), window, int(line[1])].add(tuple(chance))
            else:
                assert np.isnan(chance).all()
        assert all(len(chances) == 1 for chances in of_pair.values())
        rows, found = decoded(store, "train"), store.split("train").columns["truth"].tolist()
        for row, chance in zip(rows, found, strict=True):
            assert of_pair[row["group"], row["time"], row["item_id"]] == {tuple(chance)}

    def test_labels_come_true_as_often_as_it_says(self, tmp_path: Path) -> None:
        store = prepared(tmp_path, rows=20_000)
        rows = [store.split(split).columns for split in SPLITS]
        truth = np.concatenate([columns["truth"].numpy() for columns in rows]).astype(float)
        labels = np.concatenate([columns["labels"].numpy() for columns in rows])
        for task in range(2):
            for tenth in np.array_split(np.argsort(truth[:, task]), 10):
                chance = truth[tenth, task]
                deviation = np.sqrt((chance * (1 - chance)).sum())
                assert abs(labels[tenth, task].sum() - chance.sum()) < 4 * deviation
            assert 0.8 < roc_auc_score(labels[:, task], truth[:, task]) < 0.9
        np.testing.assert_allclose(truth.mean(axis=0), RATES, rtol=0.25)

    def test_of_other_windows_it_is_refused(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "raw").symlink_to(folder / "raw")
        with pytest.raises(
            RawError, match=r"no true probability for an event on 1\d+: the log was simulated with other windows"
        ):
            stored(tmp_path, IJCAI15(windows=7))

    def test_of_another_log_it_is_refused(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "raw").mkdir()
        for name in (LOG, USERS):
            (tmp_path / "raw" / name).write_bytes((folder / "raw" / name).read_bytes())
        np.save(tmp_path / "raw" / TRUTH, np.load(folder / "raw" / TRUTH)[1:])
        with pytest.raises(RawError, match="the files do not belong together"):
            stored(tmp_path, IJCAI15())

    def test_a_day_as_a_sample_has_the_same(self, folder: Path, store: Store, tmp_path: Path) -> None:
        """A simulated pair meets on one day of a window, so pairs and days of pairs are the same samples."""
        (tmp_path / "raw").symlink_to(folder / "raw")
        daily = stored(tmp_path, IJCAI15(sample="pair_day"))
        for split in SPLITS:
            one, two = (np.sort(some.split(split).columns["truth"].numpy(), axis=0) for some in (store, daily))
            np.testing.assert_array_equal(one, two)


def pairs(population: IJCAI15Population) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Log-odds and components of the pairs of 1,500 users in all windows."""
    crowd, model = population.crowd(0, users=1500), fitted(population)
    events, _ = lived(population, model, crowd)
    parts = [population.components(crowd, events, window) for window in range(population.windows.count)]
    components = {name: np.concatenate([part[name] for part in parts]) for name in SHARES}
    return model.log_odds(components), components


def of_relatedness(relatedness: float) -> IJCAI15Population:
    windows = Windows(5, 3, 314)  # 314 is 1110
    return IJCAI15Population(rows=15_000, seed=1, relatedness=relatedness, structure=True, history=20, windows=windows)


@pytest.fixture(scope="module")
def population() -> IJCAI15Population:
    return of_relatedness(0.5)


class TestThePast:
    def test_most_of_a_label_comes_from_it(self, population: IJCAI15Population) -> None:
        """The same pairs with somebody else's past: most of what could be foretold is gone."""
        odds, components = pairs(population)
        other = np.random.default_rng(0).permutation(len(odds))
        past = [name for name in SHARES if name.startswith("past") or name in ("counts", "match")]
        strange = fitted(population).log_odds(
            {name: part[other] if name in past else part for name, part in components.items()}
        )
        for task in range(2):
            assert np.corrcoef(odds[:, task], strange[:, task])[0, 1] < 0.5
        assert sum(SHARES[name] for name in past) == pytest.approx(0.7)
        assert set(BAGS) == {name.removeprefix("past ") for name in past if name.startswith("past")}

    def test_what_a_pair_becomes_is_part_of_the_past_of_the_next_window(self, population: IJCAI15Population) -> None:
        crowd = population.crowd(0, users=200)
        events, _ = lived(population, fitted(population), crowd)
        start = population.windows.start(1)
        early = events["day"] < start
        one = population.components(crowd, events[early], 1)
        two = population.components(crowd, events, 1)
        three = population.components(crowd, events[events["day"] < population.windows.start(0)], 1)
        assert all(np.array_equal(one[name], two[name]) for name in SHARES)
        assert not np.array_equal(one["past cat_id"], three["past cat_id"])

    @pytest.mark.parametrize("relatedness", [0.0, 0.5, 1.0])
    def test_relatedness_is_the_correlation_of_the_log_odds(self, relatedness: float) -> None:
        odds, _ = pairs(of_relatedness(relatedness))
        assert np.corrcoef(odds.T)[0, 1] == pytest.approx(relatedness, abs=0.1)

    def test_without_structure_every_pair_has_the_rates(self, tmp_path: Path) -> None:
        IJCAI15().simulate(tmp_path, rows=2000, structure=False)
        truth = np.load(tmp_path / TRUTH)
        inside = truth[~np.isnan(truth).any(axis=1)]
        np.testing.assert_allclose(inside, np.broadcast_to(RATES, inside.shape), rtol=1e-6)


class TestKnobs:
    def test_files_are_a_function_of_the_knobs(self, tmp_path: Path) -> None:
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            IJCAI15().simulate(tmp_path / name, rows=400, seed=seed)
        content = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc"]
        assert sorted(content[0]) == sorted([LOG, TRUTH, USERS, "simulated.json"])
        assert content[0] == content[1]
        assert all(content[0][name] != content[2][name] for name in content[0])

    def test_windows_are_the_readers(self, tmp_path: Path) -> None:
        dataset = IJCAI15(windows=4, window_days=6, last_day=None)
        store = prepared(tmp_path, dataset, rows=3000)
        splits = store.manifest["splits"]
        assert sum(splits[name]["rows"] for name in SPLITS) == 3000
        assert splits["test"]["rows"] > 0.6 * 3000, "the Double 11 lies in the last window"
        assert store.manifest["raw"][LOG]["dropped"] == {AFTERWARDS: 0}

    @pytest.mark.parametrize(
        ("knobs", "reason"),
        [
            ({"rows": 99}, "rows is 99; allowed: 100 to"),
            ({"relatedness": -0.1}, "relatedness is -0.1; allowed: 0 to 1"),
            ({"history": 0.5}, "history is 0.5; allowed: 1 to 1000"),
        ],
    )
    def test_out_of_range(self, tmp_path: Path, knobs: dict[str, Any], reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            IJCAI15().simulate(tmp_path / "new", **knobs)
        assert not (tmp_path / "new").exists()

    def test_windows_beyond_the_simulated_log(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"the log goes from 511 to 1112; dataset\.windows=100 of"):
            IJCAI15(windows=100).simulate(tmp_path / "new", rows=100)
