"""Prepared stores are verified before anything is computed with them: every bit counts."""

import json
from pathlib import Path

import pytest

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


def test_what_there_is_can_be_shown_without_reading_all_of_it(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = tmp_path.glob("data/store/census/*/rows/train.arrow")
    flip(file)
    assert main(["show", *words]) == 0
    assert "rows in the embedding table" in capsys.readouterr().out
