"""Numbers too large to compute with: refused by file and row where a row uses them, without effect where none does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mtlbench.cli import main
from mtlbench.data.store import SPLITS, Store, open_store
from shared_cases import case

ROWS, USERS, UNUSED = 300, 20, 20
SCHEMA = """
rows: {train: rows.parquet}
tables: {user: {files: users.parquet, key: user, pointer: user}}
fields:
  - {name: item}
  - {name: price, kind: number}
  - {name: income, kind: number, table: user}
tasks: [{name: click, label: click}]
time: day
"""
SPLIT = ("dataset.split_rule=by_time",)
"""Day 8 is for validation and day 9 for test."""


def only_store(folder: Path) -> Store:
    (found,) = (folder / "store").glob("parquet/[!.]*")
    return open_store(found)


def numbers(store: Store, split: str) -> np.ndarray:
    rows = store.split(split)
    return rows.gather(rows.pointers["user"].new_tensor(range(len(rows))).long()).numbers.numpy()


def write(folder: Path, price: dict[int, Any] | None = None, income: dict[int, Any] | None = None) -> list[str]:
    """Ten days of rows; user 20 is pointed at by none. Some prices and incomes are given, all others are ordinary."""
    random = np.random.default_rng(0)
    prices, incomes = random.normal(10, 2, ROWS), random.normal(4e4, 9e3, USERS + 1)
    for values, given in ((prices, price), (incomes, income)):
        for at, value in (given or {}).items():
            values[at] = value
    rows = {
        "user": np.arange(ROWS) % USERS,
        "item": random.integers(0, 9, ROWS),
        "price": prices,
        "click": random.integers(0, 2, ROWS),
        "day": np.arange(ROWS) * 10 // ROWS,
    }
    folder.mkdir(exist_ok=True)
    parquet.write_table(pa.table(rows), folder / "rows.parquet")
    parquet.write_table(pa.table({"user": np.arange(USERS + 1), "income": incomes}), folder / "users.parquet")
    (folder / "mine.yaml").write_text(SCHEMA)
    return ["dataset=parquet", f"dataset.raw={folder}", f"dataset.schema={folder / 'mine.yaml'}", *SPLIT]


def prepared(tmp_path: Path, words: list[str], name: str = "data") -> Store:
    assert main(["prepare", *words, f"run.data={tmp_path / name}"]) == 0
    return only_store(tmp_path / name)


@pytest.mark.parametrize("value", [1.7976931348623157e308, 1e300, 1e40, 1e30])
def test_a_user_that_no_row_points_at_changes_nothing(tmp_path: Path, value: float) -> None:
    plain = prepared(tmp_path, write(tmp_path / "plain"), "a")
    store = prepared(tmp_path, write(tmp_path / "large", income={UNUSED: value}), "b")
    for split in SPLITS:
        assert numbers(store, split).tobytes() == numbers(plain, split).tobytes()
    assert store.manifest["fields"]["income"]["deviation"] == plain.manifest["fields"]["income"]["deviation"]
    assert np.isfinite(store.split("train").tables["user"]["numbers"].numpy()).all()


@pytest.mark.parametrize(
    ("given", "file", "line"),
    [
        ({"price": {299: 1e300}}, "rows", 300),
        ({"price": {299: 1e40}}, "rows", 300),
        ({"price": {299: 1e30}}, "rows", 300),
        ({"price": {250: -1e30}}, "rows", 251),
        ({"price": dict.fromkeys(range(0, 240, 3), 1e200)}, "rows", 1),
        ({"price": {7: 1.7976931348623157e308}}, "rows", 8),
        ({"income": {3: 1e300}}, "users", 4),
    ],
)
def test_a_number_that_a_row_uses_is_refused_by_file_row_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: dict[str, Any], file: str, line: int
) -> None:
    words = [*write(tmp_path / "raw", **given), f"run.data={tmp_path / 'data'}"]
    assert main(["prepare", *words]) == 2
    said = capsys.readouterr().err
    assert f"{file}.parquet, line {line}: number field '{next(iter(given))}'" in said
    assert "allowed: -" in said
    assert "Traceback" not in said


def test_rows_set_aside_leave_the_scale_of_the_others(tmp_path: Path) -> None:
    """A training row, a test row, and all rows of one user."""
    large = {"price": {0: 1e200, 299: 1e30}, "income": {3: 1e300}}
    store = prepared(tmp_path, [*write(tmp_path / "raw", **large), "dataset.on_error=quarantine"])
    lines = [json.loads(line) for line in (store.folder / "quarantine.jsonl").read_text().splitlines()]
    assert len(lines) == 2 + 1 + ROWS // USERS
    assert sum("its row of table 'user' was rejected" in line["reason"] for line in lines) == 15
    assert [store.manifest["splits"][name]["rows"] for name in SPLITS] == [240 - 1 - 12, 30 - 2, 30 - 1 - 1]
    prices = np.random.default_rng(0).normal(10, 2, ROWS)[:240]
    kept = prices[(np.arange(240) % USERS != 3) & (np.arange(240) > 0)]
    found = store.manifest["fields"]["price"]
    np.testing.assert_allclose([*found["mean"], *found["deviation"]], [kept.mean(), kept.std()], rtol=1e-12)
    for split in SPLITS:
        assert np.isfinite(numbers(store, split)).all()


def test_a_constant_enters_as_zeros(tmp_path: Path) -> None:
    given = dict.fromkeys(range(240), 5.0)
    store = prepared(tmp_path, write(tmp_path / "raw", price=given))
    assert all((numbers(store, split)[:, 0] == 0).all() for split in SPLITS)


def test_the_case_of_an_unused_user(tmp_path: Path) -> None:
    facts = prepared(tmp_path, case("unused_user_dbl_max")).manifest["fields"]["income"]
    np.testing.assert_allclose([*facts["mean"], *facts["deviation"]], [40427.18, 9438.22], atol=0.01)


def test_the_case_of_large_numbers_that_differ_little(tmp_path: Path) -> None:
    store = prepared(tmp_path, case("nearly_constant_large"))
    facts = store.manifest["fields"]["age"]
    np.testing.assert_allclose(facts["deviation"], [9000], rtol=0.05)
    column = store.schema.number_columns["age"].start
    ages = store.split("train").columns["numbers"].numpy()[:, column]
    assert abs(ages.std() - 1) < 0.01
    assert np.abs(ages).max() < 6


def test_weights_whose_sum_overflows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = write(tmp_path / "raw")
    rows = parquet.read_table(tmp_path / "raw" / "rows.parquet")
    bags, weights = [[1, 2]] * ROWS, [[1.0, 2.0]] * (ROWS - 1) + [[3e38, 3e38]]
    rows = rows.append_column("tags", pa.array(bags)).append_column("heavy", pa.array(weights))
    parquet.write_table(rows, tmp_path / "raw" / "rows.parquet")
    schema = tmp_path / "raw" / "mine.yaml"
    schema.write_text(SCHEMA.replace("fields:", "fields:\n  - {name: tags, width: 2, weights: heavy}"))
    assert main(["prepare", *words, f"run.data={tmp_path / 'data'}"]) == 2
    assert (
        "rows.parquet, line 300: an entry of column 'heavy' is negative, not finite or above" in capsys.readouterr().err
    )
