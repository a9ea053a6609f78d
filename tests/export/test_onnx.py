"""Every model as an ONNX graph: the same numbers for any number of rows, in evaluation mode."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from mtlbench.experiment.errors import ConfigError
from mtlbench.export.onnx_graph import OPSET, onnx_predictions, write_onnx
from mtlbench.export.scorer import Scoring, torch_predictions
from mtlbench.schema import Batch, Schema
from mtlbench.train.objective import TaskLosses
from synthetic import plain_schema, random_batch, rich_schema

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "model").glob("[!_]*.yaml"))
QUICK = ("mmoe", "din")
"""Gates, and attention over histories; all others are long tests."""
SMALL = ["embedding_width=4", "deep_layers=[13,7]", "bottom_layers=[13,7]", "expert_layers=[13,7]", "tower_layers=[5]"]
HEADS = {"mpa_combined": ["model.interaction_heads=7"], "mpa_interact": ["model.interaction_heads=7"]}


def matrices(batch: Batch) -> dict[str, np.ndarray]:
    assert batch.weights is not None
    return {"ids": batch.ids.numpy(), "numbers": batch.numbers.numpy(), "weights": batch.weights.numpy()}


def scoring_of(name: str, schema: Schema) -> Scoring:
    with initialize_config_dir(str(CONF), version_base=None):
        small = [f"profile.{size}" for size in SMALL]
        config = compose("train", overrides=[f"model={name}", *small, *HEADS.get(name, [])])
    torch.manual_seed(1)
    model = instantiate(config.model)(schema=schema)
    for parameter in model.parameters():  # zeros and ones of the beginning would hide what they multiply
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Scoring(model, TaskLosses(pos_weight=torch.tensor([2.0, 5.0]), given=(None, None)), schema.tasks)


def given_schema() -> Schema:
    values = rich_schema().as_dict()
    values["tasks"][1]["given"] = values["tasks"][0]["name"]
    return Schema.from_dict(values)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in NAMES]
)
def test_the_graph_computes_what_the_model_does(name: str, tmp_path: Path):
    schema = given_schema()
    scoring = scoring_of(name, schema)
    write_onnx(scoring, matrices(random_batch(schema, 5)), {"identity": "abc"}, tmp_path / "m.onnx")
    by_torch, by_onnx = torch_predictions(scoring), onnx_predictions(tmp_path / "m.onnx")
    for rows in (1, 5, 97):
        batch = matrices(random_batch(schema, rows, seed=rows))
        own = by_torch(batch)
        assert own.shape == (rows, 2)
        assert np.abs(by_onnx(batch) - own).max() < 1e-5
    assert own.std(axis=0).min() > 1e-4, "equal probabilities would prove nothing"


def test_the_file_says_what_it_is(tmp_path: Path):
    import onnx

    schema = given_schema()
    write_onnx(scoring_of("mmoe", schema), matrices(random_batch(schema, 2)), {"seed": 3}, tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model)
    assert [opset.version for opset in model.opset_import if not opset.domain] == [OPSET]
    assert {entry.key: entry.value for entry in model.metadata_props}["seed"] == "3"
    assert [value.name for value in model.graph.input] == ["ids", "numbers", "weights"]
    assert [value.name for value in model.graph.output] == ["probabilities"]
    rows = {value.type.tensor_type.shape.dim[0].dim_param for value in (*model.graph.input, *model.graph.output)}
    assert len(rows) == 1
    assert rows != {""}


class Fickle(torch.nn.Module):
    """As many steps as a batch's data say: no graph holds that."""

    def forward(self, batch: Batch) -> Tensor:
        steps = int(batch.numbers.abs().sum()) % 3 + 1
        return torch.stack([batch.numbers.sum(dim=1) * n for n in range(1, steps + 1)]).sum(dim=0)[:, None]


def test_a_model_that_no_graph_holds_is_refused_with_the_reason(tmp_path: Path):
    scoring = Scoring(Fickle(), TaskLosses(pos_weight=None, given=(None,)), plain_schema(tasks=1).tasks)
    with pytest.raises(ConfigError, match=r"Fickle cannot be written as an ONNX graph: .*data-dependent.*--no-onnx"):
        write_onnx(scoring, matrices(random_batch(given_schema(), 3)), {}, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_missing_graph_is_said(tmp_path: Path):
    with pytest.raises(ConfigError, match="exported without ONNX"):
        onnx_predictions(tmp_path / "m.onnx")
