"""Metrics of the user's own, from a file outside of mtlbench: measured, selected by, shown everywhere, refused."""

import json
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from mtlbench.cli import main
from mtlbench.experiment.evaluation import restore_scores
from mtlbench.metrics import names
from mtlbench.tracking.journal import Journal
from mtlbench.tracking.parameters import differences

TINY = [
    "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=900", "dataset.one_class=note",
    "trainer.epochs=2", "trainer.batch_size=256", "tracker=none", "profile.expert_layers=[4]",
    "profile.tower_layers=[4]", "profile.embedding_width=2",
]  # fmt: skip
ALLOWED = ["--config-dir", "mine", "run.allow=[owncode]"]

CODE = """
import numpy as np
from mtlbench.metrics.predictions import UndefinedError

def brier(labels, predictions, power=2.0):
    return np.mean(np.abs(predictions - labels) ** power)

def agreement(labels, predictions):
    labels += 1  # its own copy
    return np.float32(np.corrcoef(labels, predictions)[0, 1])

def users(labels, predictions, groups): return len(set(groups))
def not_defined(labels, predictions): raise UndefinedError("no row of this kind")
def raises(labels, predictions): return labels["x"]
def infinite(labels, predictions): return np.inf
def text(labels, predictions): return "high"
def array(labels, predictions): return labels
def backwards(predictions): return 0.0
value = 3

def on_validation_only(labels, predictions):
    if len(labels) == 150 and OF_TEST: raise RuntimeError("a slip")
    return 0.5
"""

BRIER = """
# Brier score: mean squared error of the probabilities
brier:
  function: {_target_: owncode.brier, _partial_: true}
  better: lower
  title: Brier score
  digits: 5
agreement:
  function: {_target_: owncode.agreement, _partial_: true}
  better: higher
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "mine" / "metric").mkdir(parents=True)
    (tmp_path / "mine" / "owncode.py").write_text(CODE)
    (tmp_path / "mine" / "metric" / "brier.yaml").write_text(BRIER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("MTLBENCH_ALLOW", raising=False)
    yield tmp_path
    new_process()


def new_process() -> None:
    """Forget own code and what was declared, as a new process would not know them."""
    sys.modules.pop("owncode", None)
    names._own.clear()
    if (sources := sys.modules.get("mtlbench.experiment.sources")) is not None:
        sources._digest.cache_clear()


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit status and output of a command in a process of its own."""
    new_process()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        code = main(list(words))
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).replace("\n!", "").split())


def own(function: str, more: str = "") -> None:
    entry = f"{{_target_: owncode.{function}, _partial_: true}}"
    Path("mine/metric/it.yaml").write_text(f"it:\n  function: {entry}\n  better: lower\n{more}")


def result(folder: Path) -> dict[str, dict[str, float]]:
    return json.loads((folder / "result.json").read_text())


