"""Code never comes from data: every file that a command reads is given a payload, and the command is typed."""

import hashlib
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from mtlbench.cli import main
from mtlbench.cli.search_path import conf_folder
from mtlbench.export.hashes import write_hashes

TINY = ["dataset=census", "dataset.source=simulated", "dataset.simulator.rows=600", "trainer.epochs=1", "tracker=none"]

EVIL = """
from pathlib import Path
from torch import nn
Path("executed").touch()
class Model(nn.Module):
    def __init__(self, *arguments, **keys):
        Path("executed").touch()
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run, and its export in ``exported``."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        warnings.simplefilter("ignore")
        assert main(["train", "model=dnn", *TINY]) == 0
        assert main(["export", str(run_of(folder)), "--to", "exported", "--no-onnx"]) == 0
    parquet.write_table(parquet.read_table(folder / "exported" / "example.parquet"), folder / "rows.parquet")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of that folder, but for the export, as the working directory; and an importable module ``evil``."""
    shutil.copytree(finished, tmp_path, ignore=shutil.ignore_patterns("exported"), dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.delenv("MTLBENCH_ALLOW", raising=False)
    (tmp_path / "evil.py").write_text(EVIL)
    yield tmp_path
    sys.modules.pop("evil", None)


@pytest.fixture
def exported(finished: Path, place: Path) -> Path:
    """A copy of the export, which has hundreds of files of code."""
    return shutil.copytree(finished / "exported", place / "exported")


def run_of(folder: Path) -> Path:
    (run,) = (path.parent for path in (folder / "runs").glob("*/result.json"))
    return run


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit status of a command, and all that it printed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))
    if (exported := path.parents[2]).name == "exported":
        write_hashes(exported)  # whoever sends a hostile export or run sends its hashes
    if (facts := path.with_name("run.json")).exists():
        hashed = json.loads(facts.read_text()) | {"config": hashlib.sha256(path.read_bytes()).hexdigest()}
        facts.write_text(json.dumps(hashed))


# Aliases of os.system that begin with an allowed package, and a module that runs code when it is imported.
COMMANDS = [
    {"_target_": "mtlbench.tracking.folder.os.system", "command": "touch executed"},
    {"_target_": "torch.optim.optimizer.torch.os.system", "command": "touch executed"},
    {"_target_": "os.system", "command": "touch executed"},
    {"_target_": "evil.Model"},
    {"_target_": "mtlbench.cli.main", "arguments": ["prepare", *TINY, "run.data=executed"]},
]
commands = pytest.mark.parametrize("node", COMMANDS, ids=lambda node: node["_target_"])


@pytest.mark.parametrize(
    ("node", "command", "key"),
    [
        *((node, "evaluate", key) for node in COMMANDS for key in ("reader", "network")),
        (COMMANDS[0], "export", "reader"),
    ],
)
def test_a_received_run(place: Path, capsys: pytest.CaptureFixture[str], node: dict[str, Any], command: str, key: str):
    def poison(config: dict[str, Any]) -> None:
        config["run"]["allow"] = ["evil", "os", "posix"]  # grants nothing
        if key == "reader":
            config["dataset"]["reader"] = node
        else:
            config["model"]["network"] = node

    changed(run_of(place) / "config.yaml", poison)
    code, text = typed(capsys, command, str(run_of(place)), *["--no-onnx"] * (command == "export"))
    assert (code, (place / "executed").exists()) == (2, False), text
    assert node["_target_"] in text
    assert "Traceback" not in text


@pytest.mark.parametrize("words", [["show"], ["sync", "tracker=mlflow"], ["list", "runs"]], ids=lambda words: words[0])
def test_commands_that_only_look_at_a_received_run(place: Path, capsys: pytest.CaptureFixture[str], words: list[str]):
    changed(run_of(place) / "config.yaml", lambda config: config["model"].update(network=COMMANDS[3]))
    code, text = typed(capsys, *words, *[run_of(place).name] * (words == ["show"]))
    assert (code, (place / "executed").exists()) == (0, False), text


def test_a_sweep_goes_on_beside_a_received_run(place: Path, capsys: pytest.CaptureFixture[str]):
    """A run that is there is reported from its result; what its config.yaml says is not read."""
    changed(run_of(place) / "config.yaml", lambda config: config["model"].update(network=COMMANDS[3]))
    code, text = typed(capsys, "train", "model=dnn", *TINY)
    assert (code, (place / "executed").exists()) == (0, False), text


