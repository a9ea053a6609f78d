"""An exported model: the run's own numbers from the reader's own values, wherever it is opened."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig, OmegaConf

from mtlbench.cli import main
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.evaluation import evaluate_run
from mtlbench.experiment.run import train
from mtlbench.export import bundle, onnx_graph
from mtlbench.export.bundle import Exported, ExportError, export_run, requirements
from mtlbench.export.columns import ColumnError
from mtlbench.export.hashes import NoHashesWarning
from mtlbench.export.inputs import Inputs
from mtlbench.export.log import log_model
from mtlbench.export.score import score_file
from mtlbench.export.scorer import open_exported
from mtlbench.tracking.connect import connect
from mtlbench.tracking.folder import write_status

NAMES = ["p_click", "p_conversion"]


@pytest.fixture(scope="session")
def own(place: Path, run_folder: Path) -> np.ndarray:
    """What `mtlbench evaluate` predicts for the test rows."""
    path = place / "own.parquet"
    evaluate_run(run_folder, "test", "cpu", path)
    return answers(path)


def answers(path: Path) -> np.ndarray:
    table = pq.read_table(path)
    return np.stack([table[name].to_numpy() for name in NAMES], axis=1)


def as_csv(rows: pa.Table, path: Path) -> Path:
    """The same rows as text: lists as JSON, nothing for what is missing."""
    text = {
        name: [json.dumps(value) if isinstance(value, list) else value for value in rows[name].to_pylist()]
        for name in rows.column_names
    }
    pv.write_csv(pa.table(text), path, pv.WriteOptions(quoting_style="needed"))
    return path


@pytest.mark.parametrize("onnx", [False, True], ids=["torch", "onnx"])
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_of_the_readers_own_rows_gets_the_runs_own_predictions(
    onnx: bool, ending: str, exported: Exported, raw_rows: pa.Table, own: np.ndarray, tmp_path: Path
):
    assert pa.compute.max(pa.compute.list_value_length(raw_rows["history"])).as_py() > 4, "some histories must be cut"
    assert raw_rows["item"].null_count > 0
    rows = tmp_path / f"rows.{ending}"
    pq.write_table(raw_rows, rows) if ending == "parquet" else as_csv(raw_rows, rows)
    scorer = open_exported(exported.folder, onnx)
    scorer.rows_at_once = 32  # several chunks
    scored = score_file(scorer, rows, tmp_path / "p.parquet")
    assert scored.rows == len(own) == 250
    assert scored.unused == ("clicked",)
    assert np.abs(answers(tmp_path / "p.parquet") - own).max() < 1e-5
    assert own.std(axis=0).min() > 1e-3, "equal predictions would prove nothing"
    assert pq.read_table(tmp_path / "p.parquet")["row"].to_pylist() == list(range(250))
    assert pq.read_schema(tmp_path / "p.parquet").metadata[b"origin"] == b"real"
    assert scorer.unknown["item"] > 0, "values that are unknown must be among them"


def test_every_column_matters(exported: Exported, raw_rows: pa.Table):
    """So that equal predictions above are no accident: without any one of its columns a row is scored otherwise."""
    scorer = open_exported(exported.folder)
    columns = {column.name: raw_rows[column.name].combine_chunks() for column in scorer.inputs.columns}
    before = scorer(columns)
    for name in columns:
        missing = {name: pa.nulls(len(raw_rows), columns[name].type)}
        if name == "history:weight":
            missing = {name: pa.array([[2.0**-n for n in range(len(w))] for w in columns[name].to_pylist()])}
        if name == "history":
            missing["history:weight"] = pa.nulls(len(raw_rows), columns["history:weight"].type)
        assert np.abs(scorer(columns | missing) - before).max() > 1e-6, name


def test_the_example_holds_raw_rows_and_the_runs_own_probabilities(
    exported: Exported, raw_rows: pa.Table, own: np.ndarray
):
    example = pq.read_table(exported.folder / "example.parquet")
    assert len(example) == exported.rows == 40
    assert np.abs(answers(exported.folder / "example.parquet") - own[:40]).max() < 1e-6
    assert set(exported.differences) == {"MLflow", "ONNX"}
    for name in ("item", "colour"):
        for value, read in zip(example[name].to_pylist(), raw_rows[name].to_pylist()[:40], strict=True):
            assert value in (read, -1, "?")
    assert exported.stand_ins["item"] == example["item"].to_pylist().count(-1) > 0


def test_nothing_is_pickled_and_nothing_names_this_machine(exported: Exported, place: Path):
    for path in exported.folder.rglob("*"):
        assert path.suffix not in (".pkl", ".pickle", ".pt")
        if path.is_file() and "code" not in path.relative_to(exported.folder).parts:
            content = path.read_bytes()
            assert str(place).encode() not in content, path
            assert b"/site-packages" not in content, path
            assert str(Path(bundle.__file__).parent).encode() not in content, path
    weights = exported.folder / "artifacts" / "model" / "weights.npz"
    assert all(name.endswith(".npy") for name in zipfile.ZipFile(weights).namelist())
    assert not list(exported.folder.rglob("__pycache__"))


@pytest.mark.parametrize(
    "name",
    ["weights.npz", "facts.json", "config.yaml", "inputs.json", "vocabulary/things.parquet", "vocabulary/city.parquet"],
)
def test_a_damaged_file_of_an_export_is_not_scored_with(
    name: str, exported: Exported, raw_rows: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "model"
    shutil.copytree(exported.folder, folder)
    path = folder / "artifacts" / "model" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    pq.write_table(raw_rows, tmp_path / "rows.parquet")
    assert main(["score", str(folder), str(tmp_path / "rows.parquet"), f"--to={tmp_path}/p.parquet"]) == 2
    assert f"{path} is damaged, or was changed: its SHA-256 is not that of" in capsys.readouterr().err
    assert not (tmp_path / "p.parquet").exists()
    path.unlink()
    with pytest.raises(ConfigError, match=rf"{Path(name).name} is missing"):
        open_exported(folder)


def test_a_damaged_graph_is_not_scored_with(exported: Exported, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(exported.folder, folder)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(bytes(content))
    with pytest.raises(ConfigError, match=r"model\.onnx is damaged, or was changed"):
        open_exported(folder, onnx=True)
    open_exported(folder)


def test_every_file_of_an_export_has_its_hash_as_sha256sum_reads_it(exported: Exported, tmp_path: Path):
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=exported.folder, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files = sum(path.is_file() for path in exported.folder.rglob("*"))
    assert done.stdout.count(b": OK") == files - 1
    shutil.copytree(exported.folder, tmp_path / "old")
    (tmp_path / "old" / "SHA256SUMS").unlink()
    with pytest.warns(NoHashesWarning, match="export the run again to be sure"):
        open_exported(tmp_path / "old")


@pytest.mark.long
@pytest.mark.parametrize("model", ["mmoe", "dnn"])
def test_each_task_is_scored_by_the_weights_that_were_kept_for_it(
    model: str, configure: Callable[..., DictConfig], tmp_path: Path
):
    """And a conditional task by its own copy's product."""
    words = [f"model={model}", "trainer.checkpoint=task", "trainer.epochs=6", "trainer.patience=null", "seed=4"]
    run = train(configure(*words, "loss.given=conditional", f"run.folder={tmp_path}/runs"))
    assert len(set(run.result.best_step.values())) == 2, "choose a seed for which they differ"
    done = export_run(run.folder, tmp_path / "model", rows=40)
    assert max(done.differences.values()) < 1e-5
    evaluate_run(run.folder, "test", "cpu", tmp_path / "own.parquet")
    assert np.abs(answers(done.folder / "example.parquet") - answers(tmp_path / "own.parquet")[:40]).max() < 1e-6


