"""A model outside of mtlbench: named at the keyboard, and part of the version of the code that measured a run."""

import json
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtlbench.cli import main

TINY = ["dataset=census", "dataset.source=simulated", "dataset.simulator.rows=600", "trainer.epochs=1", "tracker=none"]
OWN = ["train", "model=own", *TINY, "--config-dir", "mine"]

MODEL = """
from mtlbench.models.shared_bottom import SharedBottom
{imports}

class Own(SharedBottom):
    def forward(self, batch):
        return super().forward(batch) * scale()
"""


def new_process() -> None:
    """Forget the modules of these tests, as a new process would not know them."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("own", "helpers")]:
        del sys.modules[name]
    if (sources := sys.modules.get("mtlbench.experiment.sources")) is not None:
        sources._digest.cache_clear()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text(
        "defaults: [shared_bottom, _self_]\n_target_: own.model.Own\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # edits within a second would not be seen
    monkeypatch.delenv("MTLBENCH_ALLOW", raising=False)
    yield tmp_path
    new_process()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


PACKAGE = {
    "own/__init__.py": "",
    "own/model.py": MODEL.format(imports="from .parts import scale"),
    "own/parts/__init__.py": "from own.parts.numbers import scale",
    "own/parts/numbers.py": "def scale(): return 1.0",
    "own/unrelated.py": "x = 1",
}
MODULES = {
    "own/model.py": MODEL.format(imports="import helpers.numbers\nscale = helpers.numbers.scale"),
    "helpers/numbers.py": "def scale(): return 1.0",
    "own/unrelated.py": "x = 1",
}


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    new_process()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        code = main(list(words))
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).replace("\n!", "").split())


@pytest.mark.parametrize(("files", "edited"), [(PACKAGE, "own/parts/numbers.py"), (MODULES, "helpers/numbers.py")])
def test_an_edited_model_is_not_taken_for_the_one_that_was_measured(
    place: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], edited: str
):
    write(place / "code", files)
    code, text = typed(capsys, *OWN)
    assert code == 2
    assert "model._target_=own.model.Own" in text
    assert "add run.allow=[own] to the command; its folder must be on PYTHONPATH" in text

    words = [*OWN[:2], "run.allow=[own]", *OWN[2:]]
    assert typed(capsys, *words)[0] == 0
    (result,) = (place / "runs").glob("*/result.json")
    assert " own.model+" in json.loads(result.read_text())["code"]
    write(place / "code", {"own/unrelated.py": "x = 2"})
    code, text = typed(capsys, *words)
    assert (code, "other code" in text) == (0, False), text
    write(place / "code", {edited: "def scale(): return 2.0"})
    code, text = typed(capsys, *words)
    assert code == 0
    assert "was finished with other code" in text
    assert "Train it again with run.fresh=true" in text
    assert typed(capsys, *words[:2], "run.fresh=true", *words[2:])[0] == 0
    code, text = typed(capsys, *words)
    assert (code, "other code" in text) == (0, False), text
    result.unlink()
    write(place / "code", {edited: "def scale(): return 3.0"})
    assert "was started with other code" in typed(capsys, *words)[1]


def test_every_command_takes_allowed_packages_from_the_keyboard_alone(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    write(place / "code", PACKAGE)
    monkeypatch.setenv("MTLBENCH_ALLOW", "other, own")
    assert typed(capsys, *OWN)[0] == 0
    monkeypatch.delenv("MTLBENCH_ALLOW")
    (folder,) = (path.parent for path in (place / "runs").glob("*/result.json"))
    assert "\n  allow:" not in (folder / "config.yaml").read_text()
    for words in (
        ["evaluate", str(folder)],
        ["export", str(folder), "--to", "exported", "--no-onnx"],
        ["score", "exported", "exported/example.parquet"],
    ):
        code, text = typed(capsys, *words)
        assert code == 2, text
        assert "add run.allow=[own]" in text or "is not an exported model" in text
        code, text = typed(capsys, *words, "run.allow=[own]")
        assert code == 0, text
    shutil.rmtree(place / "code")
    assert "cannot import" in typed(capsys, "evaluate", str(folder), "run.allow=own")[1]
