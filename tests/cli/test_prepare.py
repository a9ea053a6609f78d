"""Stores: verified before anything is computed with them, and what is said of them; simulated folders by their rows."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mtlbench.cli import main

WORDS = ["dataset=census", "dataset.source=simulated", "dataset.simulator.rows=600"]
SMALL = ["model=shared_bottom", "trainer.epochs=1", "trainer.batch_size=64", "run.threads=1", "tracker=none"]


def flip(path: Path) -> None:
    """The lowest bit of a byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What names a prepared store in `tmp_path`."""
    words = [*WORDS, f"run.data={tmp_path / 'data'}"]
    assert main(["prepare", *words]) == 0
    assert main(["prepare", *words]) == 0
    assert "already prepared, and verified" in capsys.readouterr().out
    return words


@pytest.mark.parametrize("name", ["rows/train.arrow", "rows/test.arrow", "vocabulary/sex.parquet"])
@pytest.mark.parametrize("command", ["train", "prepare", "doctor"])
def test_a_flipped_bit_is_found_before_anything_is_computed(
    tmp_path: Path, words: list[str], name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = tmp_path.glob(f"data/store/census/*/{name}")
    flip(file)
    given = {"train": [*SMALL, *words, f"run.folder={tmp_path / 'runs'}"], "prepare": words, "doctor": words[-1:]}
    assert main([command, *given[command]]) == {"train": 2, "prepare": 2, "doctor": 1}[command]
    said = "".join(capsys.readouterr())
    assert f"{file} is damaged: sha256 is " in said
    assert "Remove the folder" in said
    assert "mtlbench prepare dataset=census" in said
    assert not list(tmp_path.glob("runs/*/*.pt"))


def test_a_number_of_the_manifest_counts_too(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = tmp_path.glob("data/store/census/*/manifest.json")
    manifest = json.loads(file.read_text())
    manifest["fields"]["age"]["mean"][0] += 1e-9
    file.write_text(json.dumps(manifest))
    assert main(["prepare", *words]) == 2
    assert "manifest.json is damaged: the sha256 of its entries is" in capsys.readouterr().err


def test_the_share_of_unknown_values_is_shown_by_field_and_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Day 9 has new items in half of its rows, and rows of users whose city no training row has seen in a third."""
    rows = 300
    day, number = np.arange(rows) * 10 // rows, np.arange(rows)
    test = day == 9
    items = np.where(test & (number % 2 == 0), 100 + number, number % 5)
    users = np.where(test & (number % 3 == 0), 7, number % 7)
    columns = {"day": day, "item": items, "user": users, "click": np.random.default_rng(0).integers(0, 2, rows)}
    parquet.write_table(pa.table(columns), tmp_path / "rows.parquet")
    parquet.write_table(pa.table({"user": np.arange(8), "city": [*"aabbccd", "new"]}), tmp_path / "users.parquet")
    (tmp_path / "mine.yaml").write_text(
        "rows: {train: rows.parquet}\ntime: day\ntasks: [{name: click, label: click}]\n"
        "tables: {user: {files: users.parquet, key: user, pointer: user}}\n"
        "fields: [{name: item}, {name: city, table: user}]\n"
    )
    words = ["dataset=parquet", f"dataset.raw={tmp_path}", f"dataset.schema={tmp_path / 'mine.yaml'}"]
    words += ["dataset.split_rule=by_time", f"run.data={tmp_path / 'data'}"]
    for command in ("prepare", "show"):
        assert main([command, *words]) == 0
        said = capsys.readouterr().out
        shown = {line.split()[0]: line.split()[-3:] for line in said.splitlines() if "0.0%" in line}
        assert shown == {"item": ["0.0%", "0.0%", "50.0%"], "city": ["0.0%", "0.0%", "33.3%"]}
        assert "WARNING: 50% of the values of 'item' in split 'test' are unknown" in said
        assert "WARNING: 33% of the values of 'city' in split 'test' are unknown" in said
        assert said.count("WARNING") == 2


def test_what_there_is_can_be_shown_without_reading_all_of_it(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = tmp_path.glob("data/store/census/*/rows/train.arrow")
    flip(file)
    assert main(["show", *words]) == 0
    assert "rows in the embedding table" in capsys.readouterr().out


def test_a_simulated_folder_is_named_by_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"run.data={tmp_path}"
    assert main(["simulate", "dataset=census", "dataset.simulator.rows=600", data]) == 0
    assert main(["simulate", "dataset=census", "rows=700", data]) == 0
    assert {path.name for path in (tmp_path / "simulated").iterdir()} == {"census-600", "census-700"}
    assert main(["simulate", "dataset=census", "rows=800", f"dataset.raw={tmp_path / 'other'}", data]) == 2
    assert "is a folder to read from; simulate writes to to=<folder>" in capsys.readouterr().err