def test_an_own_metric_is_measured_selected_by_and_shown(capsys: pytest.CaptureFixture[str], data: Path):
    words = ["model=mmoe", *TINY, f"run.data={data}", "metric=brier", "trainer.select={income/brier: -1}"]
    code, text = typed(capsys, "train", "-m", "seed=0,1", *words, *ALLOWED)
    assert code == 0, text
    assert "Brier score" in text.rpartition("test split")[2]  # of the table that closes the sweep
    first, second = sorted(Path("runs").glob("*/"))
    found = result(first)
    assert {f"test/{task}/brier" for task in ("income", "never_married")} <= set(found["metrics"])
    assert "test/income/agreement" in found["metrics"]

    name = "valid/income/brier"
    valid = {line.step: line.values[name] for line in Journal(first).read() if name in line.values}
    assert found["best_step"]["model"] == min(valid, key=lambda step: valid[step])
    assert found["best_valid"]["model"] == -min(valid.values())

    code, text = typed(capsys, "evaluate", first.name, "--predictions", "p.parquet")
    assert code == 2
    assert "add run.allow=[owncode] to the command" in text
    code, text = typed(capsys, "evaluate", first.name, "--predictions", "p.parquet", *ALLOWED)
    assert code == 0, text
    rows = pd.read_parquet("p.parquet")
    by_hand = float(((rows["p_income"] - rows[rows.columns[1]]) ** 2).mean())
    assert found["metrics"]["test/income/brier"] == pytest.approx(by_hand, abs=1e-6)

    new_process()
    restore_scores(first, "cpu")  # built-in metrics are compared without the code, as before an export

    shown = f"{found['metrics']['test/income/brier']:.5f}"
    for command in (["show", first.name], ["diff", first.name, second.name]):  # neither needs the code
        code, text = typed(capsys, *command)
        assert code == 0, text
        assert shown in text
    code, text = typed(capsys, "list", "runs", "--sort", "income/brier")
    best = min((first, second), key=lambda run: result(run)["metrics"]["test/income/brier"])
    assert re.search(r"[0-9a-f]{16}", text)[0] == best.name  # pyright: ignore[reportOptionalSubscript]
    code, text = typed(capsys, "list", "runs", "--sort", "income/agreement")
    best = max((first, second), key=lambda run: result(run)["metrics"]["test/income/agreement"])
    assert re.search(r"[0-9a-f]{16}", text)[0] == best.name  # pyright: ignore[reportOptionalSubscript]


def test_function_and_direction_count_in_the_identity_and_its_title_does_not(
    monkeypatch: pytest.MonkeyPatch, data: Path
):
    from mtlbench.cli.compose import compose
    from mtlbench.experiment.data import resolve_data
    from mtlbench.experiment.identity import run_identity

    monkeypatch.setenv("MTLBENCH_CONF", "mine")

    def identity(text: str | None, *words: str) -> str:
        Path("mine/metric/brier.yaml").write_text(text or "x: 1")
        config = compose([*TINY, *words, *([] if text is None else ["metric=brier"])])
        return run_identity(config, resolve_data(config.dataset, data))

    plain = identity(None)
    assert identity("{}") == plain
    assert identity(BRIER) != plain
    assert identity(BRIER.replace("Brier score", "BS").replace("digits: 5", "digits: 2")) == identity(BRIER)
    assert identity(BRIER.replace("better: lower", "better: higher")) != identity(BRIER)
    assert identity(BRIER.replace("_partial_: true}", "_partial_: true, power: 1.0}", 1)) != identity(BRIER)


@pytest.mark.parametrize(
    ("function", "more", "message"),
    [
        ("raises", "", r"metric\.it: a call with 64 synthetic rows failed: IndexError: .*owncode\.py, line 14"),
        ("infinite", "", r"metric\.it: .* it returned inf; expected a finite number"),
        ("text", "", r"metric\.it: .* it returned str; expected one number"),
        ("array", "", r"metric\.it: .* it returned ndarray of shape \[64\]; expected one number"),
        ("users", "", r"metric\.it: its function takes groups, but the rows of this data set have none"),
        ("brier", "  kind: regression\n", r"metric\.it: kind is regression, but no task is of this kind"),
        ("backwards", "", r"metric\.it\.function.*: expected a metric: a function of labels and predictions"),
        ("value", "", r"metric\.it\.function.*: found a int; expected a metric"),
        ("nothing", "", r"metric\.it\.function.*: module owncode has no 'nothing'"),
        ("brier", "  worse: higher\n", r"metric\.it\.worse: no such key; allowed: function, better, kind, title"),
        ("brier", "  digits: many\n", r"metric\.it\.digits is 'many'"),
        ("brier", "  digits: -1\n", r"metric\.it\.digits is -1; allowed: 0 to 15"),
        ("brier", "auc: {function: {}, better: lower}\n", r"metric\.auc: 'auc' is a built-in metric"),
        ("brier", "auc_on_clicks: {function: {}, better: lower}\n", r"metric\.auc_on_clicks: .* built-in metric"),
        ("brier", "a/b: {function: {}, better: lower}\n", r"metric\.a/b: a name must consist of letters, digits and _"),
        ("brier", "b: {better: lower}\n", r"metric\.b has no function"),
    ],
)
def test_a_slip_is_refused_before_anything_is_trained(
    capsys: pytest.CaptureFixture[str], data: Path, function: str, more: str, message: str
):
    own(function, more)
    code, text = typed(capsys, "train", "model=dnn", *TINY, f"run.data={data}", "metric=it", *ALLOWED)
    assert code == 2, text
    assert re.search(message, text), text
    assert not [*Path("runs").glob("*/")]


