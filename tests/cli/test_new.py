"""Examples of one's own, as ``mtlbench new`` writes them, outside of the tree."""

import runpy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from mtlbench.cli import main
from synthetic import rich_schema


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("MTLBENCH_ALLOW", "MTLBENCH_CONF"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    for name in ("mynet", "mydata"):
        sys.modules.pop(name, None)


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def own_test(name: str, folder: Path) -> None:
    """Run the test that was written beside an example."""
    test = runpy.run_path(str(Path(f"mine/test_{name}.py").absolute()))
    folder.mkdir()
    (function,) = (value for key, value in test.items() if key.startswith("test_"))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(folder, patch)


def test_a_model(place: Path, capsys: pytest.CaptureFixture[str]):
    code, text = typed(capsys, "new", "model", "mynet")
    assert code == 0
    assert {str(path) for path in Path("mine").rglob("*.*")} == {
        "mine/mynet.py",
        "mine/model/mynet.yaml",
        "mine/test_mynet.py",
    }
    assert "mtlbench train model=mynet dataset=census --config-dir mine run.allow=[mynet]" in text
    own_test("mynet", place / "elsewhere")
    schema = rich_schema()
    model = runpy.run_path("mine/mynet.py")["Mynet"](schema, embedding_width=3, layers=[5], tower_layers=[2])
    assert schema.number_fields  # their weights are no embedding
    assert [name for name, _ in model.named_parameters() if "embedding" in name] == ["fields.embedding"]
    code, text = typed(capsys, "list", "models", "--config-dir", "mine", "run.allow=[mynet]")
    assert code == 0
    assert "mynet: authors and paper of the model" in text


def test_a_data_set(place: Path, capsys: pytest.CaptureFixture[str]):
    assert typed(capsys, "new", "dataset", "mydata")[0] == 0
    own_test("mydata", place / "elsewhere")
    runpy.run_path("mine/mydata.py")["write"](Path("mine/mydata"))
    code, text = typed(capsys, "prepare", "dataset=mydata", "--config-dir", "mine")
    assert code == 0, text
    assert "purchase" in text


def test_rows_in_a_csv_file_need_the_name_of_the_file_alone(capsys: pytest.CaptureFixture[str]):
    assert typed(capsys, "new", "dataset", "mydata")[0] == 0
    configuration = Path("mine/dataset/mydata.yaml")
    configuration.write_text(configuration.read_text().replace("rows.parquet", "rows.csv"))
    runpy.run_path("mine/mydata.py")["write"](Path("mine/mydata"))
    pd.read_parquet("mine/mydata/rows.parquet").to_csv("mine/mydata/rows.csv", index=False)
    code, text = typed(capsys, "prepare", "dataset=mydata", "--config-dir", "mine")
    assert code == 0, text
    assert "purchase" in text


@pytest.mark.parametrize("command", ["train", "prepare"])
def test_a_data_set_that_leaves_out_keys_is_refused_with_their_names(command: str, capsys: pytest.CaptureFixture[str]):
    assert typed(capsys, "new", "dataset", "mydata")[0] == 0
    Path("mine/dataset/mydata.yaml").write_text(LACKING)
    code, text = typed(capsys, command, "dataset=mydata", "--config-dir", "mine")
    assert (code, "data set 'mydata' lacks source, disjoint, one_class, min_count." in text) == (2, True), text


def test_a_study(place: Path, capsys: pytest.CaptureFixture[str]):
    code, text = typed(capsys, "new", "study", "mystudy", "--to", "mine")
    assert code == 0
    assert "mtlbench reproduce mine/table/mystudy.yaml --dry-run" in text
    own_test("mystudy", place / "elsewhere")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["model", "mmoe"], "a model 'mmoe' already exists"),
        (["study", "census_mmoe"], "a table 'census_mmoe' already exists"),
        (["model", "numpy"], "an installed Python package 'numpy' would be imported instead"),
        (["dataset", "my-data"], "'my-data': expected lower-case letters, digits and _"),
        (["model", "class"], "'class': expected lower-case letters"),
        (["modle", "x"], "'modle' is not one of 'model', 'dataset', 'study'"),
    ],
)
def test_names_that_cannot_be(capsys: pytest.CaptureFixture[str], words: list[str], problem: str):
    code, text = typed(capsys, "new", *words)
    assert (code, problem in text, Path("mine").exists()) == (2, True, False), text


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]):
    Path("mine").mkdir()
    Path("mine/test_mynet.py").write_text("mine")
    code, text = typed(capsys, "new", "model", "mynet")
    assert (code, "mine/test_mynet.py: already exists, and is never overwritten" in text) == (2, True)
    assert [str(path) for path in Path("mine").rglob("*")] == ["mine/test_mynet.py"]


LACKING = """# A data set of my own
name: mydata
reader: {_target_: mtlbench.datasets.census.Census, _convert_: all}
split: {_target_: mtlbench.data.split.halve_test, _partial_: true, seed: 0}
tasks: null
raw: mine/mydata
on_error: fail
metrics: null
"""
TINY = ["dataset=census", "dataset.source=simulated", "dataset.simulator.rows=600", "trainer.epochs=1", "tracker=none"]
FORWARD = "return self.towers(self.shared(fields_BFD.flatten(1))[None])"


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        ((FORWARD, "return self.towers("), ["model._target_=mynet.Mynet: import of mynet failed: SyntaxError"]),
        (
            ("import Tensor, nn", "import Tensor, nn\nnn.nix"),
            ["mynet failed: AttributeError", "mynet.py, line"],
        ),
        (("import Tensor, nn", "import Tensor, nn\nimport nix"), ["cannot import: No module named 'nix'"]),
        (("class Mynet", "class Other"), ["module mynet has no 'Mynet'"]),
        (("layers: Sequence[int],\n        tower", "depth: int,\n        tower"), ["model", "layers", "depth"]),
        (
            ("self.shared = ", "self.shared = nix = lambda: 1 / 0; nix(); "),
            ["Mynet(schema, ...) failed: ZeroDiv"],
        ),
        (("batch: Batch)", "batch: Batch, more: int)"), ["forward(batch) failed: TypeError", "'more'"]),
        (
            (FORWARD, "return fields_BFD.flatten(1) @ fields_BFD"),
            ["failed: RuntimeError", "mynet.py, line"],
        ),
        (
            (FORWARD, "return self.shared(fields_BFD.flatten(1))"),
            ["returned [3, 32] of float32", "here [3, 2] for"],
        ),
        ((FORWARD, "return None"), ["forward(batch) returned NoneType"]),
        ((FORWARD, FORWARD + " / 0 * 0"), ["forward(batch) returned NaN or infinity with its initial weights"]),
    ],
)
def test_mistakes_in_a_model_are_one_message(
    capsys: pytest.CaptureFixture[str], change: tuple[str, str], problems: list[str]
):
    assert typed(capsys, "new", "model", "mynet")[0] == 0
    code = Path("mine/mynet.py")
    assert change[0] in code.read_text()
    code.write_text(code.read_text().replace(*change))
    status, text = typed(capsys, "train", "model=mynet", *TINY, "--config-dir", "mine", "run.allow=[mynet]")
    assert (status, [problem for problem in problems if problem not in text]) == (2, []), text
    assert "Traceback" not in text
    assert not list(Path("runs").glob("*/run.json")), "nothing was begun"
