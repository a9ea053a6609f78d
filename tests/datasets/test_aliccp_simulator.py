"""The Ali-CCP simulator: what is planted is what is read, the truth lines up, and every knob does what it says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mtlbench.datasets.aliccp import population as planted
from mtlbench.datasets.aliccp import simulator, writer
from mtlbench.datasets.aliccp.dataset import AliCCP
from mtlbench.datasets.aliccp.layout import BY_CODE
from mtlbench.datasets.aliccp.population import CLICK_AND_CONVERSION, AliCCPPopulation, Impressions
from mtlbench.datasets.draws import TRAIN
from mtlbench.datasets.planted import sigmoid
from mtlbench.ingest.protocol import Shard

ROWS = 60_000


@dataclass(frozen=True)
class Read:
    """A simulated part, read back: columns of the impressions and of the common rows, and the truth."""

    rows: dict[str, list]
    common: dict[str, list]
    truth: np.ndarray


def read(folder: Path, part: str) -> Read:
    columns: dict[str, dict[str, list]] = {}
    for file in AliCCP().files:
        if file.part == part:
            path = folder / file.name
            whole = columns.setdefault(file.table, {})
            for block in AliCCP(field_set="all").read(Shard(path=path, file=file, start=0, stop=path.stat().st_size)):
                assert block.rejected == ()
                for name in block.columns.schema.names:
                    whole.setdefault(name, []).extend(block.columns[name].to_pylist())
    truth = np.load(folder / f"sample_skeleton_{part}.csv.truth.npy")
    return Read(columns["rows"], columns["common"], truth)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aliccp")
    AliCCP().simulate(folder, rows=ROWS, test_rows=20_000, seed=3)
    return folder


@pytest.fixture(scope="module")
def train(folder: Path) -> Read:
    return read(folder, "train")


@pytest.fixture(scope="module")
def population() -> AliCCPPopulation:
    return AliCCPPopulation(rows=ROWS, test_rows=20_000, seed=3)


def sized(rows: int, seed: int = 0, **more: Any) -> AliCCPPopulation:
    return AliCCPPopulation(rows=rows, test_rows=100, seed=seed, **more)


def pieces(population: AliCCPPopulation, part: int = TRAIN) -> list[Impressions]:
    return [population.piece(*which) for which in population.pieces(part)]


def log_odds(population: AliCCPPopulation) -> np.ndarray:
    """Of all training rows, ``[R, 2]``."""
    return np.concatenate([population.labels.log_odds(piece.components) for piece in pieces(population)])


def numbers(column: list[int | None], code: str) -> np.ndarray:
    """Ids as numbers from 0 within the field's range, -1 where missing."""
    return np.array([-1 if value is None else value - BY_CODE[code].first_id for value in column])


def auc_of_field(values: np.ndarray, labels: np.ndarray, seed: int = 0) -> float:
    """How well a field alone ranks: each value's smoothed label rate on one half of the rows, scored on the other."""
    half = np.random.default_rng(seed).random(values.size) < 0.5
    known, place = np.unique(values, return_inverse=True)
    positives = np.bincount(place[half], labels[half], known.size) + 20 * labels[half].mean()
    rate = positives / (np.bincount(place[half], minlength=known.size) + 20)
    return float(roc_auc_score(labels[~half], rate[place[~half]]))


