"""The notebooks of the documentation run, cell by cell, and are stored without outputs.

Their cells are plain Python, so they run in this process: a Jupyter kernel would cost two dozen more packages, and one
import of torch for each notebook.
"""

import json
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["first_run", "own_data_and_model", "study_with_claims"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MTLBENCH_ALLOW", "MTLBENCH_CONF"):
        monkeypatch.delenv(name, raising=False)
    names: dict[str, object] = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for number, cell in enumerate(code_cells(path)):
            exec(compile("".join(cell["source"]), f"{path.name}, code cell {number}", "exec"), names)
    plt.close("all")
    assert list((tmp_path / "runs").glob("*/result.json")), "something was trained"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path: Path):
    cells = code_cells(path)
    assert len(cells) >= 4
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