def test_selection_by_the_metric_of_another_run_is_refused(capsys: pytest.CaptureFixture[str], data: Path):
    words = ["train", "-m", *TINY, f"run.data={data}", "metric=brier,none", "trainer.select=brier", "model=dnn"]
    code, text = typed(capsys, *words, *ALLOWED, "trainer.epochs=1")
    assert code == 2
    assert "trainer.select: this run has no metric 'brier'" in text
    assert len([*Path("runs").glob("*/result.json")]) == 1


def test_a_metric_that_fails_on_test_rows_loses_no_training(capsys: pytest.CaptureFixture[str], data: Path):
    own("on_validation_only")
    Path("mine/owncode.py").write_text("from pathlib import Path\n" + CODE.replace("OF_TEST", "Path('slip').exists()"))
    Path("slip").touch()
    words = ["train", "model=dnn", *TINY, f"run.data={data}", "metric=it", "trainer.epochs=1"]
    code, text = typed(capsys, *words, *ALLOWED)
    assert code == 0, text
    assert "income/it is undefined: RuntimeError: a slip" in text
    (folder,) = Path("runs").glob("*/")
    assert result(folder)["undefined"]["test/income/it"] == "RuntimeError: a slip"
    Path("slip").unlink()
    code, text = typed(capsys, "evaluate", folder.name, *ALLOWED)
    assert code == 0, text
    assert "it 0.5000" in text


def test_a_metric_may_say_that_rows_do_not_define_it(capsys: pytest.CaptureFixture[str], data: Path):
    own("not_defined")
    words = ["train", "model=dnn", *TINY, f"run.data={data}", "metric=it", "trainer.epochs=1"]
    code, text = typed(capsys, *words, *ALLOWED)
    assert code == 0, text
    (folder,) = Path("runs").glob("*/")
    assert result(folder)["undefined"]["test/income/it"] == "no row of this kind"


STUDY = """
title: Brier scores
seeds: 1
datasets: {Census: [dataset=census, metric=brier]}
rows: [{label: DNN, overrides: [model=dnn]}]
columns: [{metric: brier, tasks: [income]}, {metric: brier, tasks: [income], statistic: best}]
"""


def test_an_own_metric_is_a_column_of_a_study(capsys: pytest.CaptureFixture[str], data: Path):
    Path("mine/brier_study.yaml").write_text(STUDY)
    words = [word for word in TINY if word != "dataset=census"]
    code, text = typed(capsys, "reproduce", "mine/brier_study.yaml", *words, f"run.data={data}", *ALLOWED)
    assert code == 0, text
    (folder,) = Path("runs").glob("*/")
    assert f"{result(folder)['metrics']['test/income/brier']:.5f}" in Path("tables/brier_study.csv").read_text()
    code, text = typed(capsys, "report")
    assert code == 2
    assert "unknown metric brier. If it is one of your own, name the configuration folder" in text
    code, text = typed(capsys, "report", "--config-dir", "mine")
    assert code == 0, text
    code, text = typed(capsys, "reproduce", "mine/brier_study.yaml", *words, f"run.data={data}")
    assert code == 2
    assert "unknown metric 'brier'" in text


def test_runs_of_earlier_versions_do_not_differ_by_a_group_that_they_lack():
    later, earlier = ({"run": {"choices": {"model": "mmoe", **more}}} for more in ({"metric": "none"}, {}))
    other = {"run": {"choices": {"model": "mmoe", "metric": "brier"}}}
    assert differences([later, earlier]) == [{}, {}]
    assert differences([earlier, other]) == [{}, {"metric": "brier"}]