class TestWhatIsWrittenIsWhatWasPlanted:
    def test_impressions(self, train: Read, population: AliCCPPopulation) -> None:
        planted = pieces(population)
        category = np.concatenate([piece.category for piece in planted])
        item = np.concatenate([piece.item for piece in planted])
        key = np.concatenate([piece.key[piece.row_key] for piece in planted])
        assert np.array_equal(numbers(train.rows["category_206"], "206"), category)
        assert np.array_equal(numbers(train.rows["item_205"], "205"), item)
        assert np.array_equal(numbers(train.rows["brand_216"], "216"), population.brand(category, item))
        assert np.array_equal(numbers(train.rows["shop_207"], "207"), population.shop(category, item))
        assert np.array_equal(np.array(train.rows["key:common"]).view(np.uint64), key)

    def test_users(self, train: Read, population: AliCCPPopulation) -> None:
        planted = pieces(population)
        for code, name in (("101", "user_101"), ("121", "profile_121"), ("129", "geography_129")):
            assert np.array_equal(
                numbers(train.common[name], code), np.concatenate([piece.profile[code] for piece in planted])
            )

    def test_no_common_row_is_empty(self) -> None:
        profile = sized(planted.PUBLISHED_ROWS).profile(np.arange(planted.USERS))
        assert (np.stack(list(profile.values())) >= 0).any(axis=0).all()
        assert (profile["101"] < 0).any()

    def test_every_impression_points_at_one_common_row_and_keys_are_consecutive(self, train: Read) -> None:
        keys = np.array(train.rows["key:common"])
        changes = np.flatnonzero(np.diff(keys)) + 1
        assert keys[np.concatenate(([0], changes))].tolist() == train.common["key"]
        assert len(set(train.common["key"])) == len(train.common["key"])

    def test_a_cross_is_the_matching_history_entry_with_its_value(self, train: Read) -> None:
        place = {key: row for row, key in enumerate(train.common["key"])}
        single = (
            ("category_cross_508", "508", "category_206", "206", "category_history_109_14", "109_14"),
            ("brand_cross_702", "702", "brand_216", "216", "brand_history_127_14", "127_14"),
        )
        found = 0
        for cross, cross_code, own, own_code, history, history_code in single:
            for row in range(2000):
                user = place[train.rows["key:common"][row]]
                past = [number - BY_CODE[history_code].first_id for number in train.common[history][user]]
                value = train.rows[own][row]
                expected = None
                if value is not None and value - BY_CODE[own_code].first_id in past:
                    expected = value - BY_CODE[own_code].first_id + BY_CODE[cross_code].first_id
                    found += 1
                assert train.rows[cross][row] == expected
        assert found > 500

    def test_shared_nodes_carry_the_histories_weights(self, train: Read) -> None:
        place = {key: row for row, key in enumerate(train.common["key"])}
        for row in range(500):
            user = place[train.rows["key:common"][row]]
            history = dict(
                zip(
                    numbers(train.common["intention_history_150_14"][user], "150_14").tolist(),
                    train.common["intention_history_150_14:weight"][user],
                    strict=True,
                )
            )
            nodes = set(numbers(train.rows["intentions_210"][row], "210").tolist())
            crossed = dict(
                zip(
                    numbers(train.rows["intention_cross_853"][row], "853").tolist(),
                    train.rows["intention_cross_853:weight"][row],
                    strict=True,
                )
            )
            assert crossed == {node: history[node] for node in nodes & history.keys()}

    def test_history_values_are_logarithms_of_counts(self, train: Read) -> None:
        values = np.concatenate(train.common["shop_history_110_14:weight"])
        counts = np.expm1(values)
        assert np.abs(counts - np.round(counts)).max() < 1e-3 * counts.max()
        assert counts.min() > 0.99

    def test_the_order_of_triples_varies(self, folder: Path) -> None:
        with (folder / "sample_skeleton_train.csv").open("rb") as file:
            first = {next(file).split(b",")[5].split(b"\x02")[0] for _ in range(200)}
        assert len(first) > 5

    def test_lines_are_numbered_from_one(self, folder: Path) -> None:
        lines = (folder / "sample_skeleton_test.csv").read_bytes().splitlines()
        assert [int(line.split(b",")[0]) for line in lines] == list(range(1, 20_001))

    def test_several_processes_write_the_same_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(simulator, "cores", lambda: 2)
        for name, many in (("one", 32), ("two", 2)):
            monkeypatch.setattr(simulator, "MANY_PIECES", many)
            AliCCP(field_set="din").simulate(tmp_path / name, rows=70_000, test_rows=100, seed=1)
        for path in (tmp_path / "one").iterdir():
            assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()


