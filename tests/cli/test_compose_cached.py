"""What was composed before is not composed again, and is what Hydra composes; a changed file is read again."""

from pathlib import Path

import pytest

from mtlbench.cli import compose as module
from mtlbench.cli.compose import compose, compose_by_hydra, compose_cached
from mtlbench.experiment.errors import ConfigError

CHOSEN = ["profile=mpa", "model=mpa_combined", "dataset=aliccp"]
VALUES = [["trainer.epochs=3", "model.experts=4"], ["optimizer.lr=0.01", "seed=3"], ["seed=1", "seed=2"], []]


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What Hydra composes from here on."""
    words_of_each: list[list[str]] = []

    def by_hydra(words: list[str], name: str = "train"):
        words_of_each.append(words)
        return compose_by_hydra(words, name)

    module._composed_groups.cache_clear()
    monkeypatch.setattr(module, "compose_by_hydra", by_hydra)
    return words_of_each


def test_values_are_set_as_hydra_sets_them(composed: list[list[str]]):
    for values in VALUES:
        cached, whole = compose_cached([*CHOSEN, *values]), compose_by_hydra([*CHOSEN, *values])
        assert cached.hydra.runtime.choices == whole.hydra.runtime.choices
        for config in (cached, whole):
            config._set_flag("struct", False)
            del config["hydra"]  # it lists the overrides, which mtlbench notes itself
        assert cached == whole
    assert composed == [CHOSEN]


def test_what_is_composed_can_be_changed_without_an_effect_on_the_next():
    first = compose(CHOSEN)
    first.trainer.epochs = 77
    assert compose(CHOSEN).trainer.epochs != 77


@pytest.mark.parametrize(
    "wrong",
    [
        "model.nonsense=3",
        "model=mmoo",
        "+model.nonsense=3",
        "modle=mmoe",
        "seed.x=1",
        "table=census_ple",
        "model.x.y=1",
    ],
)
def test_errors_are_those_of_hydra(wrong: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError) as cached:
        compose([wrong])
    monkeypatch.setattr(module, "compose_cached", compose_by_hydra)
    with pytest.raises(ConfigError) as whole:
        compose([wrong])
    assert str(cached.value) == str(whole.value)


def test_a_file_that_has_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTLBENCH_CONF", str(tmp_path))
    (tmp_path / "trainer").mkdir()
    file = tmp_path / "trainer" / "mine.yaml"
    for epochs in (3, 44):
        file.write_text(f"defaults: [default]\nepochs: {epochs}\n")
        assert compose(["trainer=mine"]).trainer.epochs == epochs


def test_a_group_of_the_users_own_is_chosen_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = {
        "trainer/mine.yaml": "defaults: [default, /pace@_global_.pace: slow]\nepochs: ${pace.epochs}\n",
        "pace/slow.yaml": "epochs: 91\n",
        "pace/fast.yaml": "epochs: 2\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("MTLBENCH_CONF", str(tmp_path))
    assert compose(["trainer=mine"]).trainer.epochs == 91
    assert compose(["trainer=mine", "pace=fast"]).trainer.epochs == 2
