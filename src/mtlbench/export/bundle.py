"""Exports a finished run: an MLflow model, an ONNX graph, and example rows."""

import errno
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import requires, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

import mtlbench
from mtlbench.data.store import SPLITS
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.evaluation import TrainedRun, check_result, load_run
from mtlbench.experiment.objects import build_ranking
from mtlbench.export.columns import ServedColumn, key_of
from mtlbench.export.example import raw_rows
from mtlbench.export.hashes import write_hashes
from mtlbench.export.inputs import Inputs, training_files
from mtlbench.export.onnx_graph import require_onnx, write_onnx
from mtlbench.export.scorer import CONFIG, ONNX, Scoring, open_exported, save_scoring
from mtlbench.files import atomic
from mtlbench.losses import predicted_labels
from mtlbench.tracking.connect import import_mlflow
from mtlbench.tracking.folder import STATUS, read_status
from mtlbench.tracking.parameters import read_config, shareable_config
from mtlbench.train.score import evaluate_split, predict_log_odds

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, DataType

EXAMPLE = "example.parquet"
SERVED = "served.py"
EXAMPLE_REQUEST = 5
"""Number of rows of MLflow's input example."""

CLOSE = 1e-5
"""Maximum difference between the predictions of an exported model and those of its run."""


class ExportError(ArithmeticError):
    """The exported model does not reproduce the run's predictions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """An exported folder.

    Attributes:
        folder: path of the folder.
        run: the exported run.
        rows: number of example rows.
        differences: by way of scoring (torch, ONNX), the maximum difference between its predictions and the run's; for
            a regression task relative to the standard deviation of the label.
        rounded: the same difference for the run's predictions in its own precision; 0 if that is float32.
        stand_ins: by field, the number of placeholders in the example, for values that are not in the vocabulary.
    """

    folder: Path
    run: TrainedRun
    rows: int
    differences: dict[str, float]
    rounded: float
    stand_ins: Counter[str]


def export_run(run_folder: Path, to: Path, *, split: str = "test", rows: int = 200, onnx: bool = True) -> Exported:
    """Write a run's model as a self-contained folder, and compare its predictions with the run's.

    First the run's test split is scored, as by `mtlbench evaluate`, and compared with the run's own result.

    Args:
        run_folder: folder of a finished run.
        to: folder to write, atomically.
        split: the split of the example rows.
        rows: number of example rows.
        onnx: whether to write an ONNX graph too.

    Raises:
        ConfigError: the run has not finished, its data no longer exist, the target exists, or ONNX is not installed.
        OtherResultError: the run's weights no longer give its result, see `check_result`.
        ExportError: the exported model's predictions differ from the run's.
    """
    if to.exists():
        raise ConfigError(f"{to} already exists; choose another folder with --to, or remove it")
    if split not in SPLITS:
        raise ConfigError(f"--split is {split!r}; allowed: {', '.join(SPLITS)}")
    if onnx:
        require_onnx()
    if (run_folder / STATUS).exists() and (state := read_status(run_folder).state) != "finished":
        raise ConfigError(
            f"run {run_folder.name} is {state}; only a finished run can be exported. Finish its training first"
        )
    run = load_run(run_folder, "cpu")
    ranking = build_ranking(run.config)
    measured = evaluate_split(run.model, run.store.split("test"), run.losses, run.settings, run.device, ranking)[1]
    check_result(run_folder, measured.values, run.settings.precision)
    tasks = run.store.schema.tasks
    inputs, scoring = Inputs.of(run.store, training_files(run.config)), Scoring(run.model, run.losses, tasks)
    example = raw_rows(run.store, inputs, split, rows)
    predictions, rounded = _own(run, split, rows)
    to.parent.mkdir(parents=True, exist_ok=True)
    with atomic(to, alone=False) as model:
        _write_model(run, run_folder, inputs, scoring, example, model)
        answers = {task.answer: predictions[:, number] for number, task in enumerate(tasks)}
        with_answers = pa.table({**{name: example[name] for name in example.column_names}, **answers})
        pq.write_table(with_answers.replace_schema_metadata(_about(run)), model / EXAMPLE)
        ways = {"MLflow": False}
        if onnx:
            few = example.slice(0, EXAMPLE_REQUEST).combine_chunks()
            write_onnx(scoring, inputs.encode(_columns(few), 0, Counter()), _about(run), model / ONNX)
            ways["ONNX"] = True
        write_hashes(model)
        stand_ins: Counter[str] = Counter()
        differences: dict[str, float] = {}
        for way, by_onnx in ways.items():
            scorer = open_exported(model, by_onnx)
            apart = np.abs(scorer(_columns(example)) - predictions) / [task.deviation for task in tasks]
            differences[way] = float(apart.max(initial=0))
            stand_ins = scorer.unknown
            if not differences[way] <= CLOSE:
                raise ExportError(
                    f"the {way} model of run {run.facts.identity} does not reproduce the run: predictions of the "
                    f"first {len(predictions)} rows of '{split}' differ by up to {differences[way]:.2g}; "
                    f"allowed: {CLOSE}"
                )
    return Exported(
        folder=to, run=run, rows=len(predictions), differences=differences, rounded=rounded, stand_ins=stand_ins
    )


def requirements() -> list[str]:
    """The requirements of mtlbench, pinned to the installed versions."""
    declared = [text for text in requires("mtlbench") or [] if "extra ==" not in text]
    names = sorted(re.split(r"[^A-Za-z0-9_.-]", text, maxsplit=1)[0] for text in declared)
    return [
        f"{name}=={version(name).partition('+')[0]}" for name in names
    ]  # without +cpu, which package indexes do not have


def _own(run: TrainedRun, split: str, rows: int) -> tuple[np.ndarray, float]:
    """The run's predictions of the first rows in float32, and the maximum difference from those in its precision."""
    tasks = run.store.schema.tasks
    first_rows = run.store.split(split).first(rows)
    own, exact = (
        predicted_labels(predict_log_odds(run.model, first_rows, run.losses, settings, run.device), tasks)
        for settings in (run.settings, replace(run.settings, precision="fp32"))
    )
    apart = (own - exact).abs() / torch.tensor([task.deviation for task in tasks])
    return exact.numpy(), float(apart.max())


