"""Files of matrices: made at once, filled in any order, read without a copy."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mtlbench.data.matrices import MatrixColumn, create, read

COLUMNS = {
    "ids": MatrixColumn(np.int32, 3),
    "labels": MatrixColumn(np.int8, 2),
    "time": MatrixColumn(np.int64),
    "w": MatrixColumn(np.float32, 5),
}


def test_rows_written_in_pieces_come_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    wanted = {
        name: random.integers(0, 100, (11, *[column.width] * bool(column.width))).astype(column.dtype)
        for name, column in COLUMNS.items()
    }
    file = create(tmp_path / "a.arrow", 11, COLUMNS)
    for start, stop in ((7, 11), (0, 2), (2, 7)):
        for name, matrix in wanted.items():
            file.write(name, start, matrix[start:stop])
    found = read(tmp_path / "a.arrow")
    for name, matrix in wanted.items():
        np.testing.assert_array_equal(found[name], matrix)
        assert found[name].dtype == matrix.dtype
    batch = pa.ipc.open_file(tmp_path / "a.arrow").get_batch(0)
    assert batch["ids"].to_pylist() == wanted["ids"].tolist(), "any reader of Arrow reads the same"
    batch.validate(full=True)


def test_a_made_file_takes_no_space_and_reads_as_zero(tmp_path: Path) -> None:
    create(tmp_path / "a.arrow", 1_000_000, COLUMNS)
    facts = (tmp_path / "a.arrow").stat()
    assert facts.st_size > 40_000_000
    assert facts.st_blocks * 512 < 1_000_000
    assert not read(tmp_path / "a.arrow")["ids"][::100_000].any()


def test_no_rows(tmp_path: Path) -> None:
    create(tmp_path / "a.arrow", 0, COLUMNS).write("ids", 0, np.zeros((0, 3), np.int32))
    assert {name: matrix.shape for name, matrix in read(tmp_path / "a.arrow").items()} == {
        "ids": (0, 3),
        "labels": (0, 2),
        "time": (0,),
        "w": (0, 5),
    }


def test_wrong_rows_are_a_programming_error(tmp_path: Path) -> None:
    file = create(tmp_path / "a.arrow", 2, COLUMNS)
    with pytest.raises(AssertionError, match=r"'ids' is .*int32"):
        file.write("ids", 0, np.zeros((1, 3), np.int64))
    with pytest.raises(AssertionError, match="'ids' is not"):
        file.write("ids", 0, np.zeros((1, 2), np.int32))