def test_requirements_are_pinned(exported: Exported):
    lines = (exported.folder / "requirements.txt").read_text().split()
    assert sorted(lines) == requirements()
    assert all(line.count("==") == 1 and "+" not in line for line in lines)
    assert {"torch", "mlflow", "numpy", "pyarrow"} <= {line.partition("==")[0] for line in lines}
    assert not any("mtlbench" in line for line in lines)


ELSEWHERE = """
import importlib.util, json, sys
sys.path.append(sys.argv[2])
found = importlib.util.find_spec("mtlbench")  # an editable install leaves conf/ behind, a package without code
assert found is None or found.origin is None, "this process must not know the package"
import mlflow.pyfunc
import pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
import mtlbench
rows = pd.read_json(sys.argv[1] + "/input_example.json", orient="split")
print(json.dumps({"at": mtlbench.__file__, "p": model.predict(rows).values.tolist()}))
"""


@pytest.mark.long
def test_the_folder_alone_scores_where_mtlbench_is_not_installed(exported: Exported, own: np.ndarray, tmp_path: Path):
    folder = tmp_path / "moved elsewhere"
    shutil.copytree(exported.folder, folder)
    command = [sys.executable, "-I", "-S", "-c", ELSEWHERE, str(folder), sysconfig.get_path("purelib")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, env=dict(os.environ))
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout.splitlines()[-1])
    assert said["at"] == str(folder / "code" / "mtlbench" / "__init__.py")
    assert np.abs(np.array(said["p"]) - own[:5]).max() < 1e-5


