"""What was composed before is not composed again, and is what Hydra composes; a changed file is read again."""

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from mtlbench.cli import compose as module
from mtlbench.cli.choices import GROUPS, choices
from mtlbench.cli.compose import compose, compose_by_hydra, compose_cached
from mtlbench.cli.reproduce import read_study
from mtlbench.experiment.errors import ConfigError

CHOSEN = ["profile=mpa", "model=mpa_combined", "dataset=aliccp"]
VALUES = [["trainer.epochs=3", "model.experts=4"], ["optimizer.lr=0.01", "seed=3"], ["seed=1", "seed=2"], []]


def text(config: DictConfig) -> str:
    """Everything that a configuration says, references and the order of keys included."""
    return json.dumps(OmegaConf.to_container(config))


def by_hydra(words: list[str]) -> DictConfig:
    return module._without_hydra(compose_by_hydra(words))[0]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["model=dephn", "dataset=criteo_r"],  # the model chooses of another group
        ["model=dephn", "virtual_gradient=none"],  # and the user is stronger
        ["profile=mpa", "model=mpa_combined"],  # a profile that does so, and belongs to the whole configuration
        ["profile=mssm", "model=snr_aver"],  # stands on a file that stands on two others
        ["tracker=none", "scheduler=cosine", "optimizer=adam_sgd_gates"],
        [*CHOSEN, "trainer.epochs=3", "loss.pos_weight=[1,2]", "pretrained={item:{file:x.parquet}}", "run.tags=[a,b]"],
    ],
)
def test_what_files_of_our_own_make_is_what_hydra_makes_of_them(words: list[str], monkeypatch: pytest.MonkeyPatch):
    hydra, expected = compose_by_hydra(words), by_hydra(words)
    monkeypatch.setattr(module, "compose_by_hydra", None)
    cached, chosen = compose_cached(words)
    assert text(cached) == text(expected)
    assert cached == expected
    assert OmegaConf.is_struct(cached) == OmegaConf.is_struct(expected)
    assert {group: chosen[group] for group in GROUPS} == {group: hydra.hydra.runtime.choices[group] for group in GROUPS}


def test_values_are_set_as_hydra_sets_them_on_files_that_are_read_once(monkeypatch: pytest.MonkeyPatch):
    expected = [text(by_hydra([*CHOSEN, *values])) for values in VALUES]
    files: list[Path] = []
    load = module.load_yaml
    module._composed_groups.cache_clear()
    module._reader.cache_clear()
    monkeypatch.setattr(module, "load_yaml", lambda path: files.append(path) or load(path))
    monkeypatch.setattr(module, "compose_by_hydra", None)
    assert [text(compose_cached([*CHOSEN, *values])[0]) for values in VALUES] == expected
    assert len(files) == len(set(files)) > len(GROUPS)


def test_files_of_others_are_composed_by_hydra_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They may use rules of Hydra's that ours do not use, such as content of another group inside their own."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [mmoe, /loss/default@tower_loss, _self_]\nexperts: 3\n")
    monkeypatch.setenv("MTLBENCH_CONF", str(tmp_path))
    expected = [text(by_hydra(["model=mine", *values])) for values in VALUES]
    composed: list[list[str]] = []
    monkeypatch.setattr(
        module, "compose_by_hydra", lambda words, name: composed.append(words) or compose_by_hydra(words, name)
    )
    assert [text(compose_cached(["model=mine", *values])[0]) for values in VALUES] == expected
    assert compose(["model=mine"]).model.tower_loss.regression == "squared"
    assert composed == [["model=mine"]]


@pytest.mark.long
def test_every_choice_and_every_row_of_every_table_and_figure_is_what_hydra_makes():
    words = [[f"{group}={name}"] for group in GROUPS for name in choices(group)]
    for study in map(read_study, (*choices("table"), *choices("figure"))):
        words += [
            [f"profile={study.profile}", *of_data, *row.overrides]
            for row in study.rows
            for of_data in study.datasets.values()
        ]
    distinct = {tuple(sorted(word for word in each if word.partition("=")[0] in GROUPS)): each for each in words}
    assert len(distinct) > 200
    assert [each for each in distinct.values() if text(compose_cached(each)[0]) != text(by_hydra(each))] == []


def test_what_is_composed_can_be_changed_without_an_effect_on_the_next():
    first = compose(CHOSEN)
    first.trainer.epochs = 77
    second = compose(CHOSEN)
    assert second.trainer.epochs != 77
    second.trainer = first.trainer
    first.trainer.epochs = 78
    assert second.trainer.epochs == 77, "a node of one is copied into another"


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
    monkeypatch.setattr(
        module, "compose_cached", lambda words, name: module._without_hydra(compose_by_hydra(words, name))
    )
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
