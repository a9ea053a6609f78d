"""Census-Income: what the reader accepts and refuses, the real files where they are, and the simulator's truth."""

import gzip
import json
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mtlbench.data.split import halve_test
from mtlbench.data.store import Store
from mtlbench.datasets.census import Census
from mtlbench.datasets.census import dataset as census
from mtlbench.datasets.census.layout import COLLEGE, COLUMNS, NOMINAL, NUMBERS
from mtlbench.datasets.census.simulator import CATEGORIES, RATES
from mtlbench.ingest.parse import cut_file
from mtlbench.ingest.prepare import Provenance, prepare
from mtlbench.ingest.protocol import LINE, Block, RawError, RawFile

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "census"

GOOD = {
    **{name: f"some {name}" for name in NOMINAL},
    **dict.fromkeys(NUMBERS, "7"),
    "hisp_origin": "NA",
    "citizenship": "Foreign born- Not a citizen of U S ",
    "state_prev_res": "?",
    "instance_weight": "1700.09",
    "education": "Doctorate degree(PhD EdD)",
    "marital_stat": "Never married",
    "income_50k": "- 50000.",
}


def line(**changed: str) -> bytes:
    return ", ".join({**GOOD, **changed}[name] for name in COLUMNS).encode() + b"\n"


def read(path: Path, dataset: Census = Census()) -> list[Block]:  # noqa: B008  # frozen
    file = next(file for file in dataset.files if path.name in (file.name, *file.other_names))
    return [block for shard in cut_file(path, file) for block in dataset.read(shard)]


def write(folder: Path, *lines: bytes) -> Path:
    path = folder / "census-income.data"
    path.write_bytes(b"".join(lines))
    return path


def column(blocks: list[Block], name: str) -> list:
    return [value for block in blocks for value in block.columns[name].to_pylist()]


def test_inputs_are_the_forty_without_education_and_marital_status() -> None:
    fields = Census().fields
    assert (sum(f.kind == "id" for f in fields), sum(f.kind == "number" for f in fields)) == (31, 7)
    assert len(COLUMNS) == len(set(COLUMNS)) == 42
    assert {f.name for f in fields} == set(COLUMNS) - {"education", "marital_stat", "instance_weight", "income_50k"}
    assert set(CATEGORIES) == set(NOMINAL)


@pytest.mark.parametrize(
    ("group", "changed", "labels"),
    [
        ("income", {}, (0, 1)),
        ("income", {"income_50k": "50000+.", "marital_stat": "Separated"}, (1, 0)),
        ("education", {}, (1, 1)),
        ("education", {"education": "Some college but no degree", "marital_stat": "Widowed"}, (0, 0)),
        ("education", {"education": "Associates degree-occup /vocational"}, (1, 1)),
    ],
)
def test_a_good_line(tmp_path: Path, group: str, changed: dict[str, str], labels: tuple[int, int]) -> None:
    dataset = Census(group)  # pyright: ignore[reportArgumentType]
    (block,) = read(write(tmp_path, line(**changed)), dataset)
    assert block.rejected == ()
    assert tuple(column([block], task.label)[0] for task in dataset.tasks) == labels
    assert column([block], "hisp_origin") == ["NA"], "a value, not a missing one"
    assert column([block], "state_prev_res") == ["?"]
    assert column([block], "citizenship") == ["Foreign born- Not a citizen of U S"]
    assert column([block], "age") == [7.0]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (line().replace(b", ", b",", 1), "41 columns, separated by comma and space; there must be 42"),
        (line()[:-1] + b", 5\n", "43 columns"),
        (b"\n", "1 columns"),
        (line(age="x"), "column 'age' is 'x'; it must be a whole number"),
        (line(weeks_worked="-3"), "column 'weeks_worked' is '-3'"),
        (line(capital_gains="nan"), "column 'capital_gains' is 'nan'"),
        (line(wage_per_hour="\u0663"), "column 'wage_per_hour'"),
        (line(capital_gains="9" * 400), "'999999999999999999999999999999'; it must be a whole number of up to 15"),
        (line(income_50k="-50000."), "column 'income_50k' is '-50000.'; allowed: '- 50000.', '50000+.'"),
        (line(education="Kindergarten"), "column 'education' is 'Kindergarten'; allowed: 'Children'"),
        (line(marital_stat="Complicated"), "column 'marital_stat' is 'Complicated'"),
        (line(race=""), "column 'race' is empty"),
        (line(sex=" "), "column 'sex' is empty"),
        (line(race="\xff").replace("\xff".encode(), b"\xff"), " is not UTF-8 text"),
    ],
)
def test_bad_lines_are_refused_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes, reason: str
) -> None:
    monkeypatch.setattr(census, "BLOCK_LINES", 2)
    blocks = read(write(tmp_path, line(), line(), line(age="1"), bad, line(age="2")))
    (refused,) = [rejected for block in blocks for rejected in block.rejected]
    assert refused.line == 3
    assert refused.text == bad.rstrip(b"\n")
    assert reason in refused.reason
    assert column(blocks, LINE) == [0, 1, 2, 4]
    assert column(blocks, "age") == [7.0, 7.0, 1.0, 2.0]
    assert sum(block.lines for block in blocks) == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-200],
        lambda packed: b"plain " + packed,
        lambda packed: packed[:500] + b"\x00\x01" + packed[502:],
    ],
)
def test_damaged_gzip(tmp_path: Path, damage) -> None:
    random = np.random.default_rng(0)
    packed = gzip.compress(b"".join(line(age=str(age)) for age in random.integers(0, 90, 5000)))
    (tmp_path / "census-income.data.gz").write_bytes(damage(packed))
    with pytest.raises(RawError, match=r"census-income\.data\.gz is damaged or incomplete"):
        read(tmp_path / "census-income.data.gz")


