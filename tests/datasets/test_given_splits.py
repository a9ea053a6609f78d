"""Rows that are split already: kept as they are, and refused where a rule, or the rows, contradict that."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mtlbench.cli import main
from mtlbench.data.store import open_store

SIZES = {"train": 200, "valid": 60, "test": 50}
SCHEMA = {
    "fields": [{"name": "item"}, {"name": "age", "table": "user"}],
    "tables": {"user": {"files": "users.csv", "key": "id", "pointer": "user"}},
    "tasks": [{"name": "click", "label": "click"}],
    "group": "user",
}


def words_of(folder: Path, *parts: str, shared: bool = False) -> list[str]:
    """Files and schema with some of the parts; the users of each are its own unless they are shared."""
    random = np.random.default_rng(0)
    (folder / "mine").mkdir()
    pd.DataFrame({"id": range(30), "age": random.integers(20, 60, 30)}).to_csv(folder / "mine/users.csv", index=False)
    for number, (part, count) in enumerate(SIZES.items()):
        first, last = (0, 30) if shared else (10 * number, 10 * number + 10)
        rows = {"user": random.integers(first, last, count), "item": random.integers(0, 9, count)}
        pd.DataFrame({**rows, "click": np.arange(count) % 2}).to_csv(folder / f"mine/{part}.csv", index=False)
    rows = {part: f"{part}.csv" for part in parts}
    (folder / "mine.yaml").write_text(yaml.safe_dump({**SCHEMA, "rows": rows}))
    return [
        "prepare", "dataset=parquet", f"dataset.raw={folder}/mine", f"dataset.schema={folder}/mine.yaml",
        f"run.data={folder}/data",
    ]  # fmt: skip


def test_given_rows_stay_in_their_split(tmp_path: Path) -> None:
    assert main([*words_of(tmp_path, *SIZES), "dataset.split_rule=given", "dataset.disjoint=[group]"]) == 0
    (path,) = tmp_path.glob("data/store/parquet/[!.]*")
    store = open_store(path)
    assert {name: len(store.split(name)) for name in SIZES} == SIZES
    groups = {name: store.split(name).columns["group"].numpy() // 10 for name in SIZES}
    assert {name: set(found.tolist()) for name, found in groups.items()} == {"train": {0}, "valid": {1}, "test": {2}}


def test_shared_groups_are_said_or_refused_as_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*words_of(tmp_path, *SIZES, shared=True), "dataset.split_rule=given"]
    assert main([*words, "dataset.disjoint=[group]"]) != 0
    assert "splits 'train' and 'valid' share" in capsys.readouterr().err
    assert main(words) == 0
    assert "both train and valid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parts", "rule", "message"),
    [
        (SIZES, "at_random", "50 of them are a test part. Choose by_key, by_train_group or halve_test (or given,"),
        (
            SIZES,
            "halve_test",
            "60 rows were given for validation, but split mtlbench.data.split.halve_test uses others",
        ),
        (
            ("train", "valid"),
            "at_random",
            "Choose dataset.split_rule=given, which uses them, or remove rows.valid",
        ),
        (("train", "valid"), "given", "split given: no rows were given for test. Name their files (rows.test in the"),
        (("train",), "given", "split given: no rows were given for valid, test"),
    ],
)
def test_rules_that_do_not_keep_to_the_given_parts_are_refused(
    tmp_path: Path, parts: tuple[str, ...], rule: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words_of(tmp_path, *parts), f"dataset.split_rule={rule}"]) != 0
    assert message in capsys.readouterr().err


def test_a_file_of_two_parts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = words_of(tmp_path, *SIZES)
    schema = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    schema["rows"]["valid"] = "t*.csv"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(schema))
    assert main([*words, "dataset.split_rule=given"]) != 0
    assert "csv matches the patterns of two parts" in capsys.readouterr().err