def test_an_export_that_answers_otherwise_is_not_written(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    right = Inputs.load.__func__  # pyright: ignore[reportFunctionMemberAccess]

    def wrong(cls: type[Inputs], folder: Path) -> Inputs:
        inputs = right(cls, folder)
        inputs.scales["price"].mean[:] += 1
        return inputs

    monkeypatch.setattr(Inputs, "load", classmethod(wrong))
    monkeypatch.setattr(bundle, "_write_model", _artifacts_alone)
    with pytest.raises(ExportError, match=r"the MLflow model of run .* differ by up to"):
        export_run(run_folder, tmp_path / "a", onnx=False)
    assert list(tmp_path.iterdir()) == []


def _artifacts_alone(run, run_folder, inputs, scoring, _example, path):  # without what MLflow adds, which takes seconds
    from mtlbench.export.scorer import save_scoring

    artifacts = path / "artifacts" / "model"
    artifacts.mkdir(parents=True)
    shutil.copy(run_folder / "config.yaml", artifacts)
    inputs.save(artifacts)
    save_scoring(scoring, {}, artifacts)


def test_a_full_disk_under_mlflows_own_copies_is_an_error_that_names_it(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> None:
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")])

    monkeypatch.setattr("mlflow.utils.model_utils._copy_file_or_tree", full)
    with pytest.raises(OSError, match=r"could not write the exported model .*No space left on device") as caught:
        export_run(run_folder, tmp_path / "a", onnx=False)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_says_why(
    place: Path, run_folder: Path, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(ConfigError, match="mmoe already exists; choose another folder with --to"):
        export_run(run_folder, exported.folder)
    with pytest.raises(ConfigError, match="--split is 'tset'; allowed: train, valid, test"):
        export_run(run_folder, tmp_path / "a", split="tset")
    with pytest.raises(ConfigError, match="holds no trained run"):
        export_run(tmp_path, tmp_path / "a")
    unfinished = tmp_path / "runs" / run_folder.name
    shutil.copytree(run_folder, unfinished)
    (unfinished / "result.json").unlink()
    write_status(unfinished, "failed")
    with pytest.raises(ConfigError, match="is failed; only a finished run can be exported"):
        export_run(unfinished, tmp_path / "a")
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ConfigError, match=r"ONNX needs onnxscript: pip install 'mtlbench\[export\]'"):
        export_run(run_folder, tmp_path / "a")
    with pytest.raises(ConfigError, match="ONNX needs onnxscript"):
        open_exported(exported.folder, onnx=True)


def test_files_that_cannot_be_scored_say_why(exported: Exported, raw_rows: pa.Table, tmp_path: Path):
    scorer, to = open_exported(exported.folder), tmp_path / "p.parquet"

    def refused(rows: Path, message: str, error: type[ValueError] = ColumnError) -> None:
        with pytest.raises(error, match=message):
            score_file(scorer, rows, to)
        assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "p."))) == []

    refused(tmp_path / "no.csv", "no such file", ConfigError)
    (tmp_path / "rows.txt").write_text("x")
    refused(tmp_path / "rows.txt", "ending in .parquet or .csv", ConfigError)
    (tmp_path / "bad.parquet").write_text("x")
    refused(tmp_path / "bad.parquet", "cannot be read as Parquet", ConfigError)
    (tmp_path / "empty.csv").write_text("")
    refused(tmp_path / "empty.csv", "has no header", ConfigError)
    lacking = raw_rows.rename_columns([name.replace("colour", "color") for name in raw_rows.column_names])
    pq.write_table(lacking, tmp_path / "lacking.parquet")
    refused(tmp_path / "lacking.parquet", r"column 'colour' occurs 0 times.*by 'color'")
    text = as_csv(raw_rows, tmp_path / "rows.csv").read_text().splitlines()
    first = text[201].split(",")
    (tmp_path / "broken.csv").write_text("\n".join([*text[:201], ",".join(["seven", *first[1:]]), *text[202:]]))
    refused(tmp_path / "broken.csv", r"column 'item', row 200 \(from 0\): found 'seven'; allowed: an integer")
    pq.write_table(raw_rows, tmp_path / "damaged.parquet", compression="none")
    damaged = bytearray((tmp_path / "damaged.parquet").read_bytes())
    damaged[4:2000] = bytes(byte ^ 0x5A for byte in damaged[4:2000])
    (tmp_path / "damaged.parquet").write_bytes(damaged)
    refused(tmp_path / "damaged.parquet", r"damaged\.parquet cannot be read as Parquet", ConfigError)
    (tmp_path / "ragged.csv").write_text("\n".join([*text[:5], "1,2", *text[5:]]))
    refused(tmp_path / "ragged.csv", r"ragged\.csv cannot be read as CSV: .*Row #6", ConfigError)
    (tmp_path / "latin.csv").write_bytes("\n".join(text).replace("r", "\u00e4").encode("latin-1"))
    refused(tmp_path / "latin.csv", r"latin\.csv cannot be read as CSV", ConfigError)
    large = raw_rows.set_column(raw_rows.column_names.index("price"), "price", pa.array([1e300] * len(raw_rows)))
    pq.write_table(large, tmp_path / "large.parquet")
    refused(tmp_path / "large.parquet", r"column 'price', row 0 \(from 0\): found 1e\+300; allowed: -")
    with pytest.raises(ConfigError, match=r"ending in \.parquet"):
        score_file(scorer, tmp_path / "rows.csv", tmp_path / "p.csv")
    with pytest.raises(ConfigError, match="is not an exported model"):
        open_exported(tmp_path)


