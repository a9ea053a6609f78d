"""The tables in ``conf/table``: complete, true to the papers' numbers, and made of runs that exist."""

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtlbench.cli import main
from mtlbench.cli.compose import compose
from mtlbench.cli.search_path import conf_folder
from mtlbench.experiment.build import build
from mtlbench.experiment.check import check_config
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.objects import build_ranking
from mtlbench.metrics.binary import BINARY_METRICS
from mtlbench.metrics.names import metric
from mtlbench.reproduce.claim import evaluate_claim
from mtlbench.reproduce.table import ClaimSpec, Table
from mtlbench.reproduce.table_file import load_table, table_names

FOLDER = conf_folder() / "table"
NAMES = table_names(FOLDER)
SHARED = Path(__file__).parents[2].parent / "shared" / "papers" / "tables"
DERIVED = {"parameters", "logloss_sum", "logloss_weighted", "auc_gain"}


@pytest.fixture(scope="module", params=NAMES)
def table(request: pytest.FixtureRequest) -> Table:
    return load_table(FOLDER, request.param)


def test_how_many_there_are() -> None:
    assert len(NAMES) == 14
    assert len({(FOLDER / f"{name}.yaml").read_text().splitlines()[0] for name in NAMES}) == 14


def test_every_printed_number_is_the_papers(table: Table) -> None:
    """Against the transcription, digit by digit: as many numbers, each of them there, bold where it is bold."""
    path = SHARED / f"{table.name}.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here" if SHARED.exists() else "the papers' transcriptions are not here")
    with path.open(newline="") as file:
        lines = [
            line
            for line in csv.DictReader(file)
            if line["group"] != "derived" and line["metric"] not in ("ctr_percent", "pbr_percent")
        ]
    texts = [(line["value"].lstrip("+"), line["bold"]) for line in lines]
    numbers = sorted((text, mark) for text, mark in texts if text.lstrip("-")[:1].isdigit())
    bold = {True: "1", False: "0", None: ""}
    assert sorted((cell.text, bold[cell.bold]) for cell in table.printed.values() if cell.text) == numbers
    assert len(table.printed) == len(lines)


def test_a_table_says_where_it_stands_and_why_so_many_seeds(table: Table) -> None:
    assert table.paper.title
    assert table.place.startswith(("Table", "Section"))
    assert table.seeds_note
    assert table.claims or table.name == "mpa_table3"  # whose numbers are those of its Table 2 once more
    printed = {column.metric for _, column in table.printed}
    assert printed <= set(table.tolerance)


def checked(table: Table, rows: slice) -> Iterator[None]:
    """Compose rows as they would be run, and hold them to what can be checked without data."""
    for spec in table.rows[rows]:
        for dataset, words in table.datasets.items():
            config = compose([f"profile={table.profile}", *words, *spec.overrides])
            check_config(config)
            reader = build(config.dataset.reader, "dataset.reader")
            tasks = config.dataset.tasks or [task.name for task in reader.tasks]  # labels may be made of others
            top = build_ranking(config).top
            for column in (column for column in table.columns if column.dataset == dataset):
                assert column.task in (*tasks, "all")
                known = {*BINARY_METRICS, *DERIVED} | ({f"precision_at_{top.n}_export"} if top else set())
                assert column.metric in known
            yield


def test_a_row_can_be_run(table: Table) -> None:
    assert sum(1 for _ in checked(table, slice(None, None, max(len(table.rows) - 1, 1)))) >= 2


