"""A run's identity: what changes it, and what must not."""

import warnings
from pathlib import Path

import pytest
from omegaconf import DictConfig

from mtlbench.cli.compose import compose
from mtlbench.experiment.build import build, call_checked, check_node
from mtlbench.experiment.data import SimulatedDataWarning, resolve_data, simulated
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.identity import run_identities, run_identity
from mtlbench.ingest.protocol import RawError
from mtlbench.train.settings import Settings

BASE = ["model=mmoe", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=600"]


def identity(*overrides: str, folder: Path = Path("nowhere")) -> str:
    config = compose([*BASE, *overrides])
    return run_identity(config, resolve_data(config.dataset, folder))


def data(*overrides: str, folder: Path = Path("nowhere")) -> str:
    return resolve_data(compose([*BASE, *overrides]).dataset, folder).fingerprint


@pytest.mark.parametrize(
    "same",
    [
        "run.folder=elsewhere", "run.data=elsewhere", "run.device=cpu", "run.threads=1", "run.fresh=true",
        "run.shard_tables=true",
        "tracker=none", "run.tracker.uri=http://host:1", "profile.bottom_layers=[7]", "model.experts=4",
    ],
)  # fmt: skip
def test_where_and_how_a_run_is_executed_does_not_count(same: str):
    assert identity(same) == identity()


OTHER = [
    "seed=1", "model.experts=5", "profile.embedding_width=5", "trainer.epochs=3", "optimizer=lazy_adam",
    "optimizer.lr=0.1", "virtual_gradient=add_cos", "model=omoe", "dataset.split_seed=1", "dataset.simulator.seed=1",
    "dataset.simulator.rows=900", "dataset.min_count=2", "dataset.task_group=education", "trainer.precision=bf16",
    "optimizer.gate_lr=0.1", "optimizer.freeze=[gate]", "optimizer.weight_decay.gate=0.1", "optimizer=adamw",
    "optimizer=momentum", "optimizer.deferred_rows=null", "optimizer.table_precision=bf16", "scheduler=cosine",
    "scheduler=linear", "loss.regression=absolute",
]  # fmt: skip


def test_everything_that_can_move_a_number_counts_and_no_two_runs_share_a_folder():
    assert len({identity(), *(identity(other) for other in OTHER)}) == len(OTHER) + 1


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ([], "06bc835bceb3b4af"),
        (["optimizer=lazy_adam"], "2510206d0aaaedbb"),
        (["optimizer=sgd"], "1e778b92101c1621"),
        (["optimizer=adam_sgd_gates", "optimizer.lr=0.1"], "dd6d10e62548c4c1"),
    ],
)
def test_runs_of_version_0_3_0_are_known_by_the_same_name(words: list[str], known: str):
    assert identity(*words) == known


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.epochs=3"],
        ["trainer.epochs=${seed}"],
        ["dataset.simulator.seed=${seed}"],
        ["dataset.split_seed=${seed}", "trainer.epochs=${dataset.split_seed}"],
        ["dataset.metrics={top:{n:${seed}}}"],
    ],
)
def test_identities_of_several_seeds_are_those_of_each_seed_alone(words: list[str]):
    configs = [compose([*BASE, *words, f"seed={seed}"]) for seed in (5, 7)]
    data = [resolve_data(config.dataset, Path("nowhere")) for config in configs]
    found = run_identities(configs[0], data, [5, 7])
    assert [each.own for each in found] == [identity(*words, "seed=5"), identity(*words, "seed=7")]


def test_the_seed_of_a_run_is_not_part_of_its_data():
    assert data("seed=1") == data("seed=2") == data("model=dnn", "trainer.epochs=3")
    assert data("dataset.split_seed=1") != data()


def test_metrics_that_are_asked_for_are_part_of_a_run_and_not_of_its_data():
    asked = "dataset.metrics={top:{weights:{income:1},lists:sampled}}"
    assert data(asked) == data()
    assert identity(asked) != identity()


def test_a_run_that_is_watched_is_another_for_what_its_journal_holds():
    assert identity("trainer.diagnostics=true") != identity("trainer.diagnostics=false") == identity()
    config = compose(BASE)
    del config.trainer.diagnostics  # as in the folders of older runs
    assert run_identity(config, resolve_data(config.dataset, Path("nowhere"))) == identity()


def test_later_keys_of_the_trainer_count_only_where_they_are_set() -> None:
    """Runs of 0.3.0 stay finished."""
    config = compose(BASE)
    for key in ("diagnostics", "steps", "evaluate_every", "shuffle_buffer", "shuffle_block"):
        delattr(config.trainer, key)
    assert run_identity(config, resolve_data(config.dataset, Path("nowhere"))) == identity()
    set_one_by_one = [
        "trainer.steps=9",
        "trainer.evaluate_every=9",
        "trainer.shuffle_buffer=9",
        "trainer.shuffle_block=9",
    ]
    assert len({identity(), *map(identity, set_one_by_one)}) == 5


