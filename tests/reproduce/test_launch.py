"""Runs spread over processes and jobs: nothing is prepared twice, and no failure or foreign lock stops the others."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from mtlbench.cli.compose import compose
from mtlbench.cli.launcher import launcher_of
from mtlbench.experiment.data import resolve_data
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.identity import run_identity
from mtlbench.reproduce import execute as execution
from mtlbench.reproduce.execute import execute
from mtlbench.reproduce.launch import Ended, train_one
from mtlbench.reproduce.launcher import Launcher
from mtlbench.reproduce.plan import PlannedRun


def fake(identity: str, store: str = "good") -> Any:
    data = SimpleNamespace(store=Path(store), config=SimpleNamespace(name=store), origin="real")
    config = OmegaConf.create({"run": {"fresh": False}})
    return SimpleNamespace(identity=identity, title=identity, data=data, finished=False, config=config)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is attempted, in order; run `b` is taken by another process twice, run `c` fails."""
    made: list[str] = []

    def ended(run: PlannedRun) -> Ended:
        made.append(run.identity)
        busy = run.identity == "b" and made.count("b") < 3
        return Ended(identity=run.identity, problem="a reason" if busy or run.identity == "c" else None, busy=busy)

    def launched(runs: Sequence[PlannedRun], launcher: Launcher) -> Iterator[Ended]:
        return map(ended, runs)

    monkeypatch.setattr(execution, "launch", launched)
    monkeypatch.setattr(execution, "train_one", ended)
    monkeypatch.setattr(execution, "PAUSE", 0.0)
    return made


def prepare_with(monkeypatch: pytest.MonkeyPatch, work: Callable[[Any], None]) -> None:
    monkeypatch.setattr(execution, "open_or_prepare", work)


def test_a_run_that_another_process_is_at_is_looked_at_again_at_the_end(
    attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_with(monkeypatch, lambda data: None)
    assert execute([fake("a"), fake("b"), fake("c"), fake("d")], Launcher()) == {"c": "a reason"}
    assert attempts == ["a", "b", "c", "d", "b", "b"]


def test_data_are_prepared_once_before_any_run_and_what_cannot_be_fails_its_runs_alone(
    attempts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared: list[str] = []

    def prepare(data: Any) -> None:
        assert not attempts
        prepared.append(data.config.name)
        if data.config.name == "damaged":
            raise ValueError("line 7")

    prepare_with(monkeypatch, prepare)
    failures = execute([fake("a"), fake("e", "damaged"), fake("f", "damaged"), fake("d")], Launcher())
    assert prepared == ["good", "damaged"]
    assert attempts == ["a", "d"]
    assert failures == dict.fromkeys("ef", "damaged cannot be prepared: ValueError: line 7")
    assert "preparing good (real)" in capsys.readouterr().err


def small_run(folder: Path, seed: int) -> PlannedRun:
    places = [f"run.data={folder / 'data'}", f"run.folder={folder / 'runs'}", "run.threads=1", "tracker=none"]
    small = ["dataset.simulator.rows=3000", "trainer.epochs=1", "profile.bottom_layers=[8]", f"seed={seed}"]
    config = compose(["model=dnn", "dataset=census", "dataset.source=simulated", *small, *places])
    data = resolve_data(config.dataset, Path(config.run.data))
    identity = run_identity(config, data)
    return PlannedRun(
        row="DNN",
        dataset="Census",
        seed=seed,
        config=config,
        data=data,
        identity=identity,
        folder=Path(config.run.folder) / identity,
        rows=None,
    )


def test_a_lock_that_another_holds_is_no_failure(tmp_path: Path) -> None:
    run = small_run(tmp_path, 0)
    run.folder.parent.mkdir()
    with FileLock(run.folder.with_name(run.identity + ".lock")):
        ended = train_one(run)
    assert ended.busy
    assert ended.problem == f"another process is training run {run.identity} in {run.folder}"


@pytest.mark.long
@pytest.mark.parametrize("kind", ["joblib", "submitit_local"])
def test_runs_are_spread_for_real(tmp_path: Path, kind: str) -> None:
    if importlib.util.find_spec("joblib" if kind == "joblib" else "submitit") is None:
        pytest.skip(f"{kind} is not installed")
    words = [f"hydra/launcher={kind}", *["hydra.launcher.n_jobs=2"] * (kind == "joblib")]
    launcher = launcher_of(words, [f"run.folder={tmp_path / 'runs'}"])
    runs = [small_run(tmp_path, seed) for seed in range(3)]
    OmegaConf.update(runs[1].config, "model.experts", 3, force_add=True)  # no argument of this model
    failures = execute(runs, launcher)
    assert list(failures) == [runs[1].identity]
    assert "experts" in failures[runs[1].identity]
    assert [run.finished for run in runs] == [True, False, True]


def test_launchers_are_named_as_hydra_names_them() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert launcher_of([], []) == Launcher()
    assert launcher_of([], [], processes=2) == Launcher(kind="joblib", options={"n_jobs": 2})
    words = ["hydra.launcher=submitit", "hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=90"]
    slurm = launcher_of(words, ["run.folder=/somewhere"])
    assert slurm.kind == "submitit_slurm"
    found = {name: slurm.options[name] for name in ("slurm_partition", "timeout_min", "folder")}
    assert found == {"slurm_partition": "gpu", "timeout_min": 90, "folder": "/somewhere/.submitit/%j"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra/launcher=ray"], "no such launcher; allowed: basic, joblib, submitit_local, submitit_slurm"),
        (["hydra/launcher=joblib", "hydra.launcher.backend=threading"], "only hydra.launcher.n_jobs is used"),
        (["hydra.launcher.partition=gpu"], "Could not override 'hydra.launcher.partition'"),
    ],
)
def test_a_launcher_that_is_none_is_refused(words: list[str], message: str) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    with pytest.raises(ConfigError, match=message):
        launcher_of(words, [])
