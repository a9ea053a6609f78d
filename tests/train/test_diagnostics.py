"""What a model shows of itself, in the journal: its own numbers, by name and index, the mean over rows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from mtlbench.balancing.constant import Equal
from mtlbench.cli.compose import compose
from mtlbench.data.loader import Rows
from mtlbench.schema import Batch, Schema
from mtlbench.tracking.journal import Journal
from mtlbench.train.diagnostics import NoDiagnosticsWarning, has_diagnostics, journal_diagnostics
from mtlbench.train.loop import fit
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.progress import RunContext
from mtlbench.train.settings import Settings
from synthetic import plain_schema, random_batch

SCHEMA = plain_schema()
SETTINGS = Settings(
    epochs=2,
    batch_size=16,
    evaluation_batch_size=13,
    patience=None,
    select="auc",
    precision="fp32",
    compile=False,
    clip=None,
    log_steps=100,
    checkpoint_minutes=60,
    diagnostics=True,
)
CPU = torch.device("cpu")


class Showing(nn.Module):
    """Shows a number, a matrix, gates by row, and what is too much, or none."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.embedding = nn.Embedding(schema.embedding_rows, 3)
        self.tower = nn.Linear(3, len(schema.tasks))

    def forward(self, batch: Batch) -> Tensor:
        return self.tower(self.embedding(batch.ids).mean(dim=1))

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        assert not self.training
        assert batch.labels is not None, "coefficients of labels need them"
        gate_TB3 = torch.softmax(self.embedding(batch.ids[:, :2]).transpose(0, 1), dim=-1)
        return {
            "share": self.tower.bias.abs().sum(),
            "positives": batch.labels.sum(dim=0),
            "weight/tower": self.tower.weight,
            "gate": gate_TB3,
            "closed": torch.tensor([True, False]),
            "square": torch.ones(13, 13),  # as many rows as there are in a batch, but not one for each
            "large": torch.zeros(65),
            "none": torch.tensor([1.0, torch.nan]),
        }


def rows(count: int, seed: int) -> Rows:
    batch = random_batch(SCHEMA, count, seed)
    assert batch.labels is not None
    columns = {"ids": batch.ids, "labels": batch.labels.to(torch.int8)}
    return Rows(schema=SCHEMA, columns=columns, tables={}, pointers={})


TRAIN, VALID = rows(101, 1), rows(67, 2)


def trained(folder: Path, model: nn.Module, settings: Settings = SETTINGS) -> list[dict[str, Any]]:
    """Lines of the journal that hold an epoch's validation metrics."""
    folder.mkdir(exist_ok=True)
    place = RunContext(identity="toy", folder=folder, journal=Journal(folder), device=CPU, seed=5)
    objective = Objective(losses=TaskLosses(pos_weight=None, given=()), balance=Equal(tasks=SCHEMA.tasks))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    fit(model, [optimizer], objective, (TRAIN, VALID), SCHEMA.tasks, settings, place)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "valid/task0/auc" in line["values"]]


def shown(line: dict[str, Any], what: str = "values") -> dict[str, Any]:
    return {name: value for name, value in line[what].items() if name.startswith("diagnostics/")}


def test_the_journal_holds_what_the_model_shows_of_the_first_validation_batch(tmp_path: Path):
    torch.manual_seed(7)
    model = Showing(SCHEMA)
    lines = trained(tmp_path, model)
    assert len(lines) == 2
    found = model.eval().diagnostics(VALID.gather(torch.arange(13)))
    expected = {"diagnostics/share": found["share"].item()}
    expected |= {f"diagnostics/positives/{t}": found["positives"][t].item() for t in range(2)}
    expected |= {
        f"diagnostics/weight/tower/{t}/{i}": found["weight/tower"][t, i].item() for t in (0, 1) for i in range(3)
    }
    expected |= {
        f"diagnostics/gate/{t}/{e}": sum(found["gate"][t, b, e].item() for b in range(13)) / 13
        for t in (0, 1)
        for e in range(3)
    }
    expected |= {"diagnostics/closed/0": 1.0, "diagnostics/closed/1": 0.0, "diagnostics/none/0": 1.0}
    assert shown(lines[-1]) == pytest.approx(expected)
    assert shown(lines[0])["diagnostics/share"] != shown(lines[1])["diagnostics/share"]
    assert shown(lines[-1], "undefined") == {
        "diagnostics/large": "65 numbers, of shape [65]; at most 64",
        "diagnostics/square": "169 numbers, of shape [13, 13]; at most 64",
        "diagnostics/none/1": "it is nan",
    }


def test_watching_changes_nothing_else(tmp_path: Path):
    torch.manual_seed(7)
    watched = trained(tmp_path / "watched", Showing(SCHEMA))
    torch.manual_seed(7)
    silent = trained(tmp_path / "silent", Showing(SCHEMA), replace(SETTINGS, diagnostics=False))
    for a, b in zip(watched, silent, strict=True):
        assert not shown(b)
        assert not shown(b, "undefined")
        different = {name for name in a["values"] if a["values"][name] != b["values"].get(name)}
        assert different == {*shown(a), "train/rows_per_second"}


def test_diagnostics_of_a_model_that_has_none_are_a_warning():
    class Mute(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(3, 3)

    class Copies(nn.Module):
        def __init__(self, copies: list[nn.Module]) -> None:
            super().__init__()
            self.copies = nn.ModuleList(copies)

        diagnostics = Showing.diagnostics

    for model in (Mute(), Copies([Mute(), Mute()])):
        with pytest.warns(NoDiagnosticsWarning, match="has no effect: Mute has no diagnostics"):
            assert not has_diagnostics(model)
    assert has_diagnostics(Showing(SCHEMA))


@pytest.mark.parametrize("name", ["mmoe", "ple", "mtphn", "dephn"])
def test_gates_of_models_are_followed_by_task_and_expert(name: str):
    torch.manual_seed(0)
    small = ("profile.embedding_width=4", "profile.expert_layers=[8]", "profile.tower_layers=[5]")
    config = compose([f"model={name}", "virtual_gradient=none", *small])
    model: nn.Module = instantiate(config.model)(schema=SCHEMA).eval()
    found = journal_diagnostics(model, VALID, SETTINGS, CPU).values
    whole = model.diagnostics(VALID.gather(torch.arange(13)))  # pyright: ignore[reportCallIssue]
    gate = next(key for key in whole if key.startswith("gate"))
    mean = whole[gate].mean(dim=1).flatten()
    values = [value for key, value in found.items() if key.startswith(f"diagnostics/{gate}/")]
    assert values == pytest.approx(mean.tolist(), abs=1e-6)