def raw_folder(tmp_path: Path, seed: int = 0) -> Path:
    config = compose([*BASE, f"dataset.simulator.seed={seed}"])
    return simulated(resolve_data(config.dataset, tmp_path / f"work{seed}"))


def named(folder: Path, *more: str) -> DictConfig:
    return compose(["dataset=census", f"dataset.raw={folder}", *more]).dataset


def test_real_files_are_known_by_their_content_not_their_place(tmp_path: Path):
    first, second, other = raw_folder(tmp_path, 0), tmp_path / "moved", raw_folder(tmp_path, 1)
    here = resolve_data(named(first), tmp_path).fingerprint
    first.rename(second)
    assert resolve_data(named(second), tmp_path).fingerprint == here
    assert resolve_data(named(other), tmp_path).fingerprint != here
    assert resolve_data(named(second, "dataset.simulator.rows=999"), tmp_path).fingerprint == here


def test_a_folder_of_simulated_files_is_simulated_wherever_it_stands(tmp_path: Path):
    folder = raw_folder(tmp_path)
    assert resolve_data(named(folder), tmp_path).origin == "simulated"
    (folder / "simulated.json").unlink()
    assert resolve_data(named(folder), tmp_path).origin == "real"


def test_auto_takes_real_files_where_they_are_and_otherwise_warns(tmp_path: Path):
    auto = compose(["dataset=census"]).dataset
    with pytest.warns(SimulatedDataWarning, match="SIMULATED DATA: no raw files of 'census'"):
        assert resolve_data(auto, tmp_path).origin == "simulated"
    folder = raw_folder(tmp_path)
    (folder / "simulated.json").unlink()
    (tmp_path / "raw").mkdir()
    folder.rename(tmp_path / "raw" / "census")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_data(auto, tmp_path).origin == "real"


def test_some_files_are_not_no_files(tmp_path: Path):
    (tmp_path / "raw" / "census").mkdir(parents=True)
    (tmp_path / "raw" / "census" / "census-income.data.gz").write_bytes(b"x")
    with pytest.raises(RawError, match=r"missing or empty in .*raw/census: census-income\.test"):
        resolve_data(compose(["dataset=census"]).dataset, tmp_path)


@pytest.mark.parametrize("source", ["auto", "real"])
def test_a_named_folder_without_the_files_is_an_error_under_auto_too(tmp_path: Path, source: str):
    with pytest.raises(RawError, match=r"missing or empty in .*: census-income\.data"):
        resolve_data(named(tmp_path, f"dataset.source={source}"), tmp_path)


def test_a_named_folder_and_simulated_contradict_each_other(tmp_path: Path):
    with pytest.raises(ConfigError, match="contradict each other"):
        resolve_data(named(tmp_path, "dataset.source=simulated"), tmp_path)


def test_an_interrupted_simulation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    located = resolve_data(compose(BASE).dataset, tmp_path)

    def torn(self: object, folder: str, rows: int, seed: int, relatedness: float, structure: bool) -> None:
        (Path(folder) / "census-income.data").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(type(located.reader), "simulate", torn)
    with pytest.raises(KeyboardInterrupt):
        simulated(located)
    assert not list(located.raw.parent.iterdir())


def test_values_are_checked_against_signatures_without_building_anything():
    model = compose(["model=mmoe"]).model
    check_node(model, "model", given={"schema"})
    model.experts = "many"
    with pytest.raises(ConfigError, match=r"model\.experts: 'many' is not of type int"):
        check_node(model, "model", given={"schema"})
    model.experts, model.expert_layers = 3, [8, "x"]
    with pytest.raises(ConfigError, match=r"model\.expert_layers: \[8, 'x'\] is not of type"):
        build(model, "model")


def test_a_settings_value_of_the_wrong_type_or_name_is_refused():
    values = dict(compose([]).trainer)
    assert call_checked(Settings, values, "trainer").batch_size == values["batch_size"]
    with pytest.raises(ConfigError, match=r"trainer\.epoch: Settings has no such argument; did you mean 'epochs'\?"):
        call_checked(Settings, {**values, "epoch": 1}, "trainer")
    with pytest.raises(ConfigError, match="trainer: Settings needs select"):
        call_checked(Settings, {key: value for key, value in values.items() if key != "select"}, "trainer")
    with pytest.raises(ConfigError, match=r"trainer\.clip: True is not of type float \| None"):
        call_checked(Settings, {**values, "clip": True}, "trainer")
