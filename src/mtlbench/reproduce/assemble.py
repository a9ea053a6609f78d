"""Assembles a table from finished runs: printed and measured numbers, comparisons, verdicts, footnotes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from mtlbench.metrics.names import metric
from mtlbench.report.result import (
    ALPHA,
    COMPARED,
    Cell,
    Comparison,
    Cost,
    Measured,
    Row,
    TableColumn,
    TableResult,
    Verdict,
)
from mtlbench.reproduce import statistics
from mtlbench.reproduce.claim import MIXED, evaluate_claim, paired_runs
from mtlbench.reproduce.converged import UNCONVERGED, all_converged, compared_runs, convergence_notes, without_verdict
from mtlbench.reproduce.finished import (
    Finished,
    banners,
    carried_over,
    checkpoint_rules,
    listed,
    origins,
    same_test_rows,
)
from mtlbench.reproduce.sampling import sampling_of
from mtlbench.reproduce.table import Table, distinct
from mtlbench.reproduce.values import Draws, Values, measured_values, missing_reason, resampled_runs
from mtlbench.reproduce.verdict import cell_verdict, tolerance_text

Spreads = Mapping[tuple[str, TableColumn], Measured]


def assemble(
    table: Table, runs: Sequence[Finished], *, scale: float | None, settings: Sequence[str], private: Sequence[str]
) -> TableResult:
    """Assemble the table from the runs finished so far.

    Args:
        table: the table's definition.
        runs: its finished runs.
        scale, settings: see `banners`.
        private: configurations of data sets that were never published.
    """
    values, draws = measured_values(table, runs), resampled_runs(table, runs)
    table_statistics = _Found(
        spreads={key: statistics.spread(by_seed, key[1].about) for key, by_seed in values.items() if by_seed},
        obstacles={dataset: _obstacle(table, dataset, runs, scale, private) for dataset in table.datasets},
        draws=draws,
        comparisons={column: _comparisons(table, column, values, draws, runs) for column in table.columns},
        negative={column: _negative_transfers(table, column, values, draws) for column in table.columns},
    )
    notes = _Footnotes()
    rows: list[Row] = []
    for spec in table.rows:
        row_runs = [run for run in runs if run.row == spec.label]
        cells = tuple(_cell(table, spec.label, column, table_statistics, row_runs, notes) for column in table.columns)
        rows.append(
            Row(
                label=spec.label,
                group=spec.group,
                cells=cells,
                runs=tuple(map(listed, row_runs)),
                costs=_costs(row_runs),
            )
        )
    _general_notes(table, runs, any(cell.negative_transfer for row in rows for cell in row.cells), notes)
    ranked, left_out = _ranked(table, table_statistics.spreads)
    if left_out:
        notes.number(f"out of the average rank, for want of runs: {', '.join(left_out)}")
    if sampling_note := _sampling_note(table, values, draws):
        notes.number(sampling_note)
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
            without_verdict(
                evaluate_claim(claim, table, values, draws, table_statistics.obstacles),
                compared_runs(claim, table, runs),
            )
            for claim in table.claims
        ),
        agreement={column.name: _agreement(table, column, table_statistics.spreads) for column in table.columns},
        ranks=statistics.average_ranks(ranked),
        footnotes=tuple(notes.texts),
        marks=banners(runs, scale, settings),
        summary=_summary(rows),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Statistics of a table, by row and column, by data set, by column and row, and by column."""

    spreads: Spreads
    obstacles: Mapping[str, Verdict | None]
    draws: Draws
    comparisons: Mapping[TableColumn, Mapping[str, Comparison]]
    negative: Mapping[TableColumn, Collection[str]]


