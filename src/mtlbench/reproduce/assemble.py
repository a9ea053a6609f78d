"""Assembles a table from finished runs: numbers beside printed ones, comparisons, verdicts, footnotes."""

import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from mtlbench.metrics.names import metric
from mtlbench.report.result import ALPHA, Cell, Comparison, Cost, Measured, Row, TableColumn, TableResult, Verdict
from mtlbench.reproduce import statistics
from mtlbench.reproduce.claim import MIXED, evaluate_claim
from mtlbench.reproduce.converged import UNCONVERGED, all_converged, compared_runs, convergence_notes, withheld
from mtlbench.reproduce.finished import Finished, banners, carried_over, checkpoint_rules, listed, origins
from mtlbench.reproduce.table import Table, distinct
from mtlbench.reproduce.values import Values, measured_values, missing_reason
from mtlbench.reproduce.verdict import cell_verdict, tolerance_text

Spreads = Mapping[tuple[str, TableColumn], Measured]


def assemble(
    table: Table, runs: Sequence[Finished], *, scale: float | None, settings: Sequence[str], private: Sequence[str]
) -> TableResult:
    """The table as far as its runs go.

    Args:
        table: what the paper prints and how it is run.
        runs: finished ones.
        scale, settings: see `banners`.
        private: choices of data sets that were never published.
    """
    values = measured_values(table, runs)
    found = _Found(
        spreads={key: statistics.spread(by_seed, key[1].about) for key, by_seed in values.items() if by_seed},
        obstacles={dataset: _obstacle(dataset, runs, scale, private) for dataset in table.datasets},
        comparisons={column: _comparisons(table, column, values) for column in table.columns},
        negative={column: _negative_transfers(table, column, values) for column in table.columns},
    )
    notes = _Footnotes()
    rows: list[Row] = []
    for spec in table.rows:
        own = [run for run in runs if run.row == spec.label]
        cells = tuple(_cell(table, spec.label, column, found, own, notes) for column in table.columns)
        rows.append(
            Row(label=spec.label, group=spec.group, cells=cells, runs=tuple(map(listed, own)), costs=_costs(own))
        )
    _general_notes(table, runs, any(cell.negative_transfer for row in rows for cell in row.cells), notes)
    return TableResult(
        name=table.name,
        title=table.title,
        paper="a study of one's own"
        if (paper := table.paper) is None
        else f"{paper.name}: {paper.title}, {paper.venue}",
        place=table.place,
        columns=table.columns,
        rows=tuple(rows),
        claims=tuple(
            withheld(evaluate_claim(claim, table.columns, values, found.obstacles), compared_runs(claim, runs))
            for claim in table.claims
        ),
        agreement={column.name: _agreement(table, column, found.spreads) for column in table.columns},
        ranks=_ranks(table, found.spreads),
        footnotes=tuple(notes.texts),
        marks=banners(runs, scale, settings),
        summary=_summary(rows),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Statistics of a table: by row and column, by data set, by column and row, by column."""

    spreads: Spreads
    obstacles: Mapping[str, Verdict | None]
    comparisons: Mapping[TableColumn, Mapping[str, Comparison]]
    negative: Mapping[TableColumn, Collection[str]]


def _cell(
    table: Table, label: str, column: TableColumn, found: _Found, runs: Sequence[Finished], notes: "_Footnotes"
) -> Cell:
    own = [run for run in runs if run.dataset == column.dataset]
    printed, measured = table.printed.get((label, column)), found.spreads.get((label, column))
    own_notes = [printed.note] if printed is not None and printed.note else []
    if measured is not None and len(measured.values) < table.seeds:
        own_notes.append(f"{len(measured.values)} of {table.seeds} seeds")
    if measured is None and (lack := missing_reason(own, column)) is not None:
        own_notes.append(lack)
    baseline = found.spreads.get((table.single_task_baseline(label) or "", column))
    gain = None
    if measured is not None and baseline is not None and column.about.better is not None:
        gain = statistics.gain(*(column.about.score(each.for_column(column)) for each in (measured, baseline)))
    converged = all_converged(own) if own else None
    obstacle = found.obstacles[column.dataset] or (UNCONVERGED if converged is False else None)
    return Cell(
        printed=printed.text if printed is not None and printed.text else None,
        bold=None if printed is None else printed.bold,
        measured=measured,
        verdict=cell_verdict(column, printed, measured, table.tolerance, obstacle, ran=bool(own)),
        comparison=found.comparisons[column].get(label),
        gain=gain,
        negative_transfer=label in found.negative[column],
        footnotes=tuple(notes.number(text) for text in own_notes),
        converged=converged,
    )


def _comparisons(table: Table, column: TableColumn, values: Values) -> dict[str, Comparison]:
    """Every row that is no baseline against the best baseline, Holm-corrected within the column."""
    if column.about.better is None:
        return {}
    scores = {
        label: sum(map(column.about.score, by_seed.values())) / len(by_seed)
        for label in table.baselines
        if (by_seed := values[label, column])
    }
    if not scores:
        return {}
    best = max(scores, key=lambda label: scores[label])
    others = {spec.label: best for spec in table.rows if spec.label not in table.baselines}
    return {
        label: Comparison(
            against=best, difference=found.mean, t_test=found.t_test, wilcoxon=found.wilcoxon, better=found.better > 0
        )
        for label, found in _compared(column, others, values).items()
    }


def _negative_transfers(table: Table, column: TableColumn, values: Values) -> set[str]:
    """Rows that are worse than their single-task baselines by a paired test, Holm-corrected within the column."""
    if column.about.better is None or column.about.constant:
        return set()
    baselines = {spec.label: table.single_task_baseline(spec.label) for spec in table.rows}
    pairs = {label: baseline for label, baseline in baselines.items() if baseline is not None}
    found = _compared(column, pairs, values)
    return {label for label, each in found.items() if each.significant and each.better < 0}


def _compared(column: TableColumn, against: Mapping[str, str], values: Values) -> dict[str, statistics.Difference]:
    """Rows compared with others in a column, where the two have a seed in common."""
    pairs = {
        label: (ours, theirs)
        for label, other in against.items()
        if set(ours := values[label, column]) & set(theirs := values[other, column])
    }
    return dict(zip(pairs, statistics.compare(column.about, list(pairs.values())), strict=True))


def _obstacle(dataset: str, runs: Sequence[Finished], scale: float | None, private: Sequence[str]) -> Verdict | None:
    """Why the measured numbers of a data set cannot be compared with printed ones."""
    own = [run for run in runs if run.dataset == dataset]
    if len({run.result.data for run in own}) > 1:
        return MIXED
    if any(run.choice in private for run in own):
        return "not comparable: private data"
    if any(run.result.origin == "simulated" for run in own):
        return "not comparable: simulated"
    return "not comparable: scaled" if scale is not None else None


def _agreement(table: Table, column: TableColumn, spreads: Spreads) -> float | None:
    """Kendall's tau between the paper's order of rows and ours."""
    compared = column.about.compared
    ours = {label: compared(m.for_column(column)) for (label, other), m in spreads.items() if other == column}
    printed = {
        label: compared(float(cell.text))
        for (label, other), cell in table.printed.items()
        if other == column and cell.text
    }
    return statistics.agreement(ours, printed)


def _ranks(table: Table, spreads: Spreads) -> dict[str, float]:
    """Average rank over the AUC columns, or over all if there are none; a mean and a best of one AUC count once."""
    directed = [column for column in distinct(table.columns) if column.about.better is not None]
    columns = [column for column in directed if column.metric == "auc"] or directed
    scores: dict[TableColumn, dict[str, float]] = {column: {} for column in columns}
    for (label, column), measured in spreads.items():
        if column in scores:
            scores[column][label] = column.about.score(measured.for_column(column))
    return statistics.average_ranks(list(scores.values()))


def _costs(runs: Sequence[Finished]) -> tuple[Cost, ...]:
    """What the runs took, one entry per data set."""
    costs = []
    for dataset in dict.fromkeys(run.dataset for run in runs):
        results = [run.result for run in runs if run.dataset == dataset]
        costs.append(
            Cost(
                dataset=dataset,
                parameters=results[0].parameters.dense,
                embedding_parameters=results[0].parameters.embedding,
                peak_memory_mb=median(result.peak_memory_mb for result in results),
                rows_per_second=median(result.rows_per_second for result in results),
                seconds=median(result.seconds for result in results),
                seconds_to_best=median(result.seconds_to_best for result in results),
            )
        )
    return tuple(costs)


def _general_notes(table: Table, runs: Sequence[Finished], negative: bool, notes: "_Footnotes") -> None:
    why = f": {table.seeds_note}" if table.seeds_note else ""
    notes.number(f"{table.seeds} seed{'s' * (table.seeds > 1)} per cell{why}")
    if table.tolerance and any(cell.text for cell in table.printed.values()):
        used = {column.metric for column in table.columns}
        notes.number(tolerance_text({name: by for name, by in table.tolerance.items() if name in used}))
    for text in table.notes:
        notes.number(text)
    unconverged, unknown = convergence_notes(runs)
    for text in (*checkpoint_rules(runs), *origins(runs), *carried_over(runs), *unconverged, *unknown):
        notes.number(text)
    if negative:
        notes.number(
            f"negative transfer: worse than the single-task twin, p <= {ALPHA} (paired t-test by seed, Holm-corrected "
            "within the column)"
        )
    for better, text in (("lower", "lower is better"), ("near one", "near 1 is better; distances are compared")):
        if names := sorted({column.metric for column in table.columns if metric(column.metric).better == better}):
            notes.number(f"{text}: {', '.join(names)}")


def _summary(rows: Sequence[Row]) -> str:
    cells = [cell for row in rows for cell in row.cells]
    ran = [cell for cell in cells if cell.verdict != "not run"]
    compared = [cell for cell in ran if cell.verdict in typing.get_args(Verdict)[:3]]
    within = sum(cell.verdict == "within" for cell in compared)
    if not ran:
        return f"none of {len(cells)} cells was run"
    text = f"{len(ran)} of {len(cells)} cells were run"
    if not compared:
        return f"{text}; none is comparable"
    return f"{text}; {within} of {len(compared)} are within tolerance of the paper"


class _Footnotes:
    """Footnotes by number, each text once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, text: str) -> int:
        """Place of a text, counted from 0; it is added if it is new."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text)
