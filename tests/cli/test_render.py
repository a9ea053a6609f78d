"""Tables of results, as text."""

import shlex
from pathlib import Path

from mtlbench.cli.render import metrics_text, ui_command
from mtlbench.result import Metrics


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


def test_the_command_that_opens_the_runs_can_be_pasted():
    tracker = {"uri": None, "experiment": "mtlbench"}
    assert ui_command(tracker, Path("runs")) == "mtlbench ui"
    assert shlex.split(ui_command(tracker, Path("runs of (mine)")))[2:] == ["run.folder=runs of (mine)"]
