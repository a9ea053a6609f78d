"""The WeChat simulator: what is planted is what a store holds, the truth lines up, every knob does what it says."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mtlbench.cli.compose import compose
from mtlbench.data.split import by_time
from mtlbench.data.store import SPLITS, Store
from mtlbench.datasets.planted import expected_auc, sigmoid
from mtlbench.datasets.wechat.dataset import WeChat
from mtlbench.datasets.wechat.layout import EMBEDDING, FEED, POSITIVES
from mtlbench.datasets.wechat.population import MOST_ROWS_OF_A_USER, RATES, WeChatPopulation
from mtlbench.datasets.wechat.writer import FIRST_TOPIC_TAG
from mtlbench.experiment.run import train
from mtlbench.ingest.prepare import Provenance, prepare

ROWS = 6000
ACTIONS = ("like", "forward")
KNOBS: dict[str, Any] = {"rows": ROWS, "seed": 3}


@dataclass(frozen=True)
class Made:
    """A simulated folder, its store, and the population behind it with all its rows."""

    raw: Path
    store: Store
    population: WeChatPopulation
    user: np.ndarray
    feed: np.ndarray
    day: np.ndarray


def prepared(raw: Path, store: Path) -> Store:
    return prepare(
        WeChat(actions=ACTIONS),
        raw,
        store,
        split=partial(by_time, valid=1, test=1),
        provenance=Provenance(origin="simulated"),
        disjoint=("time",),
        processes=1,
    )


def rows_of(population: WeChatPopulation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pieces = [population.piece(first) for first in population.pieces]
    user, feed, day = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("user", "feed", "day"))
    return user, feed, day


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("wechat")
    WeChat(actions=ACTIONS).simulate(folder / "raw", **KNOBS)
    population = WeChatPopulation(rows=ROWS, seed=3, relatedness=0.5, drift=0.05)
    return Made(folder / "raw", prepared(folder / "raw", folder / "store"), population, *rows_of(population))


def decoded(store: Store, split: str, name: str) -> list:
    """Values of an id field of every row (of its table, for a field of one), lists for a bag."""
    rows, schema = store.split(split), store.schema
    field = next(field for field in schema.fields if field.name == name)
    own = [f for f in schema.id_fields if f.table == field.table]
    start = sum(f.width for f in own[: own.index(field)])
    ids = (rows.columns if field.table is None else rows.tables[field.table])["ids"].numpy()
    ids = ids[:, start : start + field.width]
    vocabulary = store.vocabulary(field.vocabulary_name)
    values = [vocabulary.decode(np.where(line > 0, line - schema.offsets[name], 0)).to_pylist() for line in ids]
    if field.width == 1:
        return [value for (value,) in values]
    return [
        [value for value, number in zip(line, at, strict=True) if number > 0]
        for line, at in zip(values, ids, strict=True)
    ]


class TestWhatAStoreHoldsIsWhatWasPlanted:
    def test_every_row(self, made: Made) -> None:
        truth = np.load(made.raw / "user_action.csv.truth.npy")
        assert truth.shape == (1 + ROWS, 2)
        assert np.isnan(truth[0]).all()
        for split, days in zip(SPLITS, (range(1, 13), (13,), (14,)), strict=True):
            here = np.isin(made.day, list(days))
            rows = made.store.split(split)
            assert rows.columns["time"].tolist() == made.day[here].tolist()
            assert rows.columns["group"].tolist() == made.population.users[made.user[here]].tolist()
            assert np.array_equal(rows.columns["truth"].numpy(), truth[1:][here])
            users, feeds = decoded(made.store, split, "userid"), decoded(made.store, split, "feedid")
            known = [at for at, feed in enumerate(feeds) if feed is not None]
            assert users == made.population.users[made.user[here]].tolist()
            expected = made.population.feeds.identifier[made.feed[here]]
            assert [feeds[at] for at in known] == expected[known].tolist()
            assert len(known) > (0.5 if split != "train" else 0.999) * len(feeds)

    def test_every_feed(self, made: Made) -> None:
        """Rows point at their own feed, which has its author, length, tags with their chances, and embedding."""
        feeds = made.population.feeds
        rows = made.store.split("train")
        pointer, here = rows.pointers[FEED].numpy(), made.day <= 12
        author, tags = decoded(made.store, "train", "authorid"), decoded(made.store, "train", "machine_tag_list")
        scale = made.store.manifest["fields"]["videoplayseconds"]
        seconds = rows.tables[FEED]["numbers"].numpy()[:, 0] * scale["deviation"][0] + scale["mean"][0]
        weights = rows.tables[FEED]["weights"].numpy()
        scale = made.store.manifest["fields"][EMBEDDING]
        vectors = rows.tables[EMBEDDING]["numbers"].numpy() * scale["deviation"] + scale["mean"]
        planted = made.population.embeddings(0, 256)
        for row, feed in list(zip(range(len(pointer)), made.feed[here], strict=True))[::7]:
            at = pointer[row]
            assert author[at] == feeds.author[feed]
            assert seconds[at] == pytest.approx(feeds.seconds[feed], abs=1e-3)
            assert tags[at][:2] == [FIRST_TOPIC_TAG + topic for topic in (feeds.topic[feed], feeds.second[feed])]
            np.testing.assert_allclose(weights[at, :2], [feeds.share[feed], 1 - feeds.share[feed]], atol=1e-6)
            if feed < 256:
                np.testing.assert_allclose(vectors[rows.pointers[EMBEDDING][row]], planted[feed], atol=1e-6)

    def test_labels_come_true_as_often_as_the_truth_says(self, made: Made) -> None:
        parts = [made.store.split(split).columns for split in SPLITS]
        for task in range(2):
            chance, label = (np.concatenate([part[what][:, task] for part in parts]) for what in ("truth", "labels"))
            for tenth in np.array_split(np.argsort(chance), 10):
                expected, deviation = chance[tenth].sum(), np.sqrt((chance[tenth] * (1 - chance[tenth])).sum())
                assert abs(label[tenth].sum() - expected) < 4 * deviation

    def test_test_rows_move_nothing_that_is_fitted(self, made: Made, tmp_path: Path) -> None:
        """Other users and feeds on the last day: vocabularies, scales and training rows stay, byte by byte."""
        (tmp_path / "raw").mkdir()
        for file in made.raw.iterdir():
            (tmp_path / "raw" / file.name).write_bytes(file.read_bytes())
        table = [line.split(b",") for line in (made.raw / "user_action.csv").read_bytes().splitlines()]
        changed = 0
        for line in table:
            if line[2] == b"14":
                line[0], line[1], changed = b"77777777", table[1][1], changed + 1
        (tmp_path / "raw" / "user_action.csv").write_bytes(b"".join(b",".join(line) + b"\n" for line in table))
        assert changed > 100
        other = prepared(tmp_path / "raw", tmp_path / "store")
        for path in ("vocabulary/userid.parquet", "vocabulary/feedid.parquet", "rows/train.arrow", "rows/valid.arrow"):
            assert (other.folder / path).read_bytes() == (made.store.folder / path).read_bytes(), path
        for path in ("tables/feed.arrow", "tables/feed_embedding.arrow"):
            assert (other.folder / path).read_bytes() == (made.store.folder / path).read_bytes(), path
        assert (other.folder / "rows/test.arrow").read_bytes() != (made.store.folder / "rows/test.arrow").read_bytes()


class TestFiles:
    def test_notation_and_empty_cells_are_as_published(self, made: Made) -> None:
        header, *lines = (made.raw / "feed_info.csv").read_text().splitlines()
        names = header.split(",")
        cells = {name: [line.split(",")[at] for line in lines] for at, name in enumerate(names)}
        assert any("e-0" in chances for chances in cells["machine_tag_list"])
        assert any(";306 0.0;" in chances for chances in cells["machine_tag_list"])
        song, singer = ([cell == "" for cell in cells[f"bgm_{what}_id"]] for what in ("song", "singer"))
        assert song == singer
        for name, share in (("bgm_song_id", 0.48), ("manual_keyword_list", 0.36), ("ocr", 0.28), ("ocr_char", 0.28)):
            assert np.mean([cell == "" for cell in cells[name]]) == pytest.approx(share, abs=0.1)
        assert "0" in cells["feedid"]
        assert "0" in cells["authorid"]
        vectors = (made.raw / "feed_embeddings.csv").read_text().splitlines()[1:]
        assert all(line.endswith(" ") and line.count(" ") == 512 for line in vectors)
        assert len(vectors) == len(lines) == len(set(cells["feedid"]))

    def test_rows_are_ordered_by_user_and_day_and_some_repeat(self, made: Made) -> None:
        lines = [line.split(",")[:3] for line in (made.raw / "user_action.csv").read_text().splitlines()[1:]]
        order = [(int(user), int(day)) for user, _, day in lines]
        assert order == sorted(order)
        assert len(order) == ROWS
        user, feed, _ = rows_of(WeChatPopulation(rows=100_000, seed=0, relatedness=0.5, drift=0.05))
        assert 0.8 < len(np.unique(user * 10**6 + feed)) / 100_000 < 0.99

    def test_files_are_a_function_of_the_knobs(self, tmp_path: Path) -> None:
        def files(name: str, **knobs: Any) -> dict[str, bytes]:
            WeChat().simulate(tmp_path / name, **({"rows": 1000} | knobs))
            return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

        first = files("first")
        assert files("again") == first
        other = files("other", seed=1)
        assert sorted(other) == sorted(first)
        assert all(other[name] != first[name] for name in first)
        marker = json.loads(first["simulated.json"])
        assert marker["knobs"]["rows"] == 1000

    def test_which_actions_are_tasks_changes_the_truth_alone(self, tmp_path: Path) -> None:
        for name, actions in (("a", ("like",)), ("b", ("follow", "like"))):
            WeChat(actions=actions).simulate(tmp_path / name, rows=1000)
        for name in ("user_action.csv", "feed_info.csv", "feed_embeddings.csv"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        one, two = (np.load(tmp_path / name / "user_action.csv.truth.npy") for name in "ab")
        assert np.array_equal(one[1:, 0], two[1:, 1])

    def test_sizes_at_full_size_are_the_published_ones(self) -> None:
        population = WeChatPopulation(rows=7_317_882, seed=0, relatedness=0.5, drift=0.05)
        assert population.sizes.sum() == 7_317_882
        assert population.sizes.max() == MOST_ROWS_OF_A_USER
        assert len(population.sizes) == pytest.approx(20_000, rel=0.05)
        assert len(population.feeds.author) == 106_444 == len(set(population.feeds.identifier.tolist()))
        assert (population.feeds.identifier.min(), population.feeds.identifier.max()) == (
            0,
            pytest.approx(112_871, abs=20),
        )

    @pytest.mark.parametrize(
        ("knobs", "message"),
        [
            ({"rows": 3}, "rows is 3; allowed: 1000 to 7317882"),
            ({"rates": "high"}, "rates is 'high'; allowed: auto, official, demo"),
            ({"relatedness": 1.5}, "relatedness is 1.5; allowed: 0 to 1"),
            ({"drift": -0.1}, "drift is -0.1; allowed: 0 to 1"),
        ],
    )
    def test_knobs_out_of_range_are_refused(self, tmp_path: Path, knobs: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            WeChat().simulate(tmp_path / "new", **({"rows": 1000} | knobs))
        assert not (tmp_path / "new").exists()


def log_odds(population: WeChatPopulation) -> np.ndarray:
    """Of all rows, ``[R, ACTIONS]``."""
    pieces = [population.components(population.piece(first)) for first in population.pieces]
    return np.concatenate([population.labels.log_odds(components) for components in pieces])


class TestKnobs:
    @pytest.mark.parametrize("rates", ["official", "demo"])
    @pytest.mark.parametrize("structure", [True, False])
    def test_rates_and_ceilings_are_hit(self, rates: Literal["official", "demo"], structure: bool) -> None:
        chance = sigmoid(log_odds(WeChatPopulation(rows=20_000, seed=1, rates=rates, structure=structure)))
        np.testing.assert_allclose(chance.mean(axis=0), RATES[rates], rtol=1e-6)
        found = [expected_auc(chance[:, action]) for action in range(len(POSITIVES))]
        assert found == pytest.approx([0.866 if structure else 0.5] * len(POSITIVES), abs=1e-4)

    def test_official_rates_are_the_published_ones(self) -> None:
        published = dict(zip(POSITIVES, RATES["official"], strict=True))
        assert round(published["read_comment"], 7) == 0.0350159
        assert round(published["comment"], 7) == 0.0004046

    @pytest.mark.parametrize("relatedness", [0.0, 0.4, 1.0])
    def test_relatedness_is_the_correlation_of_the_log_odds(self, relatedness: float) -> None:
        found = np.corrcoef(log_odds(WeChatPopulation(rows=40_000, seed=0, relatedness=relatedness, drift=0.05)).T)
        off = found[~np.eye(len(POSITIVES), dtype=bool)]
        assert off.mean() == pytest.approx(relatedness, abs=1e-3)
        assert np.ptp(off) < 1e-3

    def test_drift_turns_tastes_from_day_to_day(self) -> None:
        """The correlation of tastes on two days is the cosine of the angle between them; without drift it is 1."""
        for drift in (0.0, 0.05, 0.2):
            population = WeChatPopulation(rows=500_000, seed=0, relatedness=0.5, drift=drift)
            users = np.arange(len(population.sizes))
            first, last = (population.taste(users, np.full(len(users), day)).ravel() for day in (1, 14))
            assert np.corrcoef(first, last)[0, 1] == pytest.approx(np.cos(13 * drift), abs=0.04)

    def test_old_days_tell_less_of_the_last_one_where_tastes_drift(self) -> None:
        """Each user's rates of the topics, from early or late days, scored on the last day."""
        population = WeChatPopulation(rows=150_000, seed=0, relatedness=0.5, drift=0.12)
        user, feed, day = rows_of(population)
        topic = population.feeds.topic[feed]
        label = np.random.default_rng(0).random(len(user)) < sigmoid(log_odds(population)[:, 2])
        cell = user * (topic.max() + 1) + topic

        def auc(days: range) -> float:
            here = np.isin(day, days)
            count = np.bincount(cell[here], minlength=cell.max() + 1)
            rate = (np.bincount(cell[here], label[here], cell.max() + 1) + 1) / (count + 2)
            return float(roc_auc_score(label[day == 14], rate[cell[day == 14]]))

        assert auc(range(8, 14)) > auc(range(1, 7)) + 0.02

    def test_embeddings_and_tags_tell_where_a_feed_stands(self) -> None:
        population = WeChatPopulation(rows=200_000, seed=0, relatedness=0.5, drift=0.05)
        count = len(population.feeds.author)
        vectors = np.concatenate([population.embeddings(at, min(at + 256, count)) for at in range(0, count, 256)])
        half = count // 2
        solution, *_ = np.linalg.lstsq(vectors[:half], population.feeds.position[:half], rcond=None)
        error = (vectors[half:] @ solution - population.feeds.position[half:]).var()
        assert error < 0.2 * population.feeds.position[half:].var()

    def test_without_structure_labels_depend_on_nothing(self, tmp_path: Path) -> None:
        WeChat().simulate(tmp_path / "with", rows=1000)
        WeChat().simulate(tmp_path / "without", rows=1000, structure=False)
        truth = np.load(tmp_path / "without" / "user_action.csv.truth.npy")[1:]
        assert np.ptp(truth, axis=0).max() == 0
        assert np.ptp(np.load(tmp_path / "with" / "user_action.csv.truth.npy")[1:], axis=0).min() > 0.5
        for name in ("feed_info.csv", "feed_embeddings.csv"):
            assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


