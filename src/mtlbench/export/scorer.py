"""Scores raw rows with an exported model, using torch or ONNX Runtime."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.objects import build_model
from mtlbench.experiment.plain import read_plain
from mtlbench.export.columns import ServedColumn
from mtlbench.export.hashes import check_hashes
from mtlbench.export.inputs import Inputs
from mtlbench.losses import predicted_labels
from mtlbench.schema import Batch, Task
from mtlbench.train.objective import TaskLosses
from mtlbench.train.selection import kept_model

ARTIFACTS = Path("artifacts", "model")
"""Path of the model's artifacts inside an exported folder, as given by MLflow."""

CONFIG = "config.yaml"
WEIGHTS = "weights.npz"
FACTS = "facts.json"
ONNX = "model.onnx"

Predictions = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class Scoring(nn.Module):
    """A trained model with the conversion of its logits to predictions, in evaluation mode and float32.

    Shape: ids int32 ``[B, S]``, numbers ``[B, N]``, weights ``[B, W]``, each if the schema has such columns
    -> predictions ``[B, T]``: probabilities that the labels are 1, or numbers in the units of the labels.
    """

    def __init__(self, model: nn.Module, losses: TaskLosses, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.model, self.losses, self.tasks = model, losses, tuple(tasks)
        self.eval()

    def forward(
        self, ids: Tensor | None = None, numbers: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        given = ids if ids is not None else numbers
        assert given is not None, "a schema has at least one field"
        rows = given.shape[0]
        batch = Batch(
            ids=given.new_zeros(rows, 0, dtype=torch.int32) if ids is None else ids,
            numbers=given.new_zeros(rows, 0, dtype=torch.float32) if numbers is None else numbers,
            weights=weights,
            labels=None,
            observed=None,
            group=None,
            source=None,
            time=None,
            row=torch.arange(rows, device=given.device),
        )
        return predicted_labels(self.losses.log_odds(self.model(batch).float()), self.tasks)


@dataclass
class Scorer:
    """Computes predictions of raw rows.

    Attributes:
        inputs: converts raw columns to matrices.
        predictions: converts matrices to predictions, float32 ``[B, T]``.
        facts: facts of the run, from its folder.
        rows_at_once: number of rows per forward pass.
        key: columns of the row key, copied to the predictions if the rows have them.
        unknown: by field, the number of values outside the vocabulary so far.
    """

    inputs: Inputs
    predictions: Predictions
    facts: dict[str, Any]
    rows_at_once: int
    key: tuple[ServedColumn, ...] = ()
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def names(self) -> list[str]:
        """Names of the predicted columns, see `Task.answer`."""
        return [task.answer for task in self.inputs.schema.tasks]

    def __call__(self, raw: Mapping[str, pa.Array], first_row: int = 0) -> np.ndarray:
        """Predictions ``[B, T]`` of rows.

        Args:
            raw: columns by name, one for each of `Inputs.columns`.
            first_row: number of the first row, for messages.
        """
        rows = len(raw[self.inputs.columns[0].name])
        parts = [np.zeros((0, len(self.names)), np.float32)]
        for start in range(0, rows, self.rows_at_once):
            chunk = {name: values.slice(start, self.rows_at_once) for name, values in raw.items()}
            parts.append(self.predictions(self.inputs.encode(chunk, first_row + start, self.unknown)))
        return np.concatenate(parts)


def open_exported(folder: Path, onnx: bool = False) -> Scorer:
    """The scorer of an exported folder, on the CPU.

    Raises:
        ConfigError: the folder was not written by `mtlbench export`, a file in it is damaged, or `onnx` is set and the
            graph or ONNX Runtime is missing.
    """
    artifacts = folder / ARTIFACTS
    if not (artifacts / FACTS).is_file():
        raise ConfigError(
            f"{folder} is not an exported model: {ARTIFACTS / FACTS} is missing. `mtlbench export` writes one"
        )
    if onnx:
        from mtlbench.export.onnx_graph import onnx_predictions

        check_hashes(folder, [Path(ONNX), Path(f"{ONNX}.data")])
        return opened(artifacts, onnx_predictions(folder / ONNX))
    return opened(artifacts, None)


def opened(artifacts: Path, predicted: Predictions | None) -> Scorer:
    """The scorer of a folder of artifacts; uses torch, unless another function from matrices to predictions is given.

    Raises:
        ConfigError: a file is damaged.
    """
    check_hashes(artifacts.parents[len(ARTIFACTS.parts) - 1], [ARTIFACTS])
    config = read_plain(artifacts / CONFIG, ("model", "virtual_gradient", "trainer.evaluation_batch_size"))
    facts, inputs = json.loads((artifacts / FACTS).read_text(encoding="utf-8")), Inputs.load(artifacts)
    return Scorer(
        inputs=inputs,
        predictions=predicted or torch_predictions(_scoring(artifacts, config, inputs, facts)),
        facts=facts["run"],
        rows_at_once=config.trainer.evaluation_batch_size,
        key=tuple(ServedColumn(name=name, kind=kind) for name, kind in facts.get("key", {}).items()),
    )


def torch_predictions(scoring: Scoring) -> Predictions:
    def predicted(matrices: Mapping[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            return scoring(**{name: torch.from_numpy(matrix) for name, matrix in matrices.items()}).numpy()

    return predicted


def save_scoring(scoring: Scoring, facts: Mapping[str, Any], artifacts: Path, key: Sequence[ServedColumn] = ()) -> None:
    """Write the weights as plain arrays (no pickle), and the facts with the settings of the losses."""
    np.savez(artifacts / WEIGHTS, **{name: value.numpy() for name, value in scoring.model.state_dict().items()})
    losses = scoring.losses
    factors = None if losses.pos_weight is None else losses.pos_weight.tolist()
    content = {"run": dict(facts), "losses": {"pos_weight": factors, "given": losses.given}}
    if key:
        content["key"] = {column.name: column.kind for column in key}
    (artifacts / FACTS).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _scoring(artifacts: Path, config: DictConfig, inputs: Inputs, facts: Mapping[str, Any]) -> Scoring:
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn and discarded
        model = build_model(config, inputs.schema)
    model = kept_model(model, len(inputs.schema.tasks), config.trainer.get("checkpoint", "run"))
    with np.load(artifacts / WEIGHTS, allow_pickle=False) as weights:
        model.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})
    factors = facts["losses"]["pos_weight"]
    losses = TaskLosses(
        pos_weight=None if factors is None else torch.tensor(factors), given=tuple(facts["losses"]["given"])
    )
    return Scoring(model, losses, inputs.schema.tasks)
