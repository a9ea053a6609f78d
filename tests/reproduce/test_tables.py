"""The tables in ``conf/table``: complete, true to the papers' numbers, and made of runs that exist."""

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtlbench.cli.choices import conf_folder
from mtlbench.cli.compose import compose
from mtlbench.experiment.build import build
from mtlbench.experiment.check import check_config
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.objects import configured_ranking
from mtlbench.reproduce.claim import judge
from mtlbench.reproduce.table import LOWER_IS_BETTER, Table, read_table, table_names

FOLDER = conf_folder() / "table"
NAMES = table_names(FOLDER)
SHARED = Path(__file__).parents[2].parent / "shared" / "papers" / "tables"
DERIVED = {"parameters", "logloss_sum", "logloss_weighted", "auc_gain"}


@pytest.fixture(scope="module", params=NAMES)
def table(request: pytest.FixtureRequest) -> Table:
    return read_table(FOLDER, request.param)


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
    metrics = {column.metric for column in table.columns}
    assert metrics <= set(table.tolerance)


def checked(table: Table, rows: slice) -> Iterator[None]:
    """Compose rows as they would be run, and hold them to what can be checked without data."""
    for spec in table.rows[rows]:
        for dataset, words in table.datasets.items():
            config = compose([f"profile={table.profile}", *words, *spec.overrides])
            check_config(config)
            reader = build(config.dataset.reader, "dataset.reader")
            tasks = config.dataset.tasks or [task.name for task in reader.tasks]  # labels may be made of others
            top = configured_ranking(config).top
            for column in (column for column in table.columns if column.dataset == dataset):
                assert column.task in (*tasks, "all")
                known = {"auc", "logloss", *DERIVED} | ({f"precision_at_{top.n}_export"} if top else set())
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
        (lambda text: text.replace("seeds: 5", "seed: 5"), "seeds: Field required"),
        (lambda text: text.replace("better: [MMoE]", "better: [MMOE]"), "claims name MMOE; rows are Single-Task"),
        (lambda text: text.replace("label: OMoE", "label: MMoE"), "printed numbers name OMoE|more than once: MMoE"),
        (lambda text: text.replace("  Census-Income: [", "  Census: ["), "no overrides for data set Census-Income"),
        (lambda text: text.replace("datasets:\n", "datasets:\n  WeChat: []\n"), "no number .* of data set WeChat"),
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
        read_table(tmp_path, "census_mmoe")


def test_an_unknown_table_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no table 'dephn_table9'; there are: census_mmoe, .*mssm_table2"):
        read_table(FOLDER, "dephn_table9")


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
    for table in (read_table(FOLDER, name) for name in NAMES):
        printed = {key: {0: float(cell.text)} for key, cell in table.printed.items() if cell.text}
        for claim in table.claims:
            judged = judge(claim, table.columns, printed, dict.fromkeys(table.datasets))
            for line in judged.evidence:
                if ": not run: " in line:
                    continue
                name, _, difference = line.rpartition(": ")
                compared += 1
                lower = any(name.endswith(metric) for metric in LOWER_IS_BETTER)
                value = float(difference.split()[0].replace(",", ""))
                if value != 0 and (value > 0) == lower:
                    against.add((table.name, name))
    assert compared == 256
    assert against == CONTRADICTED
