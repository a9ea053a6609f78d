"""The leaderboard: what finished runs measured is kept, and claims are judged again from that alone."""

import shutil
from pathlib import Path

import pytest

import mtlbench
from scripts import leaderboard

STUDY = """
title: Two networks
seeds: 2
datasets: {Census: [dataset=census, dataset.source=simulated, dataset.simulator.rows=2000]}
rows:
  - {label: alone, overrides: [model=dnn]}
  - {label: shared, overrides: [model=shared_bottom]}
  - {label: not yet, overrides: [model=mmoe]}
columns: [{metric: auc, tasks: [income, never_married]}]
baselines: [alone]
claims:
  - {text: sharing pays, better: [shared], than: [alone], metric: auc}
  - {text: gates pay, better: [not yet], than: [shared], metric: auc}
"""


def test_the_page_says_what_the_results_say() -> None:
    """Otherwise run `python scripts/leaderboard.py`."""
    page = leaderboard.PAGE.read_text(encoding="utf-8").partition(leaderboard.MARK)[2]
    assert page.strip() == "\n\n".join(leaderboard.sections()).strip()


@pytest.mark.filterwarnings("ignore:suspicious scores")
def test_claims_are_judged_again_without_runs_or_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, place in (("STUDIES", "."), ("RESULTS", "results"), ("PAGE", "page.md")):
        monkeypatch.setattr(leaderboard, name, tmp_path / place)
    (tmp_path / "kuairand_x.yaml").write_text(STUDY)
    (tmp_path / "page.md").write_text("# By hand\n")
    words = ["trainer.epochs=1", "run.threads=1", "tracker=none"]
    made = mtlbench.reproduce("kuairand_x.yaml", *words, rows=["alone", "shared"])
    monkeypatch.setattr("sys.argv", ["leaderboard.py", "kuairand_x.yaml", *words])
    leaderboard.main()
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# By hand\n" + leaderboard.MARK)
    assert "4 runs of `conf/study/kuairand_x.yaml`" in page
    assert "SIMULATED DATA: Census" in page
    assert "Not run yet: not yet." in page
    assert "Not judged yet, for want of runs: gates pay." in page
    for row in made.result.rows[:2]:
        assert all(
            leaderboard.value_text(cell, column) in page
            for cell, column in zip(row.cells, made.result.columns, strict=True)
        )
    for folder in ("runs", "data"):
        shutil.rmtree(folder)
    monkeypatch.setattr("sys.argv", ["leaderboard.py"])
    leaderboard.main()
    assert (tmp_path / "page.md").read_text() == page, "seeds and users, from results/ alone"
    kept = {path.name: path.read_bytes() for path in (tmp_path / "results" / "runs").iterdir()}
    assert len(kept) == 8, "what each of four runs measured, and its draws"
    assert "test rows" in page or "test groups" in page
    mtlbench.reproduce("kuairand_x.yaml", *words, rows=["not yet"])
    monkeypatch.setattr("sys.argv", ["leaderboard.py", "kuairand_x.yaml", *words])
    leaderboard.main()
    added = (tmp_path / "page.md").read_text()
    assert "6 runs of" in added, "runs of another machine stay beside those of this one"
    assert "Not run yet" not in added
    found = {path.name: path.read_bytes() for path in (tmp_path / "results" / "runs").iterdir()}
    assert len(found) == 12
    assert {name: found[name] for name in kept} == kept
    for row in made.result.rows[:2]:
        assert leaderboard.value_text(row.cells[0], made.result.columns[0]) in added
    monkeypatch.setattr("sys.argv", ["leaderboard.py", "kuairand_x.yaml", *words, "optimizer.lr=0.5"])
    with pytest.raises(SystemExit, match=r"not of kuairand_x with .*optimizer.lr=0.5.*--as"):
        leaderboard.main()
    assert (tmp_path / "page.md").read_text() == added