def test_packed_and_unpacked_files_are_welcome(tmp_path: Path) -> None:
    plain = write(tmp_path, line(), line(age="3"))
    (tmp_path / "census-income.data.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert column(read(plain), "age") == column(read(tmp_path / "census-income.data.gz"), "age") == [7.0, 3.0]
    (tmp_path / "census-income.data.gz").unlink()
    assert Census().files[0].find(tmp_path) == plain
    plain.write_bytes(b"")
    assert Census().files[0].find(tmp_path) is None


def test_unknown_task_group() -> None:
    with pytest.raises(ValueError, match="task_group is 'wealth'; allowed: income, education"):
        Census("wealth")  # pyright: ignore[reportArgumentType]


def prepared(raw: Path, store: Path, dataset: Census, origin: Literal["real", "simulated"] = "simulated") -> Store:
    return prepare(
        dataset, raw, store, split=partial(halve_test, seed=0), processes=1, provenance=Provenance(origin=origin)
    )  # pyright: ignore[reportArgumentType]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real files are not in {REAL}")
@pytest.mark.parametrize(
    ("group", "main", "positives"),
    [
        ("income", "income", (12_382, 6_186)),
        pytest.param("education", "college", (39_183, None), marks=pytest.mark.long),
    ],
)
def test_the_real_files(tmp_path: Path, group: str, main: str, positives: tuple[int, int | None]) -> None:
    """Counts as published and as the documentation of the data states them."""
    store = prepared(REAL, tmp_path / "store", Census(group), "real")  # pyright: ignore[reportArgumentType]
    splits = store.manifest["splits"]
    assert [splits[name]["rows"] for name in ("train", "valid", "test")] == [199_523, 49_881, 49_881]
    assert splits["train"]["positives"] == {main: positives[0], "never_married": 86_485}
    assert splits["valid"]["positives"]["never_married"] + splits["test"]["positives"]["never_married"] == 43_143
    if positives[1] is not None:
        assert splits["valid"]["positives"][main] + splits["test"]["positives"][main] == positives[1]
    assert {facts["published"] for facts in store.manifest["raw"].values()} == {"matches the published counts"}
    assert {name: len(store.vocabulary(name)) for name in NOMINAL} == CATEGORIES
    counts = dict(
        zip(
            store.vocabulary("hisp_origin").values.to_pylist(),
            store.vocabulary("hisp_origin").counts.tolist(),
            strict=True,
        )
    )
    assert counts["NA"] == 874
    assert all(store.manifest["fields"][name]["missing"]["train"] == 0 for name in NUMBERS)
    if group == "education":
        labels = store.split("test").columns["labels"], store.split("valid").columns["labels"]
        assert abs(np.corrcoef(torch.cat(labels).numpy().T)[0, 1]) == pytest.approx(0.2376, abs=5e-5)


def simulated(folder: Path, dataset: Census = Census(), **knobs) -> Store:  # noqa: B008  # frozen
    dataset.simulate(folder / "raw", **{"rows": 12_000, **knobs})
    return prepared(folder / "raw", folder / "store", dataset)


def truth_and_labels(store: Store, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    rows = store.split(split)
    return rows.columns["truth"].numpy(), rows.columns["labels"].numpy()


@pytest.mark.parametrize("group", ["income", "education"])
def test_simulated_labels_follow_their_truth(tmp_path: Path, group: str) -> None:
    store = simulated(tmp_path, Census(group))  # pyright: ignore[reportArgumentType]
    main = store.schema.tasks[0].name
    for split, rows in (("train", 8000), ("valid", 2000), ("test", 2000)):
        truth, labels = truth_and_labels(store, split)
        assert truth.shape == labels.shape == (rows, 2)
        for task in range(2):
            assert roc_auc_score(labels[:, task], truth[:, task]) > 0.8
    np.testing.assert_allclose(
        truth_and_labels(store)[0].mean(axis=0), [RATES[main], RATES["never_married"]], rtol=0.03
    )
    assert json.loads((tmp_path / "raw" / "simulated.json").read_text())["knobs"]["relatedness"] == 0.5


def test_relatedness_moves_the_correlation_of_the_causes(tmp_path: Path) -> None:
    found = []
    for relatedness in (0.0, 0.5, 1.0):
        truth, _ = truth_and_labels(simulated(tmp_path / str(relatedness), relatedness=relatedness))
        logits = np.log(truth.astype(float) / (1 - truth.astype(float)))
        found.append(np.corrcoef(logits.T)[0, 1])
    assert abs(found[0]) < 0.3
    assert 0.3 < found[1] < 0.8
    assert found[2] > 0.999


def test_structure_can_be_learnt_and_can_be_destroyed(tmp_path: Path) -> None:
    """A plain logistic regression on the prepared ids finds most of what is there to find, and nothing else."""
    for structure in (True, False):
        store = simulated(tmp_path / str(structure), structure=structure)
        auc = _logistic_auc(store, task=1)
        truth, labels = truth_and_labels(store, "test")
        if structure:
            assert auc - 0.5 > 0.85 * (roc_auc_score(labels[:, 1], truth[:, 1]) - 0.5)
        else:
            assert abs(auc - 0.5) < 0.05
            assert len(np.unique(truth, axis=0)) == 1


def _logistic_auc(store: Store, task: int) -> float:
    def inputs(split: str) -> np.ndarray:
        columns = store.split(split).columns
        ids = columns["ids"].numpy()
        one_hot = np.zeros((len(ids), store.schema.embedding_rows), np.float32)
        one_hot[np.arange(len(ids))[:, None], ids] = 1
        return np.concatenate([one_hot, columns["numbers"].numpy()], axis=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged to the last digit
        model = LogisticRegression(C=0.05, max_iter=15).fit(inputs("train"), truth_and_labels(store)[1][:, task])
    return float(roc_auc_score(truth_and_labels(store, "test")[1][:, task], model.predict_proba(inputs("test"))[:, 1]))


def test_simulation_is_a_function_of_its_knobs(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        Census().simulate(tmp_path / name, rows=300, seed=seed)
    content = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc"]
    assert content[0] == content[1]
    assert content[0].keys() == content[2].keys()
    assert content[0]["census-income.data.gz"] != content[2]["census-income.data.gz"]
    with pytest.raises(ValueError, match=r"relatedness is 1\.5; allowed: 0 to 1"):
        Census().simulate(tmp_path, rows=300, relatedness=1.5)


def test_simulated_files_have_everything_that_trips_readers(tmp_path: Path) -> None:
    Census().simulate(tmp_path, rows=6000)
    blocks = read(tmp_path / "census-income.data.gz")
    assert not any(block.rejected for block in blocks)
    assert {"NA", "Not in universe"} <= set(column(blocks, "hisp_origin"))
    assert "?" in column(blocks, "country_father")
    assert "Foreign born- Not a citizen of U S" in column(blocks, "citizenship")
    text = gzip.decompress((tmp_path / "census-income.data.gz").read_bytes()).decode().splitlines()
    educations = Counter(entry.split(", ")[4] for entry in text)
    assert set(COLLEGE) <= set(educations)
    assert all(len(set(column(blocks, name))) <= CATEGORIES[name] for name in NOMINAL)


def test_raw_file_finds_no_stranger(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("x")
    assert RawFile(name="this", table="rows", part="train").find(tmp_path) is None


def test_where_names_the_key_that_does_without_the_files() -> None:
    assert "set dataset.source=simulated" in Census().where
