"""The Python interface, as a notebook uses it."""

import doctest
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from pyarrow import parquet

import mtlbench
from mtlbench.cli import main
from mtlbench.cli.search_path import conf_folder

TINY = ["dataset=census", "dataset.source=simulated", "dataset.simulator.rows=900", "trainer.epochs=2", "tracker=none"]

STUDY = """title: Does sharing pay?
seeds: 2
datasets: {Census: [dataset=census]}
rows: [{label: single, overrides: [model=dnn]}, {label: shared, overrides: [model=shared_bottom]}]
columns: [{metric: auc, tasks: [income]}]
"""


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", "")
        warnings.simplefilter("ignore", UserWarning)
        yield folder


@pytest.fixture(scope="module")
def run(place: Path) -> mtlbench.Run:
    return mtlbench.train("model=dnn", *TINY, seed=3)


def test_importing_takes_no_time_and_nothing_heavy():
    code = (
        "import time; began = time.process_time(); import mtlbench; spent = time.process_time() - began\n"
        "import sys; heavy = {'torch', 'pandas', 'numpy', 'hydra', 'mlflow', 'click'} & set(sys.modules)\n"
        "assert not heavy, heavy; assert spent < 0.1, spent\n"
        "assert {'train', 'runs', 'load', 'reproduce'} <= set(dir(mtlbench))\n"
        "mtlbench.load; heavy = {'torch', 'pandas', 'hydra', 'mlflow'} & set(sys.modules); assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="module 'mtlbench' has no attribute 'trian'"):
        mtlbench.trian  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_a_run_says_what_it_measured(run: mtlbench.Run):
    assert set(run.metrics) >= {"income/auc", "never_married/logloss"}
    assert run.metrics == run.result.test.values
    assert run.configuration["seed"] == 3
    assert run.configuration["trainer"]["epochs"] == 2
    assert run.curves.index.name == "step"
    assert run.curves["valid/income/auc"].count() == 2
    assert not run.model.training
    assert (
        sum(p.numel() for p in run.model.parameters()) == run.result.parameters.dense + run.result.parameters.embedding
    )
    assert mtlbench.train("model=dnn", *TINY, seed=3) == run
    assert mtlbench.load(run.identity[:6]) == run == mtlbench.load(run.folder)


def test_it_predicts_what_its_export_predicts(run: mtlbench.Run):
    assert main(["export", run.identity, "--no-onnx", "--to", "exported"]) == 0
    rows = parquet.read_table("exported/example.parquet").to_pandas()
    rows.index = range(100, 100 + len(rows))
    answer = run.predict(rows)
    assert list(answer.columns) == ["p_income", "p_never_married"]
    pd.testing.assert_frame_equal(answer, rows[["p_income", "p_never_married"]], atol=1e-6, check_dtype=False)
    with pytest.raises(ValueError, match="column 'age' occurs 0 times"):
        run.predict(rows.drop(columns="age"))


def test_runs_are_rows(run: mtlbench.Run):
    other = mtlbench.train("model=dnn", *TINY, "optimizer.lr=0.01", seed=3)
    frame = mtlbench.runs(sort="income/auc")
    assert set(frame.index) == {run.identity, other.identity}
    assert frame["income/auc"].is_monotonic_decreasing
    assert frame.loc[run.identity, "income/auc"] == run.metrics["income/auc"]
    assert set(frame["optimizer.lr"]) == {"0.001", "0.01"}
    assert "trainer.epochs" not in frame.columns, "the same for both"
    assert list(mtlbench.runs("optimizer.lr=1e-2").index) == [other.identity]
    assert mtlbench.runs(folder="nowhere").empty
    with pytest.raises(ValueError, match=r"no run has a key 'optimizer.lrr'; did you mean optimizer.lr\?"):
        mtlbench.runs("optimizer.lrr=1")


@pytest.mark.parametrize(
    ("words", "keys", "problem"),
    [
        (["modle=mmoe"], {}, "no such group or key: 'modle'. Did you mean 'model'?"),
        (["model=memo"], {}, "model=memo: no such model; did you mean mmoe?"),
        ([], {"sed": 1}, "no such group or key: 'sed'. Did you mean 'seed'?"),
        (["seed=0,1"], {}, "'seed=0,1' has several values."),
        ([3], {}, "3: overrides must be text, as in 'model=mmoe'"),
        (["model._target_=os.system"], {}, "add run.allow=[os]"),
    ],
)
def test_errors_are_those_of_the_command_line(
    words: list[str], keys: dict[str, int], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MTLBENCH_ALLOW", raising=False)
    with pytest.raises(ValueError, match=r".") as caught:
        mtlbench.train(*words, *TINY, **keys)
    assert problem in str(caught.value)


def test_nothing_is_left_behind(run: mtlbench.Run):
    Path("mine").mkdir()
    before = {name: os.environ.get(name) for name in ("MTLBENCH_ALLOW", "MTLBENCH_CONF")}
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        mtlbench.train("model=dnn", *TINY, seed=3, allow=["mypackage"], config_dir="mine")
        assert compose("train").seed == 0, "the notebook's own Hydra is still there"
    assert not GlobalHydra.instance().is_initialized()
    assert {name: os.environ.get(name) for name in before} == before
    from mtlbench.train.loop import fit

    assert mtlbench.train.loop.fit is fit  # pyright: ignore[reportFunctionMemberAccess]  # still a package


def test_interrupted_and_called_again_it_goes_on(monkeypatch: pytest.MonkeyPatch):
    words = ["model=dnn", *TINY[:3], "trainer.epochs=4", "tracker=none"]
    from mtlbench.tracking.journal import Journal

    append = Journal.append

    def pressed(self: Journal, **keys: object) -> None:
        append(self, **keys)  # pyright: ignore[reportArgumentType]
        if keys["epoch"] == 2:
            os.kill(os.getpid(), 2)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", pressed)
        with pytest.raises(KeyboardInterrupt):
            mtlbench.train(*words)
    (state,) = set(mtlbench.runs("trainer.epochs=4")["state"])
    assert state == "interrupted"
    assert mtlbench.train(*words).curves["valid/income/auc"].count() == 4


def test_a_study_is_a_frame(place: Path):
    (place / "sharing.yaml").write_text(STUDY)
    table = mtlbench.reproduce("sharing.yaml", *TINY[1:], seeds=1)
    assert list(table.frame["row"]) == ["single", "shared"]
    assert table.frame["mean"].between(0, 1).all()
    assert "Does sharing pay?" in str(table)
    with pytest.raises(ValueError, match="no table or figure 'sharin'"):
        mtlbench.reproduce("sharin")


def test_the_examples_of_the_documentation():
    import mtlbench.api

    done = doctest.testmod(mtlbench.api)
    assert (done.failed, done.attempted >= 5) == (0, True)
