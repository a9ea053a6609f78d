"""Profiles: each names all that models share, states what its paper prints, and fits every model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mtlbench.balancing.constant import Fixed
from mtlbench.cli.compose import compose, compose_group
from mtlbench.nn.dice import Dice
from mtlbench.nn.stacked import StackedMLP
from mtlbench.schema import Task
from synthetic import plain_schema, random_batch, rich_schema

CONF = Path(__file__).parents[2] / "conf"
PROFILES = sorted(path.stem for path in (CONF / "profile").glob("[!_]*.yaml"))
PRINTED: dict[str, dict[str, Any]] = {
    "dephn": {},
    "mmoe": {},  # of its synthetic study, from memory
    "mpa": {
        "profile.embedding_width": 32,
        "profile.activation": "dice",
        "profile.experts": 8,
        "profile.expert_layers": [256, 128],
        "profile.tower_layers": [64],
        "balancing.weights": [1, 0.02],
        "trainer.batch_size": 1000,
        "trainer.epochs": 5,
        "trainer.patience": None,
        "optimizer.lr": 0.001,
    },
    "mssm": {
        "profile.bottom_layers": [96, 16],
        "profile.experts": 3,
        "profile.expert_layers": [32],
        "profile.tower_layers": [32, 16],
        "profile.deep_layers": [96, 16, 32, 16],
        "trainer.batch_size": 256,
        "optimizer.lr": 0.0001,
    },
    "dcrnn": {
        "profile.embedding_width": 32,
        "profile.experts": 8,
        "profile.expert_layers": [128, 64],
        "trainer.batch_size": 1024,
        "loss.pos_weight": [24, 4584],
        "trainer.epochs": 3,
        "trainer.patience": None,
        "optimizer.lr": 0.0001,
    },
}
"""What the papers print, transcribed a second time; DCRNN prints its factors as ratios of exposures to positives."""


def keys(node: DictConfig) -> set[str]:
    return {str(key) for key in node}


def test_every_profile_is_found():
    assert set(PROFILES) == {"default", "mechanism", *PRINTED}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_sets_what_the_default_has(profile: str):
    assert keys(compose([f"profile={profile}"]).profile) == keys(compose([]).profile)


@pytest.mark.parametrize("profile", PRINTED)
def test_a_profile_states_what_its_paper_prints(profile: str):
    config = compose([f"profile={profile}"])
    for key, value in PRINTED[profile].items():
        found = OmegaConf.select(config, key)
        assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == value, key


def test_the_command_line_wins():
    config = compose(["profile=mpa", "trainer.batch_size=7", "profile.experts=2", "optimizer=sgd", "balancing=equal"])
    assert (config.trainer.batch_size, config.profile.experts, config.model.experts) == (7, 2, 2)
    assert config.balancing._target_ == "mtlbench.balancing.constant.Equal"
    assert config.optimizer.dense._target_ == "torch.optim.SGD"


def test_the_weights_of_a_profile_reach_the_balancing():
    balance = instantiate(compose(["profile=mpa"]).balancing)(tasks=plain_schema().tasks)
    assert isinstance(balance, Fixed)
    assert balance.weights == (1, 0.02)
    with pytest.raises(ValueError, match="found 2 weights"):
        instantiate(compose(["profile=mpa"]).balancing)(tasks=(Task(name="click", label="click"),))


@pytest.mark.parametrize("profile", PROFILES)
def test_every_model_is_built_with_every_profile(profile: str):
    """Building is what finds a number of heads that does not divide a width, or a level without layers."""
    models = compose_group("model", profile)
    assert len(models) >= 40
    schema = rich_schema()
    first, second = schema.tasks
    schema = replace(schema, tasks=(first, replace(second, given=first.name)))  # there are models that ask for it
    batch = random_batch(schema, 3)
    for name, model in models.items():
        assert instantiate(model)(schema=schema).eval()(batch).isfinite().all(), name


@pytest.mark.parametrize("name", ["dnn", "shared_bottom", "esmm", "omoe", "mmoe", "cgc", "ple", "mpa_coarse"])
def test_the_models_that_mpa_compares_have_dice_behind_every_hidden_layer(name: str):
    first, second = plain_schema().tasks
    schema = plain_schema(tasks=2)
    schema = replace(schema, tasks=(first, replace(second, given=first.name)))
    model = instantiate(compose([f"model={name}", "profile=mpa"]).model)(schema=schema)
    perceptrons = [module for module in model.modules() if isinstance(module, StackedMLP)]
    behind = [activation for perceptron in perceptrons for activation in perceptron.activations]
    assert behind
    assert {type(activation) for activation in behind} == {Dice}