@pytest.mark.long
def test_a_model_of_a_run_is_shown_in_mlflow_and_can_be_registered(
    exported: Exported, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import mlflow

    with pytest.raises(ConfigError, match="has tracker=none, so it has no server"):
        log_model(run_folder, exported.folder)
    sent = tmp_path / "runs" / run_folder.name
    shutil.copytree(run_folder, sent)
    config = OmegaConf.load(sent / "config.yaml")
    config.run.tracker = {"uri": None, "experiment": "exported"}
    OmegaConf.save(config, sent / "config.yaml")
    facts = json.loads((sent / "run.json").read_text())
    facts["config"] = hashlib.sha256((sent / "config.yaml").read_bytes()).hexdigest()
    (sent / "run.json").write_text(json.dumps(facts))
    model_id = log_model(sent, exported.folder).split()[0].removeprefix("models:/")

    client = connect(f"sqlite:///{tmp_path}/runs/mlflow.db")
    logged = client.get_logged_model(model_id)
    assert logged.tags["identity"] == run_folder.name
    assert logged.status == "READY"
    (run,) = client.search_runs([logged.experiment_id])
    assert run.data.tags["identity"] == run_folder.name
    assert [out.model_id for out in run.outputs.model_outputs] == [model_id]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs/mlflow.db")
    registered = mlflow.register_model(f"models:/{model_id}", "mmoe-of-the-toy")
    assert (registered.status, registered.run_id) == ("READY", run.info.run_id)
    assert mlflow.pyfunc.load_model("models:/mmoe-of-the-toy/1").metadata.signature is not None
    there = Path(logged.artifact_location.removeprefix("file://"))
    files = {path.relative_to(exported.folder) for path in exported.folder.rglob("*") if path.is_file()}
    assert {path for path in files if (there / path).read_bytes() == (exported.folder / path).read_bytes()} == files


def test_the_commands(exported: Exported, raw_rows: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pq.write_table(raw_rows, tmp_path / "rows.parquet")
    to = tmp_path / "p.parquet"
    assert main(["score", str(exported.folder), str(tmp_path / "rows.parquet"), f"--to={to}"]) == 0
    said = capsys.readouterr().out
    assert "250 rows" in said
    assert "unused columns: clicked" in said
    assert main(["score", str(exported.folder)]) == 2
    assert main(["score", "a", "b", "--on"]) == 2
    assert "no such option: --on; did you mean --onnx?" in capsys.readouterr().err
    assert main(["export", "nothing", f"run.folder={tmp_path}"]) == 2
    assert "0 runs in " in capsys.readouterr().err
    assert main(["export", "a", "--rows", "many"]) == 2
