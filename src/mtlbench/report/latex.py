"""Renders a measured table as LaTeX for a two-column paper: floats with caption, label and booktabs rules."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from string import ascii_lowercase

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from mtlbench.report.result import ALPHA, Cell, TableColumn, TableResult
from mtlbench.report.text import UNCONVERGED, signs

COLUMN, PAGE = 240.0, 505.0
"""Width of one printed column (3.33 in) and of a two-column page, in points."""
SEPARATION = 3.0
"""``\\tabcolsep`` in points: half of the space between two columns."""
REGULAR, BOLD = 9.4, 10.0
"""Size of STIX, in points, that is about as wide as Computer Modern at 8, the widest font of common classes."""
SYMBOLS = {"†": r"\dagger", "‡": r"\ddagger", "↓": r"\downarrow", "*": "*"}
WORSE = "↓"
"""Mark of a number with negative transfer."""
ESCAPED = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "\n": " "}
    | {"±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$", "−": "$-$", "→": r"$\to$", "×": r"$\times$"}
    | {sign: f"${symbol}$" for sign, symbol in SYMBOLS.items() if sign != "*"}
)

Columns = tuple[TableColumn, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ranked:
    """The best and second best numbers of a column, as shown; ``None`` if there is none."""

    best: str | None
    second: str | None


def latex(result: TableResult) -> str:
    """The table as one or more floats, ready for ``\\input``; needs ``booktabs``.

    The whole table is one ``table`` if it fits a printed column. Otherwise data sets are distributed over tables, as
    many side by side as fit. A data set wider than a column becomes a ``table*`` over both columns; one wider than the
    page is split by tasks, then by columns. Widths are those of text at 8 points.

    In each column the best number, after rounding and by the metric's direction, is bold and the second best
    underlined. Numbers are aligned at the decimal point: all in a column have the same number of digits, and signs have
    a separate column.
    """
    pieces = list(_pieces(result))
    lines = [rf"% {_line(text)}" for text in _comments(result)]
    for number, columns in enumerate(pieces, start=1):
        label = f"tab:{result.name}" + f"-{number}" * (len(pieces) > 1)
        lines += ["", *_float(result, columns, label)]
    return "\n".join(lines) + "\n"


def _comments(result: TableResult) -> list[str]:
    """Comments for the text around a table: source, general notes, claims."""
    of_cells = {place for row in result.rows for cell in row.cells for place in cell.footnotes}
    return [
        r"needs \usepackage{booktabs}",
        f"{result.paper}. {result.place}",
        *(f"note: {text}" for place, text in enumerate(result.footnotes) if place not in of_cells),
        *(f"{claim.verdict}{f' ({claim.condition})' * bool(claim.condition)}: {claim.text}" for claim in result.claims),
    ]


def _pieces(result: TableResult) -> Iterator[Columns]:
    """Columns of each float."""
    held: Columns = ()
    for columns in _units(result, result.columns, [lambda column: column.dataset, lambda column: column.task, id]):
        if held and _width(result, held + columns) > COLUMN:
            yield held
            held = ()
        held += columns
    if held:
        yield held


def _units(
    result: TableResult, columns: Columns, divisions: Sequence[Callable[[TableColumn], object]]
) -> Iterator[Columns]:
    """Columns grouped by data set; if wider than the page, by task, or singly."""
    if not divisions:
        yield columns
        return
    for part in _grouped(columns, divisions[0]):
        if _width(result, part) <= PAGE:
            yield part
        else:
            yield from _units(result, part, divisions[1:])


def _grouped(columns: Columns, key: Callable[[TableColumn], object]) -> Iterator[Columns]:
    return (tuple(group) for _, group in groupby(columns, key))


def _float(result: TableResult, columns: Columns, label: str) -> list[str]:
    kind = "table" if _width(result, columns) <= COLUMN else "table*"
    heads = _heads(result, columns)
    lines = [rf"\begin{{{kind}}}", r"\centering", rf"\caption{{{_caption(result, columns)}}}", rf"\label{{{label}}}"]
    lines += [r"\smallskip", r"\footnotesize", rf"\setlength{{\tabcolsep}}{{{SEPARATION:g}pt}}"]
    alignment = "".join("rr@{}l" if result.is_printed(column) else "r@{}l" for column in columns)
    lines += [rf"\begin{{tabular}}{{@{{}}l{alignment}@{{}}}}", r"\toprule"]
    for above, spans in enumerate(heads):
        lines.append(_head_line(spans))
        if above + 1 < len(heads) and (rules := _rules(spans)):
            lines.append(rules)
    lines.append(r"\midrule")
    group = result.rows[0].group
    for row, cells in zip(result.rows, _body(result, columns), strict=True):
        lines += [] if row.group == group else [r"\addlinespace"]
        group = row.group
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if legend := _legend(result, columns):
        lines.append(rf"\par\smallskip\parbox{{\linewidth}}{{\raggedright\scriptsize {legend}}}")
    return [*lines, rf"\end{{{kind}}}"]


def _caption(result: TableResult, columns: Columns) -> str:
    """Caption: what is shown, under which conditions, and the meaning of bold, underlined and *paper*."""
    datasets = list(dict.fromkeys(column.dataset for column in columns))
    texts = [f"{result.title}, {datasets[0]}" if len(datasets) == 1 else result.title, *_marks(result, datasets)]
    if seeds := [len(cell.measured.seeds) for cell in _cells(result, columns) if cell.measured is not None]:
        statistics = {column.statistic for column in columns}
        words = {"mean": "mean ± standard deviation", "best": "best run"}
        shown = " and ".join(text for statistic, text in words.items() if statistic in statistics)
        texts.append(f"{shown.capitalize()} of {max(seeds)} seeds" if max(seeds) > 1 else "One seed")
    if any(result.is_printed(column) for column in columns):
        texts.append(f"Paper: as printed in {result.place} of {result.paper.partition(':')[0]}")
    if any(_ranked(result, column).second for column in columns):
        directions = {c.about.title: c.about.better for c in columns if c.about.better in ("lower", "near one")}
        directions_text = [
            f"{title}: {'lowest' if better == 'lower' else 'nearest to 1'}" for title, better in directions.items()
        ]
        texts.append(
            "Best in bold, second best underlined" + f" ({', '.join(directions_text)})" * bool(directions_text)
        )
    return " ".join(f"{_tex(text).rstrip('.')}." for text in texts)


def _marks(result: TableResult, datasets: Sequence[str]) -> list[str]:
    """The table's marks; the mark of simulated data names data sets only if others are real."""
    simulated = {run.dataset for row in result.rows for run in row.runs if run.origin == "simulated"}
    simulated_here = [dataset for dataset in datasets if dataset in simulated]
    marks = [mark for mark in result.marks if not mark.startswith("SIMULATED DATA")]
    if not simulated_here:
        return marks
    return ["SIMULATED DATA" + f": {', '.join(simulated_here)}" * (len(simulated_here) < len(datasets)), *marks]