def _cell(
    table: Table, label: str, column: TableColumn, found: _Found, runs: Sequence[Finished], notes: "_Footnotes"
) -> Cell:
    cell_runs = [run for run in runs if run.dataset == column.dataset]
    printed, measured = table.printed.get((label, column)), found.spreads.get((label, column))
    own_notes = [printed.note] if printed is not None and printed.note else []
    if measured is not None and len(measured.values) < table.seeds:
        own_notes.append(f"{len(measured.values)} of {table.seeds} seeds")
    if measured is None and (lack := missing_reason(cell_runs, column)) is not None:
        own_notes.append(lack)
    baseline = found.spreads.get((table.single_task_baseline(label) or "", column))
    drawn = found.draws.get((label, column), {})
    seeds = () if measured is None else measured.seeds
    converged = all_converged(cell_runs) if cell_runs else None
    obstacle = found.obstacles[column.dataset] or (UNCONVERGED if converged is False else None)
    return Cell(
        printed=printed.text if printed is not None and printed.text else None,
        bold=None if printed is None else printed.bold,
        measured=measured,
        verdict=cell_verdict(
            column,
            printed,
            measured,
            table.tolerance,
            obstacle,
            ran=bool(cell_runs),
            sampling=sampling_of(column.task, [drawn.get(seed) for seed in seeds]),
            best_of=table.best_of or table.seeds,
        ),
        comparison=found.comparisons[column].get(label),
        gain=_gain(column, measured, baseline),
        negative_transfer=label in found.negative[column],
        footnotes=tuple(notes.number(text) for text in own_notes),
        converged=converged,
    )


def _gain(column: TableColumn, measured: Measured | None, baseline: Measured | None) -> float | None:
    """Relative gain over the single-task baseline in per cent; a best is compared over equally many runs."""
    if measured is None or baseline is None or column.about.better is None:
        return None
    both = (measured, baseline)
    numbers = [each.mean for each in both]
    if column.statistic == "best":
        runs = min(len(each.values) for each in both)
        numbers = [statistics.expected_best(each.values, runs, column.about) for each in both]
    return statistics.gain(*map(column.about.score, numbers))


def _comparisons(
    table: Table, column: TableColumn, values: Values, draws: Draws, runs: Sequence[Finished]
) -> dict[str, Comparison]:
    """Compare every new method with the baseline that is best on validation data, Holm-corrected within the column.

    The baseline with the best test score would be selected for its luck on the test split, and too hard to beat.
    """
    if column.about.better is None:
        return {}
    scores = {
        label: fmean(run.validation_score(column.metric, column.only_task) for run in row_runs)
        for label in table.baselines
        if values[label, column]
        and (row_runs := [run for run in runs if (run.row, run.dataset) == (label, column.dataset)])
    }
    if not scores:
        return {}
    best = max(scores, key=lambda label: scores[label])
    best_of_row = {spec.label: best for spec in table.rows if spec.label not in table.baselines}
    return {
        label: Comparison(
            against=best,
            difference=comparison.mean,
            t_test=comparison.t_test,
            wilcoxon=comparison.wilcoxon,
            better=comparison.better > 0,
        )
        for label, comparison in _compared(column, best_of_row, values, draws).items()
    }


def _negative_transfers(table: Table, column: TableColumn, values: Values, draws: Draws) -> set[str]:
    """Rows significantly worse than their single-task baselines (paired test, Holm-corrected within the column)."""
    if column.about.better is None or column.about.constant:
        return set()
    baselines = {spec.label: table.single_task_baseline(spec.label) for spec in table.rows}
    pairs = {label: baseline for label, baseline in baselines.items() if baseline is not None}
    differences = _compared(column, pairs, values, draws)
    return {label for label, each in differences.items() if each.significant and each.better < 0}


def _compared(
    column: TableColumn, against: Mapping[str, str], values: Values, draws: Draws
) -> dict[str, statistics.Difference]:
    """Comparisons of rows with other rows in a column, for pairs with a common seed."""
    pairs = {label: paired_runs(label, other, column, values, draws) for label, other in against.items()}
    pairs = {label: pair for label, pair in pairs.items() if pair.common}
    return dict(zip(pairs, statistics.compare(column.about, [[pair] for pair in pairs.values()]), strict=True))


def _sampling_note(table: Table, values: Values, draws: Draws) -> str | None:
    """A footnote that says whether tests of AUCs include the sampling of test users, by data set."""
    units: dict[str, str | None] = {}
    for (label, column), by_seed in values.items():
        if column.metric == "auc" and by_seed:
            row_draws = [draws[label, column].get(seed) for seed in by_seed]
            sampling = sampling_of(column.task, row_draws)
            units[column.dataset] = None if sampling is None else units.get(column.dataset, sampling.units)
    if not units:
        return None
    parts = [f"{dataset}: {'seeds only' if of is None else f'seeds and {of}'}" for dataset, of in units.items()]
    return f"tests of AUCs count the spread over {'; '.join(parts)}"


