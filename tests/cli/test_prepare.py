"""``mtlbench prepare``: once, and, if asked, every byte compared with the manifest."""

from pathlib import Path

import pytest

from mtlbench.cli.prepare import run
from mtlbench.data.store import StoreError


def test_a_store_is_verified_when_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["dataset=census", "dataset.source=simulated", "dataset.simulator.rows=600", f"run.data={tmp_path}"]
    assert run([*words, "--verify"]) == 0
    assert "files are what the manifest says" in capsys.readouterr().out
    (rows,) = tmp_path.glob("store/census/*/rows/train.arrow")
    content = bytearray(rows.read_bytes())
    content[len(content) // 2] ^= 1
    rows.write_bytes(content)
    assert run(words) == 0
    assert "already prepared" in capsys.readouterr().out
    with pytest.raises(StoreError, match=r"train\.arrow: sha256 is .*Remove the folder"):
        run([*words, "--verify"])
