"""Ali-CCP prepared by a real Spark and by our own reader is one store, row by row.

Needs pyspark and a Java, which are no dependencies of the project; Spark takes a minute, so this is a long test.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from decoded import decoded
from mtlbench.cli import main
from mtlbench.cli.compose import compose
from mtlbench.data.store import Store
from mtlbench.experiment.data import open_or_prepare, resolve_data

EXAMPLE = Path(__file__).parents[2] / "examples" / "spark_aliccp.py"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="pyspark is not installed"),
    pytest.mark.skipif(shutil.which("java") is None, reason="no Java is installed"),
]


def store(folder: Path, *words: str) -> Store:
    config = compose(["model=dnn", *words, f"run.data={folder / 'data'}"])
    return open_or_prepare(resolve_data(config.dataset, Path(config.run.data)))


def of_one_kind(row: dict[str, Any]) -> dict[str, Any]:
    """Ids as integers; the group, which Spark's rows have not, left out."""

    def whole(value: Any) -> Any:
        return [whole(each) for each in value] if isinstance(value, list) else None if value is None else int(value)

    return {name: value if name.endswith(":weight") else whole(value) for name, value in row.items() if name != "group"}


def test_the_store_is_that_of_our_own_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    assert main(["simulate", "dataset=aliccp", f"to={raw}", "dataset.simulator.rows=200000"]) == 0
    subprocess.run([sys.executable, str(EXAMPLE), str(raw), str(out)], check=True, capture_output=True)
    monkeypatch.setenv("MTLBENCH_CONF", str(out))
    ours = store(tmp_path, "dataset=aliccp", "dataset.source=real", f"dataset.raw={raw}")
    sparks = store(tmp_path, "dataset=spark_aliccp", f"dataset.raw={out}")
    for split in ("train", "valid", "test"):
        for own, other in zip(decoded(ours, split), decoded(sparks, split), strict=True):
            assert of_one_kind(own) == of_one_kind(other)
