"""Configurations and code outside of mtlbench: folders that the user names, and installed packages."""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtlbench.cli import main
from mtlbench.cli.search_path import _entry_points

TINY = ["dataset=census", "dataset.source=simulated", "dataset.simulator.rows=600", "trainer.epochs=1", "tracker=none"]

MODEL = """# Nobody, 2026
# A shared bottom of another name
defaults: [shared_bottom, _self_]
_target_: {package}.Own
"""
CODE = """from pathlib import Path
from mtlbench.models.shared_bottom import SharedBottom
Path("imported").touch()

class Own(SharedBottom):
    pass
"""
STUDY = """title: Does sharing pay?
seeds: 1
datasets: {Census: [dataset=census]}
rows:
  - {label: single, overrides: [model=dnn]}
  - {label: shared, overrides: [model=shared_bottom]}
columns: [{metric: auc, tasks: [income]}]
claims: [{text: sharing pays, better: [shared], than: [single], metric: auc}]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with ``mine``: a model's file and its code; nothing is on the module search path."""
    write(tmp_path / "mine" / "model" / "own.yaml", MODEL.format(package="ownmodel"))
    write(tmp_path / "mine" / "ownmodel.py", CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in ("MTLBENCH_ALLOW", "MTLBENCH_CONF"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    for name in ("ownmodel", "bringer", "bringer.net", "stranger"):
        sys.modules.pop(name, None)
    _entry_points.cache_clear()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def install(site: Path, package: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as a wheel leaves it: code, configurations, and an entry point that names their folder."""
    write(site / package / "__init__.py", 'from pathlib import Path\nPath("imported").touch()\n')
    write(site / package / "net.py", CODE)
    write(site / package / "conf" / "model" / f"{model}.yaml", MODEL.format(package=f"{package}.net"))
    about = site / f"{package}-1.0.dist-info"
    write(about / "METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    write(about / "entry_points.txt", f"[mtlbench.conf]\n{package} = {package}.conf\n")
    if str(site) not in sys.path:
        monkeypatch.syspath_prepend(site)
    _entry_points.cache_clear()  # as in a new process


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("by", ["option", pytest.param("variable", marks=pytest.mark.long)])
def test_every_command_knows_the_folder(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, by: str
):
    given = ["--config-dir", "mine"] if by == "option" else []
    if by == "variable":
        monkeypatch.setenv("MTLBENCH_CONF", "mine")
    code, text = typed(capsys, "list", "models", *given)
    assert (code, "Nobody, 2026" in text, "run.allow  A shared bottom of another name" in text) == (0, True, True)
    assert "_target_: ownmodel.Own" in typed(capsys, "show", "model=own", *given)[1]
    assert "  own " in typed(capsys, "train", *given, "--help")[1]
    code, text = typed(capsys, "train", "model=own", *TINY, *given)
    assert (code, "add run.allow=[ownmodel] to the command" in text) == (2, True)
    assert not (place / "imported").exists()

    given += ["run.allow=[ownmodel]"]
    code, text = typed(capsys, "train", "model=own", *TINY, *given)
    assert (code, (place / "imported").exists()) == (0, True), text
    assert "run.allow" not in typed(capsys, "list", "models", *given)[1]
    (run,) = (place / "runs").glob("*/result.json")
    for words in (["evaluate"], ["export", "--no-onnx", "--to", "exported"]):
        code, text = typed(capsys, words[0], run.parent.name, *words[1:], *given)
        assert code == 0, text
    write(place / "mine" / "table" / "study.yaml", STUDY.replace("model=dnn", "model=own"))
    code, text = typed(capsys, "reproduce", "study", "--dry-run", *TINY[1:], *given)
    assert (code, "study: 2 runs, 1 finished" in text) == (0, True), text


def test_words_are_completed_from_the_folder(place: Path, capsys: pytest.CaptureFixture[str]):
    from mtlbench.cli import commands
    from mtlbench.cli.completion import get_completion_class

    shell = get_completion_class("zsh")
    assert shell is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLBENCH_CONF", "")
        found = shell(commands, {}, "mtlbench", "X").get_completions(["train", "--config-dir", "mine"], "model=o")
    assert [item.value for item in found] == ["model=omoe", "model=own"]


def test_code_in_the_working_directory_is_not_found(place: Path, capsys: pytest.CaptureFixture[str]):
    write(place / "stranger.py", CODE)
    write(place / "mine" / "model" / "strange.yaml", MODEL.format(package="stranger"))
    words = ["train", "model=strange", *TINY, "--config-dir", "mine"]
    assert "add run.allow=[stranger]" in typed(capsys, *words)[1]
    code, text = typed(capsys, *words, "run.allow=[stranger]")
    assert (code, (place / "imported").exists()) == (2, False)
    assert "cannot import: No module named 'stranger'. Is its folder on PYTHONPATH, or given by --config-dir?" in text


def test_a_package_brings_configurations_and_its_code_waits_for_permission(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    install(place / "site", "bringer", "brought", monkeypatch)
    assert "  brought " in typed(capsys, "list", "models")[1]
    code, text = typed(capsys, "train", "model=brought", *TINY)
    assert (code, "add run.allow=[bringer]" in text) == (2, True), text
    assert not (place / "imported").exists()
    assert typed(capsys, "train", "model=brought", *TINY, "run.allow=[bringer]")[0] == 0
    assert (place / "imported").exists()

    install(place / "site", "second", "brought", monkeypatch)
    code, text = typed(capsys, "train", "model=mmoe", *TINY)
    assert code == 2
    assert f"two folders have a configuration model/brought: {place}/site/bringer/conf and" in text
    (place / "site" / "second-1.0.dist-info" / "entry_points.txt").write_text("[mtlbench.conf]\nsecond = second.nix\n")
    _entry_points.cache_clear()
    assert "names no folder: package 'second' has no nix" in typed(capsys, "train", "model=mmoe", *TINY)[1]


def test_folders_that_cannot_be_searched(place: Path, capsys: pytest.CaptureFixture[str]):
    code, text = typed(capsys, "show", "model=own", "--config-dir", "nix")
    assert (code, f"{place}/nix: no such folder" in text) == (2, True)
    write(place / "mine" / "model" / "mmoe.yaml", "a: 1")
    code, text = typed(capsys, "show", "model=mmoe", "--config-dir", "mine")
    assert (code, "two folders have a configuration model/mmoe" in text) == (2, True)
    (place / "mine" / "model" / "mmoe.yaml").write_text("# @package hydra\nverbose: true\n")
    (place / "mine" / "model" / "mmoe.yaml").rename(place / "mine" / "model" / "mmoe2.yaml")
    code, text = typed(capsys, "show", "model=mmoe", "--config-dir", "mine")
    assert (code, "cannot configure Hydra itself" in text) == (2, True)
    assert typed(capsys, "show", "model=mmoe")[0] == 0, "the folder was for one command"


@pytest.mark.parametrize("command", ["train", "show"])
def test_a_choice_in_a_folder_that_was_not_named(place: Path, capsys: pytest.CaptureFixture[str], command: str):
    code, text = typed(capsys, command, "model=own")
    hint = "mine/model/own.yaml is one of yours: add --config-dir mine"
    assert (code, "no such model" in text, hint in text) == (2, True, True), text
    assert hint not in typed(capsys, command, "model=owns")[1]
    assert hint not in typed(capsys, command, "model=*")[1]


def test_a_study_by_its_path(place: Path, capsys: pytest.CaptureFixture[str]):
    write(place / "studies" / "sharing.yaml", STUDY)
    words = ["reproduce", "studies/sharing.yaml", *TINY[1:]]
    code, text = typed(capsys, *words)
    assert code == 0, text
    assert "Does sharing pay?" in text
    assert "| single | 0." in text
    assert (place / "tables" / "sharing.md").exists()
    for change, problem in (
        (STUDY.replace("columns:", "#"), "columns must be given"),
        (STUDY.replace("[model=dnn]", "[run.folder=elsewhere]"), "'run.folder=elsewhere': where runs are stored"),
        (STUDY.replace("than: [single]", "than: [nobody]"), "claims name nobody; rows are single, shared"),
        (STUDY.replace("dataset=census", "dataset=consus"), "dataset=consus: no such dataset; did you mean census?"),
    ):
        write(place / "studies" / "wrong.yaml", change)
        code, text = typed(capsys, "reproduce", "studies/wrong.yaml", *TINY[1:])
        assert (code, problem in text) == (2, True), text
    write(place / "mine" / "table" / "owned.yaml", STUDY.replace("[model=dnn]", "[model=own]"))
    for folder in ("mine", str(place / "mine"), "../" + place.name + "/mine"):  # the file is a choice of its folder too
        words = ["reproduce", "mine/table/owned.yaml", *TINY[1:], "--config-dir", folder, "run.allow=[ownmodel]"]
        code, text = typed(capsys, *words, "--dry-run")
        assert (code, "owned: 2 runs, 1 finished" in text) == (0, True), text
    write(place / "studies" / "owned.yaml", STUDY)
    code, text = typed(capsys, "reproduce", "studies/owned.yaml", *TINY[1:], "--config-dir", "mine")
    assert (code, "a table or figure 'owned' already exists" in text) == (2, True), "another file of that name"
    write(place / "studies" / "census_mmoe.yaml", STUDY)
    assert "a table or figure 'census_mmoe' already" in typed(capsys, "reproduce", "studies/census_mmoe.yaml")[1]
    assert "no table 'nix'; allowed: census_mmoe" in typed(capsys, "reproduce", "studies/nix.yaml")[1]