class TestLabels:
    def test_truth_is_the_label_models_and_stands_in_the_order_of_the_lines(
        self, train: Read, population: AliCCPPopulation
    ) -> None:
        click, after = sigmoid(log_odds(population)).T
        assert np.allclose(train.truth, np.stack([click, click * after], axis=1), atol=1e-6)

    def test_labels_come_true_as_often_as_the_truth_says(self, train: Read) -> None:
        for task, name in enumerate(("click", "conversion")):
            labels, chance = np.array(train.rows[name]), train.truth[:, task].astype(float)
            for tenth in np.array_split(np.argsort(chance), 10):
                expected, deviation = chance[tenth].sum(), np.sqrt((chance[tenth] * (1 - chance[tenth])).sum())
                assert abs(labels[tenth].sum() - expected) < 4 * deviation

    def test_no_conversion_without_a_click_unless_asked_for(self, train: Read, tmp_path: Path) -> None:
        click, conversion = np.array(train.rows["click"]), np.array(train.rows["conversion"])
        assert conversion.sum() > 1000
        assert not (conversion > click).any()
        AliCCP().simulate(tmp_path, rows=10_000, test_rows=100, contradictions=0.05)
        rows = read(tmp_path, "train").rows
        contradictory = (np.array(rows["conversion"]) > np.array(rows["click"])).sum()
        assert contradictory == pytest.approx(0.05 * 8_000, rel=0.2)

    @pytest.mark.parametrize("rates", ["official", "demo"])
    @pytest.mark.parametrize(
        ("rows", "structure", "tolerance"),
        [(200_000, True, 1e-6), (200_000, False, 1e-6), pytest.param(1_200_000, True, 0.05, marks=pytest.mark.long)],
    )
    def test_rates_are_hit(
        self, rates: Literal["official", "demo"], rows: int, structure: bool, tolerance: float
    ) -> None:
        population = sized(rows, seed=1, rates=rates, structure=structure)
        expected = CLICK_AND_CONVERSION[rates]
        click, after = sigmoid(log_odds(population)).T
        assert click.mean() == pytest.approx(expected[0], rel=tolerance)
        assert (click * after).sum() / click.sum() == pytest.approx(expected[1], rel=tolerance)

    def test_the_ceiling_leaves_room_on_both_sides(self, train: Read) -> None:
        ceilings = [
            roc_auc_score(train.rows[name], train.truth[:, task]) for task, name in enumerate(("click", "conversion"))
        ]
        assert 0.8 < ceilings[0] < 0.88
        assert 0.88 < ceilings[1] < 0.96

    @pytest.mark.parametrize("relatedness", [0.0, 0.4, 1.0])
    def test_relatedness_is_the_correlation_of_the_log_odds(self, relatedness: float) -> None:
        found = np.corrcoef(log_odds(sized(ROWS, relatedness=relatedness)).T)[0, 1]
        assert found == pytest.approx(relatedness, abs=1e-3)

    def test_behaviours_of_the_items_kind_matter_on_demand(self, tmp_path: Path) -> None:
        """The planted count, found again from the text: past items by category, kinds by the population's own table."""
        AliCCP(field_set="din").simulate(tmp_path, rows=20_000, test_rows=100, seed=3, shift=0)
        file = read(tmp_path, "train")
        population = sized(20_000, seed=3, behaviour=0.5)
        found = np.concatenate([piece.components["behaviour"] for piece in pieces(population)])
        place = {key: row for row, key in enumerate(file.common["key"])}
        names = "category_history_109_14", "category_history_109_14:weight"
        for row in range(0, 20_000, 200):
            user, category = (
                place[file.rows["key:common"][row]],
                numbers(file.rows["category_206"][row : row + 1], "206"),
            )
            past, weight = (np.array(file.common[name][user]) for name in names)
            same = population.kinds[:, numbers(past, "109_14").astype(int)] == population.kinds[:, category]
            expected = np.log1p(same @ np.round(np.expm1(weight)))
            assert found[row] == pytest.approx(expected, abs=1e-3)
        assert np.corrcoef(found[:, 0], np.log(file.truth[:, 0] / (1 - file.truth[:, 0])))[0, 1] > 0.6

    def test_scenarios_act_otherwise_in_the_test_part_on_demand(self, tmp_path: Path) -> None:
        AliCCP().simulate(tmp_path, rows=20_000, test_rows=20_000, seed=3, shift=1.0)
        rates = []
        for part in ("train", "test"):
            file = read(tmp_path, part)
            scenario, odds = np.array(file.rows["source"]), np.log(file.truth[:, 0] / (1 - file.truth[:, 0]))
            assert set(scenario) <= {9351665, 9351666, 9351667}
            rates.append(odds[scenario == 9351665].mean() - odds[scenario == 9351667].mean())
        assert rates[0] > 0.5
        assert rates[1] < -0.5

    def test_without_structure_no_field_tells_anything(self, train: Read, tmp_path: Path) -> None:
        AliCCP().simulate(tmp_path, rows=ROWS, test_rows=100, seed=3, structure=False)
        flat = read(tmp_path, "train")
        assert np.ptp(flat.truth, axis=0).max() == 0
        assert flat.rows["category_206"] == train.rows["category_206"]  # the inputs are the same
        labels = np.array(flat.rows["click"])
        for name in ("category_206", "item_205", "brand_216", "shop_207", "scenario_301", "category_cross_508"):
            values = np.array([value or 0 for value in flat.rows[name]])
            assert auc_of_field(values, labels) == pytest.approx(0.5, abs=0.02), name
        keys = np.array(flat.rows["key:common"])
        assert auc_of_field(keys, labels) == pytest.approx(0.5, abs=0.02)
        structured = np.array(train.rows["category_206"])
        assert auc_of_field(structured, np.array(train.rows["click"])) > 0.55


