"""A small table from its files to MLflow: what is missing is run, what fails is told, what is finished is kept."""

from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import DictConfig

from mtlbench.cli.compose import compose
from mtlbench.experiment.data import DataSource, resolve_data
from mtlbench.experiment.errors import ConfigError
from mtlbench.reproduce import plan as plan_module
from mtlbench.reproduce.assemble import assemble
from mtlbench.reproduce.cost import SpeedKey, cost, measured_speeds, read_speeds
from mtlbench.reproduce.execute import execute
from mtlbench.reproduce.gather import gather
from mtlbench.reproduce.launcher import Launcher
from mtlbench.reproduce.plan import PlannedRun, expand, missing
from mtlbench.reproduce.table import RowSpec, Table
from mtlbench.reproduce.table_file import load_table
from mtlbench.tracking.connect import connect, default_uri
from mtlbench.tracking.find import find_results
from mtlbench.tracking.send import send
from mtlbench.tracking.tables import send_rendered

YAML = """
title: Two models
paper: {name: P, title: A paper, venue: V}
place: Table 9
profile: default
seeds: 2
seeds_note: ours
datasets: {Census: [dataset=census, dataset.source=simulated]}
rows:
  - {label: DNN, overrides: [model=dnn]}
  - {label: Broken, overrides: [model=dnn, optimizer=sgd, optimizer.lr=1e30]}
  - {label: MMoE, overrides: [model=mmoe]}
  - {label: The same, overrides: [model=mmoe]}
baselines: [DNN]
twins: {default: DNN}
tolerance: {auc: 0.005}
claims: []
notes: []
"""
PRINTED = "# source: nowhere\nrow,dataset,task,metric,statistic,value,bold,note\nMMoE,Census,income,auc,mean,0.9,1,\n"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("table")
    (folder / "printed").mkdir()
    (folder / "small.yaml").write_text(YAML)
    (folder / "printed" / "small.csv").write_text(PRINTED)
    return load_table(folder, "small")


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("work")
    small = ["dataset.simulator.rows=4000", "trainer.epochs=1", "run.threads=1", "tracker=none"]
    return [*small, "profile.bottom_layers=[8]", f"run.data={place / 'data'}", f"run.folder={place / 'runs'}"]


@pytest.fixture(scope="module")
def plan(table: Table, overrides: list[str]) -> list[PlannedRun]:
    (plan,) = expand([table], compose, overrides, scale=None)
    return plan


@pytest.fixture(scope="module")
def failures(plan: list[PlannedRun]) -> dict[str, str]:
    return execute(missing(plan), Launcher())


def test_a_table_is_rows_by_seeds_and_the_same_runs_serve_two_rows(plan: list[PlannedRun]) -> None:
    assert [(run.row, run.seed) for run in plan] == [
        (row, seed) for row in ("DNN", "Broken", "MMoE", "The same") for seed in (0, 1)
    ]
    assert len({run.identity for run in plan}) == 6
    assert [run.identity for run in plan[4:6]] == [run.identity for run in plan[6:]]


@pytest.mark.parametrize(
    ("scale", "seeds", "expected"),
    [(None, None, [0, 1]), (None, 1, [0]), (None, 9, [0, 1]), (0.1, None, [0]), (0.1, 2, [0, 1])],
)
def test_the_first_seeds_are_run(
    table: Table, overrides: list[str], scale: float | None, seeds: int | None, expected: list[int]
) -> None:
    (plan,) = expand([table], compose, overrides, scale=scale, seeds=seeds)
    assert [run.seed for run in plan if run.row == "DNN"] == expected


