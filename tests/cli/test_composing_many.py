"""Many configurations at once are those composed one by one, and Hydra composes each choice of groups once."""

import pytest

from mtlbench.cli import compose as module
from mtlbench.cli.compose import compose, composing_many
from mtlbench.experiment.errors import ConfigError

CHOSEN = ["profile=mpa", "model=mpa_combined", "dataset=aliccp"]
VALUES = [["trainer.epochs=3", "model.experts=4"], ["optimizer.lr=0.01", "seed=3"], ["seed=1", "seed=2"]]


def test_values_are_set_as_hydra_sets_them(monkeypatch: pytest.MonkeyPatch):
    expected = [compose([*CHOSEN, *values]) for values in VALUES]
    composed: list[list[str]] = []
    by_hydra = module.compose_by_hydra
    monkeypatch.setattr(module, "compose_by_hydra", lambda words: composed.append(words) or by_hydra(words))
    many = composing_many()
    assert [many([*CHOSEN, *values]) for values in VALUES] == expected
    assert composed == [CHOSEN]


@pytest.mark.parametrize("wrong", ["model.nonsense=3", "model=mmoo", "seed"])
def test_errors_are_those_of_one(wrong: str):
    with pytest.raises(ConfigError) as one:
        compose([wrong])
    with pytest.raises(ConfigError) as many:
        composing_many()([wrong])
    assert str(many.value) == str(one.value)