def _obstacle(
    table: Table, dataset: str, runs: Sequence[Finished], scale: float | None, private: Sequence[str]
) -> Verdict | None:
    """Why measured numbers of a data set are not comparable with printed ones, or ``None``."""
    dataset_runs = [run for run in runs if run.dataset == dataset]
    if len({run.result.data for run in dataset_runs}) > 1 and not (
        table.inputs_differ and same_test_rows(dataset_runs)
    ):
        return MIXED
    if any(run.choice in private for run in dataset_runs):
        return "not comparable: private data"
    if any(run.result.origin == "simulated" for run in dataset_runs):
        return "not comparable: simulated"
    return "not comparable: scaled" if scale is not None else None


def _agreement(table: Table, column: TableColumn, spreads: Spreads) -> float | None:
    """Kendall's tau between the paper's ranking of rows and ours."""
    compared = column.about.compared
    ours = {label: compared(m.for_column(column)) for (label, other), m in spreads.items() if other == column}
    printed = {
        label: compared(float(cell.text))
        for (label, other), cell in table.printed.items()
        if other == column and cell.text
    }
    return statistics.agreement(ours, printed)


def _ranked(table: Table, spreads: Spreads) -> tuple[list[dict[str, float]], list[str]]:
    """Scores by row in the columns over which ranks are averaged, and the rows excluded because of missing runs.

    The columns are those of AUCs, or all if there are none; a mean and a best of the same AUC count once. A row is
    excluded if it lacks a seed that another row has, since a mean over the runs that did not fail would be too good.
    """
    directed = [column for column in distinct(table.columns) if column.about.better is not None]
    columns = [column for column in directed if column.metric == "auc"] or directed
    scores: dict[TableColumn, dict[str, float]] = {column: {} for column in columns}
    left_out: dict[str, str] = {}
    for column in columns:
        spread_of_row = {label: measured for (label, other), measured in spreads.items() if other == column}
        all_seeds = {seed for measured in spread_of_row.values() for seed in measured.seeds}
        for label, measured in spread_of_row.items():
            if missing := all_seeds - set(measured.seeds):
                left_out.setdefault(
                    label, f"{label} ({column.dataset}: {len(all_seeds) - len(missing)} of {len(all_seeds)})"
                )
            else:
                scores[column][label] = column.about.score(measured.for_column(column))
    return list(scores.values()), list(left_out.values())


def _costs(runs: Sequence[Finished]) -> tuple[Cost, ...]:
    """Costs of the runs, one entry per data set."""
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
    for text in (
        *checkpoint_rules(runs),
        *origins(runs, inputs_differ=table.inputs_differ),
        *carried_over(runs),
        *unconverged,
        *unknown,
    ):
        notes.number(text)
    if negative:
        notes.number(
            f"negative transfer: worse than the single-task twin, p <= {ALPHA} (paired t-test, Holm-corrected within "
            "the column)"
        )
    for better, text in (("lower", "lower is better"), ("near one", "near 1 is better; distances are compared")):
        if names := sorted({column.metric for column in table.columns if metric(column.metric).better == better}):
            notes.number(f"{text}: {', '.join(names)}")


def _summary(rows: Sequence[Row]) -> str:
    cells = [cell for row in rows for cell in row.cells]
    ran = [cell for cell in cells if cell.verdict != "not run"]
    compared = [cell for cell in ran if cell.verdict in COMPARED]
    within, undecided = (sum(cell.verdict == kind for cell in compared) for kind in ("within", "undecided"))
    if not ran:
        return f"none of {len(cells)} cells was run"
    text = f"{len(ran)} of {len(cells)} cells were run"
    if all(cell.printed is None for cell in cells):
        return text
    if not compared:
        return f"{text}; none is comparable"
    text = f"{text}; {within} of {len(compared)} are within tolerance of the paper"
    return f"{text}, {undecided} undecided" if undecided else text


class _Footnotes:
    """Numbered footnotes, without duplicates."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, text: str) -> int:
        """Index of a text, from 0; a new text is added."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text)