def _legend(result: TableResult, columns: Columns) -> str:
    """Explanations of the signs and letters used."""
    cells = _cells(result, columns)
    signs = "".join(_signs(cell) for cell in cells)
    reasons = sorted({cell.verdict.partition(": ")[2] for cell in cells if "†" in _signs(cell)})
    meanings = {
        "*": f"better than the best baseline, p ≤ {ALPHA} (paired t-test, Holm)",
        "†": f"not comparable with the printed number: {', '.join(reasons)}",
        UNCONVERGED: "not converged",
        WORSE: "worse than the single-task twin (negative transfer)",
    }
    texts = [f"$^{{{SYMBOLS[sign]}}}${_tex(text)}" for sign, text in meanings.items() if sign in signs]
    texts += [f"$^{{{_letter(place)}}}${_tex(result.footnotes[place])}" for place in _footnotes(cells)]
    return "; ".join(texts) + "." if texts else ""


def _footnotes(cells: Iterable[Cell]) -> list[int]:
    return sorted({place for cell in cells for place in cell.footnotes})


def _letter(place: int) -> str:
    """Letter of a footnote: a to z, then aa; the same in all parts of a table."""
    before = _letter(place // 26 - 1) if place >= 26 else ""
    return before + ascii_lowercase[place % 26]


# -- body


def _body(result: TableResult, columns: Columns) -> list[list[str]]:
    """Rows of cells: the label, then for each column the printed number (if any are printed), ours, and its signs."""
    places = [result.columns.index(column) for column in columns]
    ranked = [_ranked(result, column) for column in columns]
    rows: list[list[str]] = []
    for row in result.rows:
        cells = [_tex(row.label)]
        for place, column, best in zip(places, columns, ranked, strict=True):
            cell = row.cells[place]
            if result.is_printed(column):
                cells.append(_printed(cell, column))
            cells += [_number(cell, column, best), _spread(cell, column) + _superscript(cell)]
        rows.append(cells)
    return rows


def _number(cell: Cell, column: TableColumn, ranked: _Ranked) -> str:
    if cell.measured is None:
        return "--"
    text = _rounded(cell.measured.for_column(column), column)
    number = _minus(text)
    if ranked.second is not None and text == ranked.best:
        return rf"\textbf{{{number}}}"
    return rf"\underline{{{number}}}" if text == ranked.second else number


def _ranked(result: TableResult, column: TableColumn) -> _Ranked:
    """Ranks numbers as shown, with ties. There is no best of a single number, or without a direction."""
    place = result.columns.index(column)
    measured = [each for row in result.rows if (each := row.cells[place].measured) is not None]
    shown = {_rounded(each.for_column(column), column) for each in measured}
    if column.about.better is None or len(shown) < 2:
        return _Ranked(best=None, second=None)
    best, second, *_ = sorted(shown, key=lambda text: -round(column.about.score(float(text)), column.digits))
    return _Ranked(best=best, second=second)


def _rounded(value: float, column: TableColumn) -> str:
    return f"{value:.{column.digits}f}"


def _spread(cell: Cell, column: TableColumn) -> str:
    measured = cell.measured
    if measured is None or column.statistic != "mean" or measured.deviation is None:
        return ""
    return rf"{{\scriptsize$\,\pm\,${_rounded(measured.deviation, column)}}}"


def _superscript(cell: Cell) -> str:
    marks = [SYMBOLS[sign] for sign in _signs(cell)] + [",".join(map(_letter, cell.footnotes))] * bool(cell.footnotes)
    return f"$^{{{' '.join(marks)}}}$" if marks else ""


def _signs(cell: Cell) -> str:
    """Signs of a cell as in other formats, without *not comparable* if no number is printed beside it."""
    shown = signs(cell) + WORSE * cell.negative_transfer
    return shown if cell.printed is not None else shown.replace("†", "")


def _printed(cell: Cell, column: TableColumn) -> str:
    """The paper's number, padded with blanks for missing digits."""
    if cell.printed is None:
        return "--"
    missing_digits = column.digits - len(cell.printed.partition(".")[2])
    point = "." * ("." not in cell.printed and missing_digits > 0)
    blank = rf"\phantom{{{point}{'0' * missing_digits}}}" if missing_digits > 0 else ""
    return _minus(_tex(cell.printed)) + blank


def _cells(result: TableResult, columns: Columns) -> list[Cell]:
    places = [result.columns.index(column) for column in columns]
    return [row.cells[place] for row in result.rows for place in places]


# -- heads

Span = tuple[str, int]
"""Text of a heading, and the number of columns that it spans."""


def _heads(result: TableResult, columns: Columns) -> list[list[Span]]:
    """Lines of the heading: data set if several, task, metric, and paper or ours if any number is printed."""
    sizes = [3 if result.is_printed(column) else 2 for column in columns]
    datasets = [column.dataset for column in columns]
    tasks = [(column.dataset, column.task) for column in columns]
    lines = [_merged(datasets, datasets, sizes)] if len(set(datasets)) > 1 else []
    lines.append(_merged(tasks, ["" if c.only_task is None else c.task.replace("_", " ") for c in columns], sizes))
    best = [f"{column.about.title}{' (best)' * (column.statistic == 'best')}" for column in columns]
    lines.append(list(zip(best, sizes, strict=True)))
    if 3 in sizes:
        lines.append([span for size in sizes for span in ([("paper", 1), ("ours", 2)] if size == 3 else [("", 2)])])
    return [line for line in lines if any(text for text, _ in line)]


def _merged(keys: Sequence[object], texts: Sequence[str], sizes: Sequence[int]) -> list[Span]:
    """Spans of neighbouring columns with the same key."""
    groups = groupby(zip(keys, texts, sizes, strict=True), key=lambda each: each[0])
    spans = [list(group) for _, group in groups]
    return [(span[0][1], sum(size for _, _, size in span)) for span in spans]


def _head_line(spans: Iterable[Span]) -> str:
    return " & ".join(["", *(rf"\multicolumn{{{size}}}{{c}}{{{_tex(text)}}}" for text, size in spans)]).strip() + r" \\"


def _rules(spans: Iterable[Span]) -> str:
    """A rule below each heading that spans several numbers."""
    rules: list[str] = []
    first = 2
    for text, size in spans:
        if text and size > 2:
            rules.append(rf"\cmidrule(lr){{{first}-{first + size - 1}}}")
        first += size
    return "".join(rules)


# -- widths


def _width(result: TableResult, columns: Columns) -> float:
    """Width of the table in points; a heading wider than its columns widens the last of them, as in TeX."""
    parts = list(zip(*_body(result, columns), strict=True))
    widths = [max(map(_points, part)) for part in parts]
    tight = [place for place, part in enumerate(_alignment(result, columns), start=1) if part]
    gaps = [0.0 if place in tight else 2 * SEPARATION for place in range(len(widths))]
    for spans in reversed(_heads(result, columns)):
        first = 1
        for text, size in spans:
            inside = sum(widths[first : first + size]) + sum(gaps[first + 1 : first + size])
            widths[first + size - 1] += max(_points(_tex(text)) - inside, 0.0)
            first += size
    return sum(widths) + sum(gaps[1:])


def _alignment(result: TableResult, columns: Columns) -> list[bool]:
    """For every column after the labels: whether it follows the previous one without a gap."""
    return [follows for c in columns for follows in ([False] * (1 + result.is_printed(c)) + [True])]


@cache
def _points(tex: str) -> float:
    """Width of a cell, counting every command as one character."""
    plain = re.sub(r"\\(?:textbf|underline|phantom|scriptsize|,)", "", tex)
    plain = re.sub(r"\\[A-Za-z]+(?:\{\})?", "0", plain)
    plain = re.sub(r"(?<!\\)[{}$^]", "", plain).replace("\\", "")
    bold = r"\textbf" in tex
    font = FontProperties(family="STIXGeneral", size=BOLD if bold else REGULAR, weight="bold" if bold else "normal")
    return text_to_path.get_text_width_height_descent(plain, font, False)[0] if plain else 0.0


def _minus(text: str) -> str:
    return f"$-${text[1:]}" if text.startswith("-") else text


def _line(text: str) -> str:
    """Text for a LaTeX comment, on a single line."""
    return " ".join(text.split())


def _tex(text: str) -> str:
    return text.translate(ESCAPED)
