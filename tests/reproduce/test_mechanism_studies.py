"""The studies of mechanism worlds: one for each, alike in all that was fixed before they were run."""

from pathlib import Path

import pytest

from mtlbench import cli
from mtlbench.datasets.mechanism.worlds import MECHANISMS
from mtlbench.reproduce.table_file import load_table
from scripts import mechanisms

STUDIES = Path(__file__).parents[2] / "conf" / "study"
NAMES = sorted(path.stem for path in STUDIES.glob("mechanism_*.yaml"))


def test_there_is_one_for_each_mechanism() -> None:
    assert sorted(f"mechanism_{name}" for name in MECHANISMS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_study_changes_the_mechanism_alone(name: str) -> None:
    table = load_table(STUDIES, name)
    mechanism = name.removeprefix("mechanism_")
    for place, words in table.datasets.items():
        dataset, _, world = place.partition(", world ")
        planted = str(dataset == "Planted").lower()
        assert words == [
            "dataset=mechanism",
            f"dataset.mechanism={mechanism}",
            f"dataset.simulator.planted={planted}",
            f"dataset.simulator.seed={world}",
        ]
    assert [*table.worlds] == [f"world {world}" for world in range(1, 10)]
    assert (table.profile, table.seeds, table.margin("auc")) == ("mechanism", 1, 0.001)
    assert {column.task for column in table.columns} == {f"task_{at + 1}" for at in range(MECHANISMS[mechanism].tasks)}
    kinds = [(claim.datasets, claim.says) for claim in table.claims]
    assert kinds == [(["Planted"], "better"), (["Removed"], "better"), (["Removed"], "no effect")] * (len(kinds) // 3)


def test_reproduce_plans_a_study_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce", str(STUDIES / "mechanism_conflict.yaml"), "--dry-run"]) == 0
    assert "mechanism_conflict: 54 runs, 0 finished" in capsys.readouterr().err


def test_the_page_holds_the_table_that_the_results_make() -> None:
    assert mechanisms.PAGE.read_text(encoding="utf-8").partition(mechanisms.MARK)[2].strip() == (
        mechanisms.markdown().strip()
    )
