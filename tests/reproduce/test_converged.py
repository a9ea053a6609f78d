"""Runs that did not converge: marked in every table, and nothing is concluded from them."""

import json
from dataclasses import replace
from pathlib import Path

from mtlbench.cli.compose import compose
from mtlbench.experiment.run import train
from mtlbench.report.result import Claim
from mtlbench.report.text import comma_separated, markdown
from mtlbench.reproduce.converged import without_verdict
from mtlbench.reproduce.finished import Finished
from mtlbench.reproduce.gather import gather
from mtlbench.reproduce.plan import expand
from mtlbench.reproduce.table_file import load_table
from mtlbench.result import Convergence
from mtlbench.tracking.folder import RESULT, read_result, write_result
from reproduce.test_assemble import AUC, BEST, RUNS, assembled, cell

YES = Convergence(
    converged=True,
    evaluations=9,
    needed=2,
    evaluations_since_best={"model": 2},
    steps_since_best={"model": 200},
    behind_best={"model": (-0.01, -0.02)},
)
NO = replace(YES, converged=False, evaluations_since_best={"model": 0}, steps_since_best={"model": 0})


def runs(**states: Convergence | None) -> list[Finished]:
    """The runs of the made-up table; those of seed 0 of the named rows in another state."""
    return [
        replace(
            run, result=replace(run.result, convergence=states[run.row] if run.row in states and not run.seed else YES)
        )
        for run in RUNS
    ]


def test_a_number_of_runs_that_converged_has_its_verdict() -> None:
    result = assembled(runs())
    assert (cell(result, "new", AUC).verdict, cell(result, "new", AUC).converged) == ("above", True)
    assert result.claims[0].verdict == assembled().claims[0].verdict == "holds"
    assert "‡" not in markdown(result)
    assert not [note for note in result.footnotes if "converge" in note]


def test_one_run_that_did_not_converge_withholds_verdict_and_claim() -> None:
    result = assembled(runs(old=NO))
    assert cell(result, "old", AUC).verdict == "not comparable: not converged"
    assert cell(result, "old", BEST).converged is False
    assert cell(result, "new", AUC).verdict == "above"
    (claim,) = result.claims
    assert claim.verdict == "withheld: not converged"
    assert claim.evidence[0] == "D: old (1 of 3 runs): not converged"
    assert len(claim.evidence) == 1 + len(assembled().claims[0].evidence), "the numbers are still said"
    text = markdown(result)
    assert "- **withheld: not converged**: new beats all" in text
    assert "‡ not converged: validation still improved when a run's budget ended" in text
    assert "D: old (1 of 3 runs): not converged" in result.footnotes
    (line,) = [line for line in text.splitlines() if line.startswith("| old")]
    assert "‡" in line
    assert "not comparable: not converged" in comma_separated(result)


def test_simulated_numbers_are_marked_too() -> None:
    simulated = [replace(run, result=replace(run.result, origin="simulated")) for run in runs(old=NO)]
    result = assembled(simulated)
    assert cell(result, "old", AUC).verdict == "not comparable: simulated"
    assert [cell(result, label, AUC).converged for label in ("single", "old", "new")] == [True, False, True]
    assert result.claims[0].verdict == "withheld: not converged"


def test_a_claim_is_withheld_by_the_runs_that_it_compares_alone() -> None:
    claim = Claim(text="x", verdict="fails", evidence=("e",))
    assert without_verdict(claim, [run for run in runs(old=NO) if run.row != "old"]) == claim
    assert without_verdict(claim, runs(old=NO)).verdict == "withheld: not converged"
    assert without_verdict(replace(claim, verdict="not run"), runs(old=NO)).verdict == "not run"


def test_what_is_not_known_is_said_and_withholds_nothing() -> None:
    result = assembled(runs(new=None))
    assert (cell(result, "new", AUC).verdict, cell(result, "new", AUC).converged) == ("above", None)
    assert result.claims[0].verdict == "holds"
    assert "D: new (1 of 3 runs): whether they converged is not known" in result.footnotes


TABLE = """
title: One model
paper: {name: P, title: A paper, venue: V}
place: Table 9
profile: default
seeds: 1
seeds_note: ours
datasets: {Census: [dataset=census, dataset.source=simulated]}
rows: [{label: DNN, overrides: [model=dnn]}]
baselines: []
twins: {}
tolerance: {}
claims: []
notes: []
"""
PRINTED = "# source: nowhere\nrow,dataset,task,metric,statistic,value,bold,note\nDNN,Census,income,auc,mean,0.9,1,\n"


def test_a_run_of_a_version_that_did_not_record_it_has_it_from_its_journal(tmp_path: Path) -> None:
    (tmp_path / "printed").mkdir()
    (tmp_path / "one.yaml").write_text(TABLE)
    (tmp_path / "printed" / "one.csv").write_text(PRINTED)
    small = ["dataset.simulator.rows=600", "trainer.epochs=2", "run.threads=1", "tracker=none"]
    small += ["profile.deep_layers=[4]", f"run.data={tmp_path / 'data'}", f"run.folder={tmp_path / 'runs'}"]
    ((planned,),) = expand([load_table(tmp_path, "one")], compose, small, scale=None)
    train(planned.config)
    recorded = read_result(planned.folder)
    assert recorded.convergence is not None
    assert (recorded.convergence.converged, recorded.convergence.evaluations) == (False, 2)
    write_result(planned.folder, replace(recorded, convergence=None))
    assert "convergence" not in json.loads((planned.folder / RESULT).read_text())
    assert gather([planned], {})[0].result.convergence == recorded.convergence