@commands
@pytest.mark.parametrize("key", ["model", "network"])
def test_a_received_export(
    place: Path, exported: Path, capsys: pytest.CaptureFixture[str], node: dict[str, Any], key: str
):
    file = exported / "artifacts" / "model" / "config.yaml"
    changed(file, lambda config: config.update(model=node if key == "model" else config["model"] | {"network": node}))
    code, text = typed(capsys, "score", "exported", "rows.parquet")
    assert (code, (place / "executed").exists()) == (2, False), text
    assert node["_target_"] in text


def test_a_received_export_that_mlflow_serves(place: Path, exported: Path):
    import mlflow.pyfunc

    file = exported / "artifacts" / "model" / "config.yaml"
    changed(file, lambda config: config["model"].update(network=COMMANDS[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"model\.network\._target_=mtlbench\.tracking\.folder\.os\.system"):
            mlflow.pyfunc.load_model(str(exported))
    assert not (place / "executed").exists()


SCHEMA = {
    "rows": {"train": "rows.parquet"},
    "fields": [{"name": "x", "column": "x"}],
    "tasks": [{"name": "click", "label": "click"}],
}


@commands
def test_a_schema_that_builds_something(place: Path, capsys: pytest.CaptureFixture[str], node: dict[str, Any]):
    (place / "mine").mkdir()
    parquet.write_table(pa.table({"x": list(range(90)), "click": [0, 1, 1] * 30}), place / "mine" / "rows.parquet")
    (place / "mine.yaml").write_text(yaml.safe_dump(SCHEMA | {"tables": {"t": node}}))
    for command in ("train", "prepare", "show"):
        code, text = typed(capsys, command, "dataset=parquet", "dataset.raw=mine", "dataset.schema=mine.yaml")
        assert (code, (place / "executed").exists()) == (2, False), text
        assert "mine.yaml: tables.t._target_: a schema is plain data" in text


INTERPOLATIONS = ["${oc.env:SECRET}", "${oc.decode:${oc.env:SECRET}}", "${hydra:runtime.cwd}", "a${name}b"]
interpolations = pytest.mark.parametrize("text", INTERPOLATIONS)


@interpolations
def test_a_schema_that_reads_the_environment(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
):
    monkeypatch.setenv("SECRET", "hidden-value")
    (place / "mine").mkdir()
    (place / "mine.yaml").write_text(yaml.safe_dump(SCHEMA | {"tasks": [{"name": text, "label": "click"}]}))
    code, said = typed(capsys, "prepare", "dataset=parquet", "dataset.raw=mine", "dataset.schema=mine.yaml")
    assert code == 2
    assert f"tasks.0.name: '{text}' is an interpolation" in said
    assert "hidden-value" not in said


@interpolations
@pytest.mark.parametrize("key", ["name", "trainer"])
def test_a_received_run_or_export_that_reads_the_environment(
    place: Path,
    exported: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    key: str,
):
    monkeypatch.setenv("SECRET", "hidden-value")
    for file in (run_of(place) / "config.yaml", exported / "artifacts" / "model" / "config.yaml"):
        changed(file, lambda config: (config["dataset"] if key == "name" else config["trainer"]).update({key: text}))
    for words in (
        ["evaluate", str(run_of(place))],
        ["export", str(run_of(place))],
        ["score", "exported", "rows.parquet"],
    ):
        code, said = typed(capsys, *words)
        assert code == 2, said
        assert f"'{text}' is an interpolation" in said
        assert "hidden-value" not in said


OVERRIDES = [
    "balancing._target_=evil.Model",
    "balancing._target_=os.system",
    "balancing._target_=mtlbench.tracking.folder.os.system",
    "balancing._target_=torch.optim.optimizer.torch.os.system",
    "balancing._target_=mtlbench.cli.main",
    "balancing._target_=torch.optim.Adam",
    "balancing._target_=mtlbench.tracking.folder.Path",
    "balancing._target_=mtlbench.export.onnx_graph.import_module",
    "balancing._target_=5",
    "balancing._target_=Equal",
    "balancing._target_=mtlbench..Equal",
    "balancing._partial_=1.5",
    "balancing._convert_=object",
    "optimizer.dense._target_=mtlbench.models.dnn.DNN",
    "optimizer.dense.betas=[{_target_:evil.Model}]",
    "optimizer.dense.betas={a:{_target_:evil.Model}}",
    "dataset.split._target_=mtlbench.cli.main",
    "dataset.split._target_=mtlbench.data.split.splitmix64",
    "dataset.reader._target_=mtlbench.cli.main",
    "dataset.reader._target_=mtlbench.models.dnn.DNN",
    "model._target_=mtlbench.cli.main",
    "model._target_=mtlbench.data.split.at_random",
    "virtual_gradient._target_=torch.nn.ReLU",
    "run.allow=[e.v-il]",
    "+run.allow=[evil]",
    "++run.allow=[evil]",
    "+hydra.callbacks.x._target_=evil.Model",
    "hydra.launcher._target_=evil.Model",
    "hydra.launcher={_target_:evil.Model}",
    "hydra.sweeper._target_=evil.Model",
    "+hydra.job.env_set.MTLBENCH_ALLOW=evil",
    "hydra.searchpath=[mine]",
    "+model@hydra.callbacks.x=dnn",
    "--experimental-rerun=evil.pickle",
]  # fmt: skip


@pytest.mark.parametrize("word", OVERRIDES)
def test_an_override(place: Path, capsys: pytest.CaptureFixture[str], word: str):
    code, text = typed(capsys, "train", *["-m", "seed=0,1"] * ("hydra" in word), "model=dnn", *TINY, word)
    assert (code, (place / "executed").exists()) == (2, False), text
    assert "Traceback" not in text


LOGGING = {"version": 1, "formatters": {"x": {"()": "evil.Model"}}}  # what the standard library builds of a name

CONFIG_FILES = {
    "network": ("model/evil.yaml", {"defaults": ["dnn"], "network": COMMANDS[0]}),
    "import": ("model/evil.yaml", {"defaults": ["dnn"], "network": COMMANDS[3]}),
    "allow": ("model/evil.yaml", {"run": {"allow": ["evil"]}, "model": COMMANDS[3]}),
    "callbacks": ("model/evil.yaml", {"hydra": {"callbacks": {"x": COMMANDS[3]}}}),
    "logging": (
        "model/evil.yaml",
        {"hydra": {"job_logging": LOGGING}},
    ),
    "environment": (
        "model/evil.yaml",
        {"hydra": {"job": {"env_set": {"MTLBENCH_ALLOW": "evil"}}}, "model": COMMANDS[3]},
    ),
    "package of a default": ("model/evil.yaml", {"defaults": [{"/optimizer@hydra.callbacks.x": "bad"}, "dnn"]}),
    "group of Hydra": ("hydra/callbacks/evil.yaml", {"x": COMMANDS[3]}),
}


@pytest.mark.parametrize(
    ("name", "escaped", "many"),
    [
        *((name, False, many) for name in CONFIG_FILES for many in (False, True)),
        ("callbacks", True, False),
        ("logging", True, True),
    ],
)
def test_a_folder_of_configurations(
    place: Path, capsys: pytest.CaptureFixture[str], name: str, escaped: bool, many: bool
):
    file, content = CONFIG_FILES[name]
    path = place / "mine" / file
    path.parent.mkdir(parents=True)
    text = yaml.safe_dump(content, default_flow_style=False)
    if escaped:
        text = text.replace("hydra:", '"\\x68ydra":')
    path.write_text("# @package _global_\n" * ("hydra" in content or "run" in content) + text)
    (place / "mine" / "optimizer").mkdir()
    (place / "mine" / "optimizer" / "bad.yaml").write_text(yaml.safe_dump(COMMANDS[3]))
    words = ["model=evil"] if file.startswith("model") else ["model=dnn"]
    code, said = typed(capsys, "train", "--config-dir", "mine", *["-m", "seed=0,1"] * many, *TINY, *words)
    assert (code, (place / "executed").exists()) == (2, False), said
    assert "Traceback" not in said


def test_a_table_or_figure(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(conf_folder(), place / "conf")
    changed(place / "conf" / "figure" / "dephn_fig4.yaml", lambda figure: figure.update(draws="evil.Model"))
    changed(place / "conf" / "table" / "census_mmoe.yaml", lambda table: table.update(title="${oc.env:HOME}"))
    monkeypatch.setattr("mtlbench.cli.reproduce.conf_file", lambda name: place / "conf" / name)
    code, text = typed(capsys, "reproduce", "dephn_fig4", "--dry-run")
    assert (code, (place / "executed").exists()) == (2, False), text
    assert "draws" in text
    code, text = typed(capsys, "reproduce", "census_mmoe", "--dry-run")
    assert code == 2
    assert "title: '${oc.env:HOME}' is an interpolation" in text