class TestSizes:
    def test_coverages_are_near_the_published_ones(self, train: Read) -> None:
        place = {key: row for row, key in enumerate(train.common["key"])}
        at = [place[key] for key in train.rows["key:common"]]
        for code, tolerance in (("216", 0.03), ("508", 0.06), ("509", 0.09), ("702", 0.05), ("205", 0), ("301", 0)):
            (name,) = (name for name in train.rows if name.endswith(f"_{code}"))
            share = np.mean([value is not None for value in train.rows[name]])
            assert share == pytest.approx(BY_CODE[code].coverage, abs=tolerance + 1e-9), name
        for code, tolerance in (("101", 0.01), ("121", 0.05), ("126", 0.08), ("129", 0.08)):
            (name,) = (name for name in train.common if name.endswith(f"_{code}"))
            share = np.mean([train.common[name][row] is not None for row in at])
            assert share == pytest.approx(BY_CODE[code].coverage, abs=tolerance), name
        assert np.mean([len(nodes) for nodes in train.rows["intentions_210"]]) == pytest.approx(6.1, abs=0.3)
        assert np.mean([len(nodes) for nodes in train.rows["intention_cross_853"]]) == pytest.approx(1.4, abs=0.4)

    def test_a_key_has_as_many_impressions_as_published_and_a_user_several_keys(self, train: Read) -> None:
        assert ROWS / len(train.common["key"]) == pytest.approx(57.9, rel=0.1)
        users = [user for user in train.common["user_101"] if user is not None]
        assert 2 < len(users) / len(set(users)) < 4

    @pytest.mark.parametrize("history", [20.0, 40.0, 200.0])
    def test_the_history_knob_is_the_mean_number_of_behaviours(self, history: float) -> None:
        population = sized(1_000_000, history=history)
        piece = population.piece(*population.pieces(TRAIN)[0])
        triples = writer.common_lines(population, piece, np.random.default_rng(0)).count(b"_14\x02")
        assert triples / piece.key.size == pytest.approx(history, rel=0.1)

    def test_vocabularies_grow_with_the_rows_up_to_the_published_ones(self) -> None:
        sizes = [sized(rows).sizes for rows in (10_000, 100_000, 1_000_000, 42_300_135)]
        for code in planted.GROWTH:
            grown = [size[code] for size in sizes]
            assert grown == sorted(set(grown))
            assert grown[-1] == BY_CODE[code].ids
            assert grown[2] / grown[1] == pytest.approx(10 ** planted.GROWTH[code], rel=0.01)
        distinct = []
        for rows in (20_000, 200_000):
            population = sized(rows, history=5)
            distinct.append(np.unique(np.concatenate([piece.item for piece in pieces(population)])).size)
        assert 3 < distinct[1] / distinct[0] < 10

    def test_ids_stay_within_the_ranges_of_their_fields_at_full_size(self) -> None:
        population = sized(planted.PUBLISHED_ROWS)
        sizes = np.concatenate([sizes for _, _, sizes in population.pieces(TRAIN)])
        assert sizes.sum() == planted.PUBLISHED_ROWS
        assert sizes.size == pytest.approx(730_600, rel=0.02)
        piece = population.piece(TRAIN, 700_000, sizes[700_000:700_512])
        click = np.zeros(piece.row_key.size, bool)
        lines = writer.skeleton_lines(population, piece, click, click, 41_000_000, np.random.default_rng(0))
        lines = lines.splitlines() + writer.common_lines(population, piece, np.random.default_rng(0)).splitlines()
        for line in lines[::10]:
            for triple in line.split(b",")[-1].split(b"\x01"):
                code, number = triple.split(b"\x03")[0].split(b"\x02")
                field = BY_CODE[code.decode()]
                assert field.first_id <= int(number) < field.first_id + field.ids, triple