def test_what_several_tables_have_in_common_is_planned_once(
    table: Table, overrides: list[str], plan: list[PlannedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[tuple[str, ...]] = []
    resolved: list[DictConfig] = []

    def composing(words: list[str]) -> DictConfig:
        composed.append(tuple(words))
        return compose(words)

    def resolving(dataset: DictConfig, folder: Path) -> DataSource:
        resolved.append(dataset)
        return resolve_data(dataset, folder)

    monkeypatch.setattr(plan_module, "resolve_data", resolving)
    other = replace(table, rows=tuple(reversed(table.rows)), seeds=1)
    first, second = expand([table, other], composing, overrides, scale=None)
    assert [(run.row, run.seed, run.identity) for run in first] == [(run.row, run.seed, run.identity) for run in plan]
    assert [(run.row, run.identity) for run in second] == [
        (run.row, run.identity) for run in plan[::-1] if not run.seed
    ]
    assert len(set(composed)) == 3
    assert len(composed) == 6, "once for each number of seeds"
    assert len(resolved) == 1


def test_data_that_refer_to_a_rows_own_settings_are_its_own(table: Table, overrides: list[str]) -> None:
    rows = (RowSpec(label="3", overrides=["model.experts=3"]), RowSpec(label="5", overrides=["model.experts=5"]))
    words = [*overrides, "dataset.min_count=${model.experts}"]
    (plan,) = expand([replace(table, rows=rows)], compose, words, scale=None)
    assert [run.data.config.min_count for run in plan] == [3, 3, 5, 5]
    for run in plan:
        assert run.data.fingerprint == resolve_data(run.config.dataset, Path(run.config.run.data)).fingerprint


def test_an_error_in_a_row_says_which_row(table: Table, overrides: list[str]) -> None:
    rows = (*table.rows, RowSpec(label="wide", overrides=["profile.expert_layer=[8]"]))
    with pytest.raises(ConfigError, match=f"{table.name}, row 'wide', Census: .*no key 'profile.expert_layer'"):
        expand([replace(table, rows=rows)], compose, overrides, scale=None)


def test_identities_are_those_of_the_single_runs(table: Table, overrides: list[str], plan: list[PlannedRun]) -> None:
    """What `mtlbench train` makes of the same overrides is the same run."""
    from mtlbench.experiment.identity import run_identity

    config = compose([*table.datasets["Census"], "model=mmoe", "profile=default", *overrides, "seed=1"])
    assert run_identity(config, resolve_data(config.dataset, Path(config.run.data))) == plan[5].identity


def test_a_run_that_fails_stops_no_other(plan: list[PlannedRun], failures: dict[str, str]) -> None:
    assert set(failures) == {run.identity for run in plan if run.row == "Broken"}
    assert all("NonFiniteLossError" in reason for reason in failures.values())
    assert {run.row for run in plan if run.finished} == {"DNN", "MMoE", "The same"}
    assert {run.row for run in missing(plan)} == {"Broken"}


def test_time_is_estimated_from_measured_speeds(plan: list[PlannedRun], failures: dict[str, str]) -> None:
    assert failures
    speeds = measured_speeds(plan[0].folder.parent)
    assert set(speeds) == {"dnn", "mmoe"}
    train = round(4000 * 2 / 3)
    assert {run.rows for run in plan} <= {4000, train - 1, train, train + 1}
    found = cost(plan[:1], {"dnn": 1000.0}, {})
    assert found is not None
    assert found.seconds == pytest.approx((plan[0].rows or 0) / 1000)
    assert found.full == pytest.approx(199_523 / 1000), "all published rows, for one epoch"
    assert cost(plan[:1], {}, {}) is None


def test_speeds_that_are_shipped_count_where_none_was_measured_here(tmp_path: Path, plan: list[PlannedRun]) -> None:
    (tmp_path / "cpu.csv").write_text(
        "# an abacus\nmodel,dataset,settings,rows_per_second\n"
        "dnn,census,profile.bottom_layers=[8] profile=default,50\ndnn,aliccp,profile=default,70\n"
    )
    shipped = read_speeds(tmp_path / "cpu.csv")
    rows = plan[0].rows or 0
    assert [key.dataset for key in shipped] == ["census", "aliccp"]
    for here, known, speed in (({}, shipped, 50), ({"dnn": 4.0}, shipped, 4), ({}, {SpeedKey("dnn", "a", ""): 3}, 3)):
        found = cost(plan[:1], here, known)
        assert found is not None
        assert (found.seconds, found.unknown) == (pytest.approx(rows / speed), ())
    unknown = cost([run for run in plan if run.row == "MMoE"], {}, shipped)
    assert unknown is not None
    assert unknown.unknown == ("mmoe",)
    assert read_speeds(tmp_path / "none.csv") == {}


def test_the_table_says_what_was_run_and_where_it_comes_from(
    table: Table, plan: list[PlannedRun], failures: dict[str, str]
) -> None:
    assert failures
    result = assemble(table, gather(plan, {}), scale=None, settings=(), private=())
    by_label = {row.label: row for row in result.rows}
    assert result.marks == ("SIMULATED DATA: Census",)
    assert by_label["Broken"].cells[0].verdict == "not run"
    measured = by_label["MMoE"].cells[0].measured
    assert measured is not None
    assert measured == by_label["The same"].cells[0].measured
    assert len(measured.values) == 2
    assert by_label["MMoE"].runs[0].curve


def test_a_table_is_found_in_mlflow_and_sent_twice_it_is_one(
    plan: list[PlannedRun], failures: dict[str, str], tmp_path: Path
) -> None:
    assert failures
    uri, rendered = default_uri(plan[0].folder.parent), tmp_path / "small.md"
    rendered.write_text("a table")
    members = {run.folder: run.row for run in plan if run.finished}
    here = dict(list(members.items())[1:])
    away = {
        send(folder, uri, "tests").run_id: (folder.name, row) for folder, row in members.items() if folder not in here
    }
    ids = {send_rendered(uri, "tests", "table", "small", here, away, [rendered], {"paper": "P"}) for _ in range(2)}
    assert len(ids) == 1
    assert connect(uri).get_run(min(ids)).data.tags["runs"] == str(len(members)), "those of other machines count"
    client = connect(uri)
    assert {file.path for file in client.list_artifacts(ids.pop())} == {"small.md", "runs.json"}
    experiment = client.get_experiment_by_name("tests")
    assert experiment is not None
    tagged = client.search_runs([experiment.experiment_id], filter_string="tags.`table/small` = 'DNN'")
    assert {run.data.tags["identity"] for run in tagged} == {run.identity for run in plan if run.row == "DNN"}
    found = find_results(uri, "tests", [plan[0].identity, "nothing"])
    assert set(found) == {plan[0].identity}
    assert gather([plan[0]], {})[0].result == found[plan[0].identity].result
    assert find_results(uri, "another", [plan[0].identity]) == {}
