"""Finished runs become a table: numbers beside printed ones, comparisons, verdicts, footnotes."""

import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from mtlbench.report.result import LEVEL, Cell, Column, Comparison, Cost, Measured, Row, TableResult, Verdict
from mtlbench.reproduce import statistics
from mtlbench.reproduce.claim import COUNTS, MIXED, judge
from mtlbench.reproduce.finished import Finished, checkpoint_rules, listed, marks, origins
from mtlbench.reproduce.table import LOWER_IS_BETTER, Table, distinct
from mtlbench.reproduce.verdict import cell_verdict, rule
from mtlbench.result import metric_name

SUMS = ("logloss_sum", "logloss_weighted")
"""Metrics that are summed over the tasks of a run."""

BySeed = dict[int, float]
Values = dict[tuple[str, Column], BySeed]


def assemble(
    table: Table, runs: Sequence[Finished], *, scale: float | None, settings: Sequence[str], private: Sequence[str]
) -> TableResult:
    """The table as far as its runs go.

    Args:
        table: what the paper prints and how it is run.
        runs: finished ones.
        scale, settings: see `marks`.
        private: choices of data sets that were never published.
    """
    values = measured_values(table, runs)
    found = _Found(
        spreads={
            key: statistics.spread(by_seed, higher_is_better=key[1].higher_is_better)
            for key, by_seed in values.items()
            if by_seed
        },
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
        paper=f"{table.paper.name}: {table.paper.title}, {table.paper.venue}",
        place=table.place,
        columns=table.columns,
        rows=tuple(rows),
        claims=tuple(judge(claim, table.columns, values, found.obstacles) for claim in table.claims),
        agreement={column.name: _agreement(table, column, found.spreads) for column in table.columns},
        ranks=_ranks(table, found.spreads),
        footnotes=tuple(notes.texts),
        marks=marks(runs, scale, settings),
        summary=_summary(rows),
    )


def measured_values(table: Table, runs: Sequence[Finished]) -> Values:
    """By row and column: the metric of every seed that defines it."""
    values: Values = {(spec.label, column): {} for spec in table.rows for column in table.columns}
    for run in runs:
        for column in table.columns:
            if run.dataset == column.dataset and (value := metric_of(run, column)) is not None:
                values[run.row, column][run.seed] = value
    for column in table.columns:
        if column.metric == "auc_gain":
            _fill_gains(table, column, values, runs)
    return values


def metric_of(run: Finished, column: Column) -> float | None:
    """A run's value for a column, or ``None`` where the run does not define it."""
    if column.metric == "parameters":
        return float(run.result.parameters.embedding + run.result.parameters.dense)
    if column.metric in SUMS:
        total = 0.0
        for task, weight in run.weights.items():
            if (loss := run.result.test.value("logloss", task)) is None:
                return None  # a sum of the others would pass for one of all
            total += (weight if column.metric == "logloss_weighted" else 1.0) * loss
        return total
    return run.result.test.value(column.metric, None if column.task == "all" else column.task)


def _lack(runs: Sequence[Finished], column: Column) -> str | None:
    """Why finished runs have no number for a column: the reason they give, or that they know no such metric."""
    if not runs or column.metric in ("parameters", "auc_gain"):
        return None
    metrics, name = runs[0].result.test, metric_name(column.metric, None if column.task == "all" else column.task)
    if column.metric in SUMS:
        name = next(f"{task}/logloss" for task in runs[0].weights if metrics.value("logloss", task) is None)
    if reason := metrics.undefined.get(name):
        return f"test/{name} is undefined on {column.dataset}: {reason}"
    return f"{column.dataset}: runs have no test/{name}; they have {', '.join(sorted(metrics.prefixed('test').values))}"