def _write_model(
    run: TrainedRun, run_folder: Path, inputs: Inputs, scoring: Scoring, example: pa.Table, path: Path
) -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # no bars for copying small files
    import_mlflow()
    with TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # MLflow warns about type hints, even its own; the signature is given explicitly
        import mlflow.pyfunc

        artifacts = Path(temporary) / "model"
        artifacts.mkdir()
        config = yaml.safe_dump(shareable_config(read_config(run_folder / CONFIG)), sort_keys=False)
        (artifacts / CONFIG).write_text(config, encoding="utf-8")
        inputs.save(artifacts)
        keys = run.store.keys("train")
        save_scoring(scoring, asdict(run.facts), artifacts, () if keys is None else key_of(keys.schema))
        from mlflow.exceptions import MlflowException

        try:
            mlflow.pyfunc.save_model(
                path,
                python_model=str(Path(__file__).with_name(SERVED)),
                artifacts={"model": str(artifacts)},
                code_paths=[str(Path(mtlbench.__file__).parent)],
                signature=_signature(inputs),
                input_example=_frame(example.slice(0, EXAMPLE_REQUEST)),
                pip_requirements=requirements(),
                metadata=_about(run),
            )
        except MlflowException as error:
            if not isinstance(error.__cause__, OSError):
                raise
            # MLflow copies with shutil, whose error lists every file and has no errno.
            problem = " ".join(str(error.__cause__).split())[:200]
            raise OSError(
                error.__cause__.errno or errno.ENOSPC,
                f"could not write the exported model ({problem}). Free some space and run the same command again",
                str(path),
            ) from error
        _forget_places(path)


def _forget_places(path: Path) -> None:
    """Make the paths in the model's metadata relative; MLflow records absolute paths of this machine."""
    from mlflow.models import Model

    model = Model.load(path)
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = SERVED
    flavor["artifacts"]["model"]["uri"] = flavor["artifacts"]["model"]["path"]
    model.save(path / "MLmodel")


def _about(run: TrainedRun) -> dict[str, str]:
    """Facts about the run and its data."""
    facts = run.facts
    about = {name: str(value) for name, value in asdict(facts).items() if value not in (None, (), {})}
    return about | ({"data_are": "SIMULATED DATA"} if facts.origin == "simulated" else {})


def _signature(inputs: Inputs) -> "ModelSignature":
    """MLflow's signature of the raw columns, as far as its types allow.

    MLflow rejects an integer column with a missing value, since pandas converts it to floats. So integers that may be
    missing are ``any`` to MLflow, and are only checked by mtlbench; so are lists of them.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, DataType, Schema, TensorSpec

    kinds = {"integer": DataType.long, "text": DataType.string, "number": DataType.double, "weight": DataType.double}

    def type_of(column: ServedColumn) -> "DataType | AnyType":
        if column.many or (column.kind == "integer" and column.missing):
            return AnyType()
        return kinds[column.kind]

    columns: list[ColSpec | TensorSpec] = [ColSpec(type_of(column), column.name) for column in inputs.columns]
    answers: list[ColSpec | TensorSpec] = [ColSpec(DataType.float, task.answer) for task in inputs.schema.tasks]
    return ModelSignature(inputs=Schema(columns), outputs=Schema(answers))


def _frame(rows: pa.Table) -> pd.DataFrame:
    """Raw rows as a DataFrame of objects, since integers beside missing values would become floats."""
    columns = {name: rows[name].to_pylist() for name in rows.column_names}
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


def _columns(rows: pa.Table) -> dict[str, pa.Array]:
    combined: Sequence[pa.ChunkedArray] = rows.columns
    return {
        name: column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        for name, column in zip(rows.column_names, combined, strict=True)
    }
