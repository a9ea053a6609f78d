"""LaTeX tables: what authors paste is whole, marked, aligned, and no wider than a column."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mtlbench.report.latex import latex
from mtlbench.report.result import Cell, Row, TableColumn, TableResult
from mtlbench.report.stored import read_stored
from report.tables import CLICK, EVIL, example, measured, row

RESULTS = Path(__file__).parents[2] / "results"
LOSS = TableColumn(dataset="Ali-CCP", task="click", metric="logloss")
DOCUMENT = r"""\documentclass[10pt,twocolumn]{article}
\usepackage{booktabs}
\setlength{\textwidth}{7in}\setlength{\oddsidemargin}{-.25in}\setlength{\columnsep}{.34in}
\begin{document}
%s
\end{document}
"""

SMALL = r"""% needs \usepackage{booktabs}
% P: A paper, V. Table 2

\begin{table}
\centering
\caption{Small \& plain, Ali-CCP. SIMULATED DATA. Mean $\pm$ standard deviation of 2 seeds. Paper: as printed in Table 2 of P. Best in bold, second best underlined (log loss: lowest).}
\label{tab:small}
\smallskip
\footnotesize
\setlength{\tabcolsep}{3pt}
\begin{tabular}{@{}lrr@{}lr@{}l@{}}
\toprule
& \multicolumn{5}{c}{click} \\
\cmidrule(lr){2-6}
& \multicolumn{3}{c}{AUC} & \multicolumn{2}{c}{log loss} \\
\cmidrule(lr){2-4}
& \multicolumn{1}{c}{paper} & \multicolumn{2}{c}{ours} & \multicolumn{2}{c}{} \\
\midrule
DNN & 0.6\phantom{000} & 0.6100 & {\scriptsize$\,\pm\,$0.0027} & 0.2100 & {\scriptsize$\,\pm\,$0.0027} \\
\addlinespace
MM\_oE & 0.625\phantom{0} & \textbf{0.6300} & {\scriptsize$\,\pm\,$0.0027} & \textbf{0.1900} & {\scriptsize$\,\pm\,$0.0027} \\
PLE & -- & \underline{0.6200} & {\scriptsize$\,\pm\,$0.0027} & \underline{0.2000} & {\scriptsize$\,\pm\,$0.0027} \\
\bottomrule
\end{tabular}
\end{table}
"""  # noqa: E501


def cell(mean: float, printed: str | None = None) -> Cell:
    return Cell(printed=printed, bold=None, measured=measured(mean), verdict="within")


def small() -> TableResult:
    """Two metrics of opposite directions, one of them printed by the paper."""
    rows = (
        row("DNN", "single", (cell(0.61, "0.6"), cell(0.21))),
        row("MM_oE", "multi", (cell(0.63, "0.625"), cell(0.19)), 1),
        row("PLE", "multi", (cell(0.62), cell(0.20)), 2),
    )
    return TableResult(
        name="small", title="Small & plain", paper="P: A paper, V", place="Table 2", columns=(CLICK, LOSS), rows=rows
    )


def lines_of(text: str, label: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"{label} &")]


def test_a_small_table_is_this_text() -> None:
    assert latex(small()) == SMALL


def test_signs_stand_behind_numbers_and_a_legend_explains_those_that_occur() -> None:
    text = latex(example())
    [mmoe, *_] = lines_of(text, r"MM\_oE")
    assert mmoe.endswith(r"\textbf{0.7346} & {\scriptsize$\,\pm\,$0.0027}$^{\dagger *}$ \\")
    click, buy, loss = text.split(r"\end{table*}")[:3]
    assert r"$^{*}$better than the best baseline, p $\leq$ 0.05" in click
    assert r"$^{a}$2 of 5 seeds." in click
    assert r"$^{\downarrow}$worse than the single-task twin" in buy
    assert r"\dagger" not in loss
    unconverged = replace(small().rows[0], cells=tuple(replace(c, converged=False) for c in small().rows[0].cells))
    assert r"$^{\ddagger}$not converged" in latex(replace(small(), rows=(unconverged, *small().rows[1:])))


def test_simulated_is_said_in_the_caption_of_simulated_data_alone() -> None:
    captions = re.findall(r"\\caption\{(.*)\}", latex(example()))
    assert len(captions) == 3
    assert ["SIMULATED DATA" in caption for caption in captions] == [True, True, False]
    assert all("SCALED: 0.01 of the published rows" in caption for caption in captions)


@pytest.mark.parametrize(
    ("metric", "numbers", "best", "second"),
    [
        ("auc", (0.7, 0.8, 0.75), {1}, {2}),
        ("logloss", (0.7, 0.8, 0.75), {0}, {2}),
        ("pcoc", (0.9, 1.05, 0.98), {2}, {1}),
        ("auc", (0.80001, 0.80002, 0.7), {0, 1}, {2}),  # equal as shown
        ("auc", (0.8, 0.8, 0.8), set[int](), set[int]()),
        ("positives", (7.0, 8.0, 9.0), set[int](), set[int]()),
    ],
)
def test_best_and_second_follow_the_direction(
    metric: str, numbers: Sequence[float], best: set[int], second: set[int]
) -> None:
    column = replace(CLICK, metric=metric)
    rows = tuple(row(f"row {place}", "", (cell(number),), place) for place, number in enumerate(numbers))
    text = latex(replace(small(), columns=(column,), rows=rows))
    found = [lines_of(text, f"row {place}")[0] for place in range(3)]
    assert {place for place in range(3) if r"\textbf" in found[place]} == best
    assert {place for place in range(3) if r"\underline" in found[place]} == second


def many(datasets: int, columns: int, label: str = "MMoE") -> TableResult:
    heads = tuple(
        TableColumn(dataset=f"Set {place}", task=f"task_{task}", metric="auc")
        for place in range(datasets)
        for task in range(columns)
    )
    return replace(small(), columns=heads, rows=(row(label, "", tuple(cell(0.7) for _ in heads)),))


@pytest.mark.parametrize(
    ("datasets", "columns", "floats"),
    [
        (1, 2, ["table"]),
        (2, 1, ["table"]),
        (3, 2, ["table"] * 3),
        (4, 1, ["table"] * 2),
        (2, 5, ["table*"] * 2),
        (1, 12, ["table"] * 4),
    ],
)
def test_width_decides_how_a_table_is_divided(datasets: int, columns: int, floats: list[str]) -> None:
    text = latex(many(datasets, columns))
    assert re.findall(r"\\begin\{(table\*?)\}", text) == floats
    assert len(set(re.findall(r"\\label\{(.*)\}", text))) == len(floats)
    numbers = [line.count("0.7000") for line in lines_of(text, "MMoE")]
    assert sum(numbers) == datasets * columns


def test_special_characters_are_escaped() -> None:
    title = 'a\\b {c} d_e 5 % #1 $x$ ~ ^ & <g> | "q"\n\nend'
    text = latex(replace(small(), title=title, footnotes=("a comment\n\\end{document}",)))
    expected = (
        r"\caption{a\textbackslash{}b \{c\} d\_e 5 \% \#1 \$x\$ \textasciitilde{} \textasciicircum{} \& "
        r"\textless{}g\textgreater{} \textbar{} ''q''  end, Ali-CCP."
    )
    assert expected in text
    assert r"% note: a comment \end{document}" in text.splitlines()


def test_a_negative_number_has_a_minus_and_nothing_run_a_dash() -> None:
    empty = Cell(printed="-0.1", bold=None, measured=None, verdict="not run")
    rows = (Row(label="A", group="", cells=(empty,)), row("B", "", (cell(-0.5),)))
    text = latex(replace(small(), columns=(CLICK,), rows=rows))
    assert lines_of(text, "A") == [r"A & $-$0.1\phantom{000} & -- &  \\"]
    assert lines_of(text, "B") == [r"B & -- & $-$0.5000 & {\scriptsize$\,\pm\,$0.0027} \\"]


def compiled(folder: Path, results: Sequence[TableResult]) -> str:
    """LaTeX's log of a two-column paper with these tables."""
    program = next(filter(shutil.which, ("pdflatex", "tectonic")), None)
    if program is None:
        pytest.skip("neither pdflatex nor tectonic is on PATH")
    for result in results:
        (folder / f"{result.name}.tex").write_text(latex(result))
    inputs = "\n".join(rf"\input{{{result.name}}}\clearpage" for result in results)
    (folder / "paper.tex").write_text(DOCUMENT % inputs)
    options = ["-interaction=nonstopmode", "-halt-on-error"] if program == "pdflatex" else ["--keep-logs"]
    done = subprocess.run([program, *options, "paper.tex"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    return (folder / "paper.log").read_text(encoding="utf-8", errors="replace")


def test_made_up_tables_compile_within_their_columns(tmp_path: Path) -> None:
    shapes = [replace(many(*shape), name=f"many{shape[0]}x{shape[1]}") for shape in ((1, 2), (3, 2), (2, 5), (1, 12))]
    log = compiled(tmp_path, [example(), small(), *shapes])
    assert "Overfull" not in log
    assert not [line for line in log.splitlines() if line.startswith("!")]


def test_the_shipped_studies_compile_within_their_columns(tmp_path: Path) -> None:
    found = [read_stored(path) for path in sorted(RESULTS.glob("mechanism_*.json"))]
    results = [result for result in found if isinstance(result, TableResult)]
    assert len(results) == 10
    assert "Overfull" not in compiled(tmp_path, results)


def test_a_hostile_label_is_text() -> None:
    assert EVIL not in latex(example()).replace("% not run: " + EVIL, "")
