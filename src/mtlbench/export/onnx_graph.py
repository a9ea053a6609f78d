"""Writes a trained model as an ONNX graph, and runs it with ONNX Runtime (the extra ``export``)."""

import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtlbench.experiment.errors import ConfigError
from mtlbench.export.scorer import Predictions, Scoring

OPSET = 20
"""ONNX operator set version of the graph."""

LARGEST = 1 << 30
"""Maximum bytes of weights inside the graph file (protobuf's limit is 2 GiB); larger ones go to ``model.onnx.data``."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Check that the extra is installed.

    Raises:
        ConfigError: a package is missing.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ConfigError(
            f"ONNX needs {', '.join(missing)}: pip install 'mtlbench[export]'; the MLflow model alone needs neither "
            "(mtlbench export --no-onnx, mtlbench score without --onnx)"
        )


def write_onnx(scoring: Scoring, matrices: Mapping[str, np.ndarray], facts: Mapping[str, Any], path: Path) -> None:
    """Write the graph, with inputs ``ids``, ``numbers``, ``weights`` (those in the schema) and any number of rows.

    Args:
        scoring: the model.
        matrices: inputs of a few rows for tracing, with arbitrary values.
        facts: written to the file's metadata as text.
        path: file to write.

    Raises:
        ConfigError: the model has data-dependent computations that a graph cannot represent.
    """
    require_onnx()
    arguments = {name: torch.from_numpy(matrix) for name, matrix in matrices.items()}
    rows = torch.export.Dim("rows", min=1)
    output = "probabilities" if all(task.kind == "binary" for task in scoring.tasks) else "predictions"
    with _quiet(), torch.no_grad():
        try:
            graph = torch.export.export(
                scoring, (), kwargs=arguments, dynamic_shapes={name: {0: rows} for name in arguments}, strict=False
            )
            program = torch.onnx.export(
                graph, (), kwargs=arguments, dynamo=True, opset_version=OPSET, output_names=[output], verbose=False
            )
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"{type(scoring.model).__name__} cannot be written as an ONNX graph: {type(error).__name__}: {reason}. "
                "--no-onnx writes the MLflow model alone"
            ) from error
        assert program is not None
        program.model.metadata_props.update({name: str(value) for name, value in facts.items()})
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()  # the exporter's stack traces contain paths of this machine
        size = sum(weight.nbytes for weight in scoring.state_dict().values())
        program.save(path, external_data=size > LARGEST)


def onnx_predictions(path: Path) -> Predictions:
    """A function from matrices to predictions that runs the graph with ONNX Runtime on the CPU.

    Raises:
        ConfigError: the file or the extra is missing.
    """
    require_onnx()
    if not path.is_file():
        raise ConfigError(f"{path} is missing: the model was exported without ONNX. Export it again without --no-onnx")
    runtime = import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def predicted(matrices: Mapping[str, np.ndarray]) -> np.ndarray:
        return session.run(None, {name: matrices[name] for name in names})[0]

    return predicted


@contextmanager
def _quiet() -> Generator[None]:
    """Silence the exporter's warnings about missing operators and skipped constant folding."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