class TestSameKnobsSameFiles:
    def test_files_are_a_function_of_the_knobs(self, tmp_path: Path) -> None:
        def files(name: str, **knobs: Any) -> dict[str, bytes]:
            AliCCP().simulate(tmp_path / name, **({"rows": 5000, "test_rows": 300, "seed": 1} | knobs))
            return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

        first = files("first")
        assert sorted(first) == [
            "common_features_test.csv",
            "common_features_train.csv",
            "sample_skeleton_test.csv",
            "sample_skeleton_test.csv.truth.npy",
            "sample_skeleton_train.csv",
            "sample_skeleton_train.csv.truth.npy",
            "simulated.json",
        ]
        assert files("again") == first
        other = files("other", seed=2)
        assert all(other[name] != first[name] for name in first)
        longer = files("longer", test_rows=400)
        assert all(longer[name] == first[name] for name in first if "train" in name)

    def test_training_and_test_share_users_and_items_but_no_key(self, folder: Path, train: Read) -> None:
        test = read(folder, "test")
        assert not set(test.common["key"]) & set(train.common["key"])
        for name, least in (("user_101", 0.8), ("category_206", 0.95), ("item_205", 0.4)):
            mine, theirs = (part.common if name in part.common else part.rows for part in (test, train))
            assert np.isin(np.unique([value for value in mine[name] if value]), theirs[name]).mean() > least

    def test_pieces_can_be_made_by_themselves(self, population: AliCCPPopulation) -> None:
        first, second = population.pieces(TRAIN)[:2]
        population.piece(*first)
        again = AliCCPPopulation(rows=ROWS, test_rows=20_000, seed=3)
        assert np.array_equal(again.piece(*second).item, population.piece(*second).item)

    def test_a_piece_may_be_one_key_without_a_past(self) -> None:
        population = sized(1000, history=5)
        alone = [population.piece(TRAIN, first, np.array([3])) for first in range(60)]
        assert any(piece.past_key.size == 0 for piece in alone)
        for piece in alone:
            lines = writer.skeleton_lines(population, piece, *np.zeros((2, 3), bool), 0, np.random.default_rng(0))
            assert len(lines.splitlines()) == 3


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"rows": 3}, "rows is 3; allowed: 100 to"),
        ({"rates": "high"}, "rates is 'high'; allowed: auto, official, demo"),
        ({"relatedness": 1.5}, "relatedness is 1.5; allowed: 0 to 1"),
        ({"history": -1.0}, "history is -1.0; allowed: 5 to 2000"),
    ],
)
def test_knobs_out_of_range_are_refused(tmp_path: Path, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AliCCP().simulate(tmp_path / "new", **({"rows": 1000} | knobs))
    assert not (tmp_path / "new").exists()