@pytest.mark.long
class TestRecovery:
    TRAINING = ("dataset=wechat", "dataset.source=simulated", "model=mmoe", "optimizer=lazy_adam", "tracker=none",
                "trainer.batch_size=1024", "trainer.patience=1")  # fmt: skip

    def metrics(self, folder: Path, *overrides: str) -> dict[str, float]:
        config = compose([*self.TRAINING, f"run.data={folder / 'data'}", f"run.folder={folder / 'runs'}", *overrides])
        return train(config).result.metrics

    def test_a_gated_model_comes_near_the_ceiling(self, tmp_path: Path) -> None:
        found = self.metrics(tmp_path, "trainer.epochs=8")
        for task in ("read_comment", "like", "click_avatar"):
            assert found[f"test/{task}/excess_auc_share"] > 0.8
            assert found[f"test/{task}/auc"] < found[f"test/{task}/ceiling_auc"], "better than the truth: a leak"

    def test_and_finds_nothing_where_there_is_nothing(self, tmp_path: Path) -> None:
        found = self.metrics(tmp_path, "trainer.epochs=2", "dataset.simulator.structure=false")
        for task in ("read_comment", "like", "click_avatar"):
            positives, rows = found[f"test/{task}/positives"], found[f"test/{task}/rows"]
            error = ((rows + 1) / (12 * positives * (rows - positives))) ** 0.5
            assert abs(found[f"test/{task}/auc"] - 0.5) < 4 * error