@pytest.mark.long
def test_every_row_can_be_run(table: Table) -> None:
    assert sum(1 for _ in checked(table, slice(None))) == len(table.rows) * len(table.datasets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("seeds: 5", "seed: 5"), "seed: no such key; allowed: title, seeds, "),
        (
            lambda text: text.replace("better: [MMoE]", "best: [MMoE]"),
            "claims.0.best: no such key; allowed: text, better, than, metric, ",
        ),
        (lambda text: text.replace("better: [MMoE]", "better: [MMOE]"), "claims name MMOE; rows are Single-Task"),
        (lambda text: text.replace("label: OMoE", "label: MMoE"), "printed numbers name OMoE|more than once: MMoE"),
        (lambda text: text.replace("  Census-Income: [", "  Census: ["), "no overrides for data set Census-Income"),
        (lambda text: text.replace("datasets:\n", "datasets:\n  WeChat: []\n"), "no printed number .* data set WeChat"),
        (lambda text: text.replace("metric: auc", "metric: ndcg"), "claims name metric ndcg; columns have auc"),
        (lambda text: text.replace("default: Single-Task", "default: Nobody"), "twins name Nobody"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    shutil.copytree(FOLDER / "printed", tmp_path / "printed")
    text = (FOLDER / "census_mmoe.yaml").read_text()
    assert change(text) != text
    (tmp_path / "census_mmoe.yaml").write_text(change(text))
    with pytest.raises(ConfigError, match=message):
        load_table(tmp_path, "census_mmoe")


def test_an_unknown_table_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no table 'dephn_table9'; allowed: census_mmoe, .*mssm_table2"):
        load_table(FOLDER, "dephn_table9")


CONTRADICTED = {
    ("mpa_table4", "Fine gate - MMoE, Ali-CCP: conversion precision_at_2_export"),
    ("mssm_table1", "Single-Task - Shared-Bottom, Alipay-Advertising: purchase auc"),
    ("mssm_table1", "Single-Task - SNR-Aver, IJCAI-CUP-2015: favourite auc"),
    ("mssm_table1", "Single-Task - SNR-Aver, Alipay-Advertising: purchase auc"),
    ("mssm_table1", "Single-Task - MMoE, Alipay-Advertising: following auc"),
    ("mssm_table1", "Single-Task - MMoE, Alipay-Advertising: purchase auc"),
    ("mssm_table1", "SNR-Trans - MMoE, IJCAI-CUP-2015: favourite auc"),
    ("census_mmoe", "MMoE - Cross-Stitch, Census-Income: income auc"),  # by means; by the best runs it is as claimed
}
"""Comparisons of which a paper's words say the opposite of its numbers; `inconsistencies.csv` has them too."""


def test_claims_are_what_the_papers_numbers_show() -> None:
    """A claim that a perfect reproduction would refute is none of the paper's, unless the paper contradicts itself."""
    against: set[tuple[str, str]] = set()
    compared = 0
    for table in (load_table(FOLDER, name) for name in NAMES):
        printed = {key: {0: float(cell.text)} for key, cell in table.printed.items() if cell.text}
        for claim in table.claims:
            judged = evaluate_claim(claim, table, printed, {}, dict.fromkeys(table.datasets))
            for line in judged.evidence:
                if ": not run: " in line:
                    continue
                name, _, difference = line.rpartition(": ")
                compared += 1
                lower = metric(claim.metric).better == "lower"
                value = float(difference.split()[0].replace(",", ""))
                if value != 0 and (value > 0) == lower:
                    against.add((table.name, name))
    assert compared == 256
    assert against == CONTRADICTED


def small(folder: Path, change: Callable[[str], str] = str, printed: Callable[[str], str] = str) -> Table:
    """The first table, with changes to its YAML and to its printed numbers."""
    (folder / "printed").mkdir()
    (folder / "census_mmoe.yaml").write_text(change((FOLDER / "census_mmoe.yaml").read_text()))
    text = (FOLDER / "printed" / "census_mmoe.csv").read_text()
    (folder / "printed" / "census_mmoe.csv").write_text(printed(text))
    return load_table(folder, "census_mmoe")


def names(table: Table) -> list[str]:
    return [column.name.removeprefix("Census-Income: ") for column in table.columns]


PRINTED_COLUMNS = ["income auc (best)", "income auc", "never_married auc"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("[{metric: auc}]", PRINTED_COLUMNS),
        ("[{metric: auc}, {metric: ece}]", [*PRINTED_COLUMNS, "income ece", "never_married ece"]),
        ("[{metric: ece}, {metric: auc}]", ["income ece", "never_married ece", *PRINTED_COLUMNS]),
        ("[{metric: auc}, {metric: pcoc, tasks: [income]}]", [*PRINTED_COLUMNS, "income pcoc"]),
        ("[{metric: auc}, {metric: pcoc, tasks: [income], statistic: best}]", [*PRINTED_COLUMNS, "income pcoc (best)"]),
        (
            "[{metric: auc}, {metric: parameters}, {metric: logloss_sum}]",
            [*PRINTED_COLUMNS, "parameters", "logloss_sum"],
        ),
        (
            "[{metric: auc, tasks: [never_married]}, {metric: auc, tasks: [income], statistic: mean}, "
            "{metric: auc, statistic: best, tasks: [income]}]",
            PRINTED_COLUMNS[::-1],
        ),
    ],
)
def test_columns_can_be_ordered_and_added(tmp_path: Path, columns: str, expected: list[str]) -> None:
    table = small(tmp_path, lambda text: f"{text}columns: {columns}\n")
    assert names(table) == expected
    assert len(table.printed) == 21
    assert {table.printed[key].text for key in table.printed if key[1].name.endswith("(best)")} >= {"0.9410"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("[{metric: ecce}]", r"census_mmoe\.yaml: unknown metric 'ecce' \(did you mean 'ece'\?\)"),
        ("[{metric: ece}]", r"columns lack Census-Income: income auc \(best\), .*add \{metric: auc\}"),
        ("[{metric: auc}, {metric: auc, tasks: [income]}]", r"columns name .*income auc \(best\).* more than once"),
        (
            "[{metric: auc}, {metric: ece, datasets: [WeChat]}]",
            "columns name data set WeChat; allowed: Census-Income",
        ),
        ("[{metric: auc}, {metric: ceiling_auc, statistic: best}]", "the best ceiling_auc is meaningless"),
        ("[{metric: auc, task: income}]", r"columns\.0\.task: "),
    ],
)
def test_columns_that_cannot_be_are_refused(tmp_path: Path, columns: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(tmp_path, lambda text: f"{text}columns: {columns}\n")


def test_columns_of_tasks_need_their_names_where_none_is_printed(tmp_path: Path) -> None:
    def of_all(text: str) -> str:
        lines = [line for line in text.splitlines() if "best" not in line.split(",") and "income" not in line]
        return "\n".join(lines).replace("never_married,auc", "all,parameters")

    def without_claims(text: str) -> str:
        return text[: text.index("claims:")] + "claims: []\ntolerance: {}\nnotes: []\n"

    for columns, expected in (("", ["parameters"]), ("[{metric: parameters}, {metric: auc, tasks: [x]}]", None)):
        folder = tmp_path / f"{len(columns)}"
        folder.mkdir()
        key = f"columns: {columns}\n" * bool(columns)
        found = small(folder, lambda text, key=key: without_claims(text) + key, of_all)
        assert names(found) == (expected or ["parameters", "x auc"])
    (tmp_path / "none").mkdir()
    with pytest.raises(
        ConfigError, match=r"columns of auc: no printed column has a task; give them as tasks: \[\.\.\.\], as listed"
    ):
        small(
            tmp_path / "none", lambda t: without_claims(t) + "columns: [{metric: parameters}, {metric: auc}]\n", of_all
        )


def of_metric(name: str) -> Callable[[str], str]:
    """Makes the printed means those of another metric."""
    return lambda text: "\n".join(
        line.replace(",auc,", f",{name},") for line in text.splitlines() if ",best," not in line
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("brier", r"census_mmoe\.yaml: unknown metric 'brier'\. Known: "),
        (
            "ceiling_logloss",
            "claims name metric ceiling_logloss, which describes the data, so that no row can be better",
        ),
        (
            "logloss_constant",
            "claims name metric logloss_constant, which describes the data, so that no row can be better",
        ),
    ],
)
def test_no_row_can_beat_others_in_a_metric_without_direction(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(tmp_path, lambda text: text.replace("auc", name), of_metric(name))


def test_an_unknown_metric_of_a_tolerance_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown metric 'acc' \(did you mean 'auc'\?\)"):
        small(tmp_path, lambda text: text.replace("{auc: 0.005}", "{acc: 0.005}"))


def test_a_claim_on_pcoc_is_about_the_distance_from_one(tmp_path: Path) -> None:
    table = small(tmp_path, lambda text: text.replace("auc", "pcoc"), of_metric("pcoc"))
    column = table.columns[0]
    claim = ClaimSpec(text="", better=["MMoE"], than=["OMoE"], metric="pcoc", tasks=["income"])
    closer = {("MMoE", column): {0: 0.98, 1: 1.03, 2: 1.01}, ("OMoE", column): {0: 1.2, 1: 0.79, 2: 1.22}}
    judged = evaluate_claim(claim, table, closer, {}, {"Census-Income": None})
    assert judged.verdict == "holds"
    assert judged.evidence[0].startswith(
        "MMoE - OMoE, Census-Income: income pcoc: -0.1900 of the distance from 1 (3 seeds"
    )


def test_reproduce_shows_a_column_that_the_paper_does_not_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One key of the YAML adds it; nothing is added to the printed numbers."""
    (tmp_path / "conf" / "table").mkdir(parents=True)
    small(tmp_path / "conf" / "table", lambda text: f"{text}columns: [{{metric: auc}}, {{metric: ece}}]\n")
    monkeypatch.setattr("mtlbench.cli.reproduce.conf_file", lambda name: tmp_path / "conf" / name)
    monkeypatch.setattr("mtlbench.reproduce.execute.execute", lambda runs, launcher: {})
    places = [f"run.data={tmp_path}", f"run.folder={tmp_path / 'runs'}", "tracker=none"]
    words = ["reproduce", "census_mmoe", "--scale", "0.01", "--rows", "MMoE,Single-Task", "--to", str(tmp_path / "to")]
    assert main([*words, *places]) == 0
    header = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("|"))
    assert header.split(" | ")[4:6] == ["Census-Income: income ece", "Census-Income: never_married ece"]
    with (tmp_path / "to" / "census_mmoe.csv").open(newline="") as file:
        cells = [(line["task"], line["printed"]) for line in csv.DictReader(file) if line["metric"] == "ece"]
    assert cells == [("income", ""), ("never_married", "")] * 7
