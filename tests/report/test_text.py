"""Tables as text: every number, sign and mark is there, in the right place, whatever the labels hold."""

import csv
import io
import re
from dataclasses import replace

import pytest

from mtlbench.report.page import page
from mtlbench.report.result import Cell, Comparison
from mtlbench.report.text import comma_separated, markdown, signs
from report.tables import EVIL, MARKS, example


def test_markdown_has_the_papers_number_beside_ours_with_signs_and_notes() -> None:
    lines = markdown(example()).splitlines()
    dnn, mmoe = (next(line for line in lines if line.startswith(f"| {label} |")) for label in ("DNN", "MM_oE"))
    cells = [cell.strip() for cell in dnn.strip("|").split("|")]
    assert cells == [
        "DNN",
        "0.6275 / 0.7034 ± 0.0027† [1]",
        "0.531 / 0.613†",
        "0.531 / 0.612 ± 0.003†",
        "0.50 / 0.52 ± 0.00, above",
        "1.50",
    ]
    cells = [cell.strip() for cell in mmoe.strip("|").split("|")]
    assert cells[1:3] == ["0.6259 / 0.7346 ± 0.0027†*", "- / 0.599† (negative transfer)"]
    assert cells[4:] == ["0.48 / 0.48 ± 0.00, within [1][2]", "1.25"]


def test_a_study_of_ones_own_has_no_place_for_a_papers_numbers() -> None:
    rows = tuple(
        replace(row, cells=tuple(replace(cell, printed=None, verdict="nothing printed") for cell in row.cells))
        for row in example().rows
    )
    study = replace(example(), rows=rows)
    text = markdown(study)
    assert "| DNN | 0.7034 ± 0.0027 [1] | 0.613 |" in text
    assert "Every cell: mean and standard deviation over seeds.\n" in text
    html = page([study])
    assert "nothing printed" not in html
    assert 'class="paper">paper' not in html
    assert "the paper's number" not in html


def test_markdown_has_marks_claims_agreement_notes_and_what_was_not_run() -> None:
    text = markdown(example())
    for mark in MARKS:
        assert f"**{mark}**" in text
    assert "| Later | 0.65 / - | - / - | - / - | 0.4 / - | - |" in text
    assert "- **holds**: MM_oE beats DNN\n  - MM_oE - DNN: +0.0312 (p = 0.0041)" in text
    assert "- Ali-CCP: click auc: -0.33" in text
    assert "1. 2 of 5 seeds" in text
    assert "† not comparable: scaled" in text
    assert "† not comparable: simulated" in text


@pytest.mark.parametrize(
    ("p", "better", "sign"), [(0.0, True, "*"), (0.05, True, "*"), (0.051, True, ""), (0.0, False, "")]
)
def test_a_star_is_for_the_significantly_better(p: float, better: bool, sign: str) -> None:
    comparison = Comparison(against="x", difference=0.1, t_test=p, wilcoxon=None, better=better)
    cell = Cell(printed=None, bold=None, measured=None, verdict="within", comparison=comparison)
    assert signs(cell) == sign
    assert signs(replace(cell, comparison=replace(comparison, t_test=None))) == ""


def test_markdown_rows_have_as_many_cells_as_the_head() -> None:
    lines = [line for line in markdown(example()).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert len({line.count("|") for line in lines}) == 1


def test_a_bar_in_a_label_does_not_end_its_cell_in_markdown() -> None:
    """Split as GitHub's Markdown does it: at bars before which stands no backslash that is not itself escaped."""
    hostile = ("a|b", "c\\|d", "e\nf", "g\\")
    result = example()
    rows = tuple(replace(row, label=label) for row, label in zip(result.rows, hostile, strict=True))
    columns = (replace(result.columns[0], dataset="A|B"), *result.columns[1:])
    lines = [line for line in markdown(replace(result, rows=rows, columns=columns)).splitlines() if line[:1] == "|"]
    cells = [re.findall(r"((?:\\.|[^|\\])*)\|", line[1:]) for line in lines]
    assert {len(row) for row in cells} == {len(columns) + 2}
    unescaped = [re.sub(r"\\(.)", r"\1", row[0]).strip() for row in cells[2:]]
    assert unescaped == ["a|b", "c\\|d", "e f", "g\\"]
    assert re.sub(r"\\(.)", r"\1", cells[0][1]).strip() == "A|B: click auc"


def test_csv_has_every_number_in_full() -> None:
    lines = list(csv.DictReader(io.StringIO(comma_separated(example()))))
    assert len(lines) == 4 * 4
    first, second, last = lines[0], lines[4], lines[-1]
    assert (first["row"], first["task"], first["printed"], first["mean"], first["deviation"]) == (
        "DNN",
        "click",
        "0.6275",
        "0.7034",
        "0.0027",
    )
    assert (float(first["low"]), float(first["high"]), first["seeds"]) == (0.7034 - 0.01, 0.7034 + 0.01, "2")
    assert (second["against"], second["difference"], second["p_t"], second["p_wilcoxon"]) == (
        "DNN",
        "0.0312",
        "0.0041",
        "",
    )
    assert lines[5]["gain_percent"] == "-2.25"
    assert (last["mean"], last["verdict"], last["printed"]) == ("", "not run", "0.4")
    assert lines[8]["row"] == EVIL
    assert {line["marks"] for line in lines} == {"; ".join(MARKS)}