def _fill_gains(table: Table, column: Column, values: Values, runs: Sequence[Finished]) -> None:
    """MPA's Table 3: AUC over the mean AUC of the baselines, in per cent, seed by seed."""
    areas: dict[str, BySeed] = {spec.label: {} for spec in table.rows}
    for run in runs:
        if run.dataset == column.dataset and (area := run.result.test.value("auc", column.task)) is not None:
            areas[run.row][run.seed] = area
    for label, by_seed in areas.items():
        for seed, area in by_seed.items():
            baseline = [areas[name][seed] for name in table.baselines if seed in areas[name]]
            if label not in table.baselines and len(baseline) == len(table.baselines):
                values[label, column][seed] = 100 * (area / (sum(baseline) / len(baseline)) - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What was measured: by row and column, by data set, by column and row, by column."""

    spreads: Mapping[tuple[str, Column], Measured]
    obstacles: Mapping[str, Verdict | None]
    comparisons: Mapping[Column, Mapping[str, Comparison]]
    negative: Mapping[Column, Collection[str]]


def _cell(
    table: Table, label: str, column: Column, found: _Found, runs: Sequence[Finished], notes: "_Footnotes"
) -> Cell:
    own = [run for run in runs if run.dataset == column.dataset]
    printed, measured = table.printed.get((label, column)), found.spreads.get((label, column))
    own_notes = [printed.note] if printed is not None and printed.note else []
    if measured is not None and len(measured.values) < table.seeds:
        own_notes.append(f"{len(measured.values)} of {table.seeds} seeds")
    if measured is None and (lack := _lack(own, column)) is not None:
        own_notes.append(lack)
    twin, gain = table.twin(label), None
    if twin is not None and measured is not None and (other := found.spreads.get((twin, column))) is not None:
        ours, theirs = measured.under(column), other.under(column)
        gain = statistics.gain(ours, theirs, higher_is_better=column.higher_is_better)
    return Cell(
        printed=printed.text if printed is not None and printed.text else None,
        bold=None if printed is None else printed.bold,
        measured=measured,
        verdict=cell_verdict(
            column, printed, measured, table.tolerance, found.obstacles[column.dataset], ran=bool(own)
        ),
        comparison=found.comparisons[column].get(label),
        gain=gain,
        negative_transfer=label in found.negative[column],
        footnotes=tuple(notes.number(text) for text in own_notes),
    )


def _comparisons(table: Table, column: Column, values: Values) -> dict[str, Comparison]:
    """Every row that is no baseline against the best baseline, Holm-corrected within the column."""
    sign = 1 if column.higher_is_better else -1
    means = {
        label: sign * sum(by_seed.values()) / len(by_seed)
        for label in table.baselines
        if (by_seed := values[label, column])
    }
    if not means:
        return {}
    best = max(means, key=lambda label: means[label])
    others = [
        spec.label
        for spec in table.rows
        if spec.label not in table.baselines and set(values[spec.label, column]) & set(values[best, column])
    ]
    tests = [statistics.paired(values[label, column], values[best, column]) for label in others]
    t_tests, wilcoxons = statistics.holm([t for _, t, _ in tests]), statistics.holm([w for _, _, w in tests])
    return {
        label: Comparison(against=best, difference=test[0], t_test=t, wilcoxon=w, better=sign * test[0] > 0)
        for label, test, t, w in zip(others, tests, t_tests, wilcoxons, strict=True)
    }


def _negative_transfers(table: Table, column: Column, values: Values) -> set[str]:
    """Rows that are worse than their single-task twins by a paired test, Holm-corrected within the column."""
    if column.metric in COUNTS:
        return set()
    twins = {
        spec.label: twin
        for spec in table.rows
        if (twin := table.twin(spec.label)) is not None and set(values[spec.label, column]) & set(values[twin, column])
    }
    tests = [statistics.paired(values[label, column], values[twin, column]) for label, twin in twins.items()]
    corrected = statistics.holm([p for _, p, _ in tests])
    return {
        label
        for label, (difference, _, _), p in zip(twins, tests, corrected, strict=True)
        if p is not None and p <= LEVEL and (difference < 0) == column.higher_is_better
    }


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


def _agreement(table: Table, column: Column, spreads: Mapping[tuple[str, Column], Measured]) -> float | None:
    ours = {label: measured.under(column) for (label, other), measured in spreads.items() if other == column}
    printed = {
        label: float(cell.text) for (label, other), cell in table.printed.items() if other == column and cell.text
    }
    return statistics.agreement(ours, printed)


def _ranks(table: Table, spreads: Mapping[tuple[str, Column], Measured]) -> dict[str, float]:
    """Average rank over the AUC columns, or over all if there are none; a mean and a best of one AUC count once."""
    columns = [column for column in distinct(table.columns) if column.metric == "auc"] or distinct(table.columns)
    values = [
        {label: m.under(column) for (label, other), m in spreads.items() if other == column} for column in columns
    ]
    return statistics.average_ranks(values, [column.higher_is_better for column in columns])


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
    notes.number(f"{table.seeds} seed{'s' * (table.seeds > 1)} per cell: {table.seeds_note}")
    if table.tolerance and any(cell.text for cell in table.printed.values()):
        used = {column.metric for column in table.columns}
        notes.number(rule({metric: by for metric, by in table.tolerance.items() if metric in used}))
    for text in table.notes:
        notes.number(text)
    for text in (*checkpoint_rules(runs), *origins(runs)):
        notes.number(text)
    if negative:
        notes.number(
            f"negative transfer: worse than the single-task twin, p <= {LEVEL} (paired t-test by seed, Holm-corrected "
            "within the column)"
        )
    directions = {column.metric for column in table.columns if column.metric in LOWER_IS_BETTER}
    if directions:
        notes.number(f"lower is better: {', '.join(sorted(directions))}")


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
