"""Every model with hard concrete gates can close them within its profile's budget, by a learning rate of their own.

A gate starts at log alpha 0 and is closed from -2.4 downwards. At MSSM's learning rate of 1e-4 for all parameters, Adam
needs some 24,000 steps for that; `optimizer.gate` with 0.03 a hundred, in which the penalty alone moves gates.
The profile's budget is 145,480 steps: 20 epochs of 1,862,193 rows (MSSM, 3.1.1) in batches of 256.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from mtlbench.balancing.constant import Equal
from mtlbench.balancing.shared import SharedGradients
from mtlbench.cli.compose import compose
from mtlbench.experiment.objects import build_model, build_run_optimizers, build_settings
from mtlbench.nn.hard_concrete import HardConcrete
from mtlbench.schema import Batch
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.step import Step, penalties_of
from synthetic import plain_schema, random_batch

CONF = Path(__file__).parents[2] / "conf" / "model"
SCHEMA = plain_schema()
STEPS = 110
OWN_RATE = "optimizer.gate={_target_:torch.optim.Adam,_partial_:true,lr:0.03}"
SMALL = ["profile=mssm", "profile.embedding_width=3", "profile.bottom_layers=[5]", "profile.tower_layers=[4]"]


def inherits(name: str, ancestor: str) -> bool:
    content = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    above = [parent for parent in content.get("defaults", []) if isinstance(parent, str) and parent != "_self_"]
    return name == ancestor or any(inherits(parent, ancestor) for parent in above)


MODELS = sorted(path.stem for path in CONF.glob("[!_]*.yaml") if inherits(path.stem, "mssm"))


def planted(rows: int, seed: int) -> Batch:
    """Labels follow one field each: sub-networks that read others serve nobody."""
    batch = random_batch(SCHEMA, rows, seed)
    return replace(batch, labels=(batch.ids[:, : len(SCHEMA.tasks)] % 2).float())


def closed_share(name: str, *overrides: str) -> float:
    """Share of gates that are shut after training."""
    config = compose([f"model={name}", *SMALL, *overrides])
    torch.manual_seed(0)
    model = build_model(config, SCHEMA)
    move = Step(
        model=model,
        compiled=model,
        optimizers=build_run_optimizers(config, model),
        objective=Objective(losses=TaskLosses(pos_weight=None, given=()), balance=Equal(tasks=SCHEMA.tasks)),
        shared=SharedGradients(tasks=2, tables=[], dense=[]),
        penalties=penalties_of(model),
        settings=build_settings(config),
    )
    for step in range(STEPS):
        move(planted(32, step), compare=False)
    gates = [block for block in model.eval().modules() if isinstance(block, HardConcrete)]
    return torch.cat([(gate() == 0).flatten() for gate in gates]).float().mean().item()


def test_all_models_with_hard_concrete_gates_are_found() -> None:
    assert MODELS == ["mssm", "mssm_a", "mssm_b", "mssm_basic", "snr_aver", "snr_trans"]


@pytest.mark.parametrize("name", MODELS)
def test_gates_close_at_a_learning_rate_of_their_own(name: str) -> None:
    assert closed_share(name, OWN_RATE) > 0.5


def test_at_the_learning_rate_of_all_parameters_no_gate_has_closed_by_then() -> None:
    assert closed_share("mssm") == 0
