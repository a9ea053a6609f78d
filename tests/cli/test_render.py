"""Tables of results, as text."""

import shlex
from pathlib import Path

from mtlbench.cli.render import facts_text, metrics_text, ui_command
from mtlbench.result import Metrics
from mtlbench.tracking.folder import Attempt, RunInfo


def test_a_table_shows_what_was_measured_and_what_was_not():
    metrics = {
        "click/rows": 1200, "click/auc": 0.75, "click/gauc": 0.7, "click/groups": 9,
        "buy/rows": 1200, "buy/precision_at_2_of_10_own": 0.25, "buy/auc_on_clicks": 0.5,
        "weighted_uauc": 0.625,
    }  # fmt: skip
    undefined = {"buy/gauc": "all 9 groups hold labels of one class only"}
    text = metrics_text(Metrics(values=metrics, undefined=undefined))
    assert text.splitlines() == [
        "  task      AUC       gAUC  AUC on clicks  P@2 of 10 own   rows",
        "  -------------------------------------------------------------",
        "  click  0.7500     0.7000                                1,200",
        "  buy            undefined         0.5000         0.2500  1,200",
        "  weighted uAUC: 0.6250",
        "  undefined: buy/gauc: all 9 groups hold labels of one class only",
    ]


def test_the_facts_of_a_run():
    facts = RunInfo(
        identity="1f", model="mmoe", dataset="census", seed=0, data="2e", origin="real", commit="0.7.0",
        overrides=("trainer.epochs=3", "run.tags=[a b]"), tags={"stage": "final", "best": "true"},
        notes="received:\x1b[2J gone",
    )  # fmt: skip
    attempt = Attempt(key="3d", began=1795947376898)
    assert facts_text(Path("runs/1f"), facts, attempt, None).splitlines() == [
        "  folder     runs/1f",
        "  tags       stage=final, best",
        r"  notes      received:\x1b[2J gone",
        "  chosen     trainer.epochs=3 'run.tags=[a b]'",
        "  data       real, 2e",
        "  code       0.7.0",
        "  began      2026-11-29 10:16 UTC",
    ]


def test_the_command_that_opens_the_runs_can_be_pasted():
    tracker = {"uri": None, "experiment": "mtlbench"}
    assert ui_command(tracker, Path("runs")) == "mtlbench ui"
    assert shlex.split(ui_command(tracker, Path("runs of (mine)")))[2:] == ["run.folder=runs of (mine)"]
