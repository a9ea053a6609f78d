"""What Parquet files cannot be used for is said with the reason and what to do."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mtlbench.cli import main
from shared_cases import case

ROWS = 120
TASK = "tasks: [{name: click, label: click}]"


def refusal(folder: Path, schema: str, capsys: pytest.CaptureFixture[str], **columns: pa.Array) -> str:
    """What `prepare` says of a folder of rows and users with this schema."""
    random = np.random.default_rng(0)
    user = np.arange(ROWS) % 10
    rows = {"user": user, "item": random.integers(0, 5, ROWS), "click": random.integers(0, 2, ROWS)}
    try:
        parquet.write_table(pa.table({**rows, **columns}), folder / "rows.parquet")
    except pa.ArrowNotImplementedError as error:  # pyarrow 20, of lists of a fixed size with null
        pytest.skip(f"this pyarrow does not write such files: {error}")
    parquet.write_table(pa.table({"user": np.arange(10), "sex": np.arange(10) % 2}), folder / "users.parquet")
    (folder / "mine.yaml").write_text(f"rows: {{train: rows.parquet}}\n{TASK}\n{schema}\n")
    words = ["dataset=parquet", f"dataset.raw={folder}", f"dataset.schema={folder / 'mine.yaml'}"]
    assert main(["prepare", *words, f"run.data={folder / 'data'}"]) == 2
    return capsys.readouterr().err


def test_lists_of_a_fixed_size_with_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = pa.array([None if row % 7 == 0 else [1.0, 2.0, row] for row in range(ROWS)], pa.list_(pa.float32(), 3))
    said = refusal(tmp_path, "fields: [{name: item}, {name: emb, kind: number, width: 3}]", capsys, emb=lists)
    assert "rows.parquet: column 'emb' holds lists of a fixed size and null among them" in said
    assert "Write the column as lists of any size" in said
    assert "damaged" not in said


def test_the_case_of_lists_of_a_fixed_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", *case("fixed_size_list_with_nulls"), f"run.data={tmp_path}"]) == 2
    assert "column 'emb' holds lists of a fixed size and null among them" in capsys.readouterr().err


USERS = "tables: {user: {files: users.parquet, key: user, pointer: user}}"


@pytest.mark.parametrize("key", ["source", "group", "time"])
def test_a_source_that_stands_in_a_dimension_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    fields = "fields: [{name: item}, {name: gender, column: sex, table: user}]"
    said = refusal(tmp_path, f"{fields}\n{USERS}\n{key}: sex", capsys)
    assert f"There is one in table 'user', but '{key}' is read from the rows: join it there" in said


def test_a_field_that_stands_in_a_dimension_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = "fields: [{name: sex}, {name: gender, column: sex, table: user}]"
    said = refusal(tmp_path, f"{fields}\n{USERS}", capsys)
    assert "There is one in table 'user', but 'sex' is read from the rows: a field of a table" in said


def test_names_that_differ_in_case_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(tmp_path, "fields: [{name: item}, {name: Item, column: user}]", capsys)
    assert "the vocabularies 'Item' and 'item' differ only in case and would be the same file" in said


def test_a_table_called_like_a_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = "fields: [{name: item}, {name: sex, table: test}]"
    said = refusal(tmp_path, f"{fields}\n{USERS.replace('{user:', '{test:')}", capsys)
    assert "table 'test': key, line, group, source, time, rows, train, valid, test are taken" in said


def test_a_misspelt_key_names_the_file_of_the_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(tmp_path, "fields: [{name: item, rle: item}]", capsys)
    assert f"{tmp_path / 'mine.yaml'}: dataset.schema: fields.0.rle: there is no such key" in " ".join(said.split())
