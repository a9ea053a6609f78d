"""Writes the table in docs/mechanisms.md from the results of the studies conf/study/mechanism_*.yaml.

    python scripts/mechanisms.py                       writes the table from results/
    python scripts/mechanisms.py tables/mechanism_*    first copies tables that `mtlbench reproduce` wrote (.json)

They are copied to results/, so that anyone can write the table again and recompute its statistics. Everything in it is
SIMULATED.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from mtlbench.report.result import Claim, Row, TableResult
from mtlbench.report.stored import read_stored, stored_text
from mtlbench.reproduce.table import Table
from mtlbench.reproduce.table_file import load_table

ROOT = Path(__file__).parents[1]
STUDIES, RESULTS, PAGE = ROOT / "conf" / "study", ROOT / "results", ROOT / "docs" / "mechanisms.md"
MARK = "<!-- written by scripts/mechanisms.py from results/: everything below -->\n"
HEADS = (
    "mechanism", "part: on / off", "AUC off, planted", "on - off, planted", "better there", "on - off, removed",
    "better there too", "no effect there", "planted - removed", "converged", "dense parameters",
)  # fmt: skip
SHORT = {"withheld: not converged": "withheld"}


def main(files: Sequence[str]) -> None:
    for path in map(Path, files):
        if path.suffix == ".json":
            RESULTS.mkdir(exist_ok=True)
            result = replace(read_stored(path), place=f"conf/study/{path.stem}.yaml")  # wherever the checkout was
            (RESULTS / path.name).write_text(stored_text(result), encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(f"{text}{MARK}\n{markdown()}", encoding="utf-8")


def markdown() -> str:
    """The table of everything in results/."""
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for path in sorted(RESULTS.glob("mechanism_*.json")):
        result = read_stored(path)
        assert isinstance(result, TableResult)
        lines += [f"| {' | '.join(cells)} |" for cells in rows(load_table(STUDIES, path.stem), result)]
    return "\n".join(lines) + "\n"


def rows(table: Table, result: TableResult) -> Iterator[list[str]]:
    """A row for each part that a study tests: its claims come in threes (planted, removed, no effect where removed)."""
    judged = list(zip(table.claims, result.claims, strict=True))
    for planted, removed, equal in zip(judged[::3], judged[1::3], judged[2::3], strict=True):
        on, off = planted[0].better[0], planted[0].than[0]
        there, elsewhere = (_differences(table, result, on, off, dataset) for dataset in ("Planted", "Removed"))
        yield [
            f"`{result.name.removeprefix('mechanism_')}`",
            f"{planted[0].text.partition(':')[0]}: {on} / {off}",
            " ".join(f"{fmean(values):.4f}" for values in _values(table, result, off, "Planted")),
            _spread(there),
            _verdict(planted[1]),
            _spread(elsewhere),
            _verdict(removed[1]),
            _verdict(equal[1]),
            _spread([_less(*tasks) for tasks in zip(there, elsewhere, strict=True)]),
            _converged(result, (on, off)),
            " / ".join(f"{_dense(result, label):,}" for label in (on, off)),
        ]


def _values(table: Table, result: TableResult, label: str, dataset: str) -> list[list[float]]:
    """AUCs of a row by task, in each world of a data set; NaN for a missing run."""
    found: dict[str, list[float]] = {}
    for column, cell in zip(result.columns, _row(result, label).cells, strict=True):
        if table.without_world(column.dataset) == dataset:
            found.setdefault(column.task, []).append(math.nan if cell.measured is None else cell.measured.mean)
    return list(found.values())


def _differences(table: Table, result: TableResult, on: str, off: str, dataset: str) -> list[list[float]]:
    """Differences of two rows' AUCs by task, in each world."""
    values = (_values(table, result, label, dataset) for label in (on, off))
    return [_less(*tasks) for tasks in zip(*values, strict=True)]


def _less(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(ours, theirs, strict=True)]


def _spread(differences: Sequence[Sequence[float]]) -> str:
    """Mean and standard deviation over worlds, by task."""
    return "; ".join(f"{fmean(each):+.4f} ± {stdev(each):.4f}" for each in differences)


def _verdict(claim: Claim) -> str:
    """A verdict, and the difference that is detected with a power of 0.8."""
    text = SHORT.get(claim.verdict, claim.verdict)
    return text if claim.detectable is None else f"{text} ({claim.detectable:.4f})"


def _converged(result: TableResult, labels: Sequence[str]) -> str:
    """How many of the finished runs of two rows converged."""
    found = [cell.converged for label in labels for cell in _row(result, label).cells if cell.measured is not None]
    tasks = len({column.task for column in result.columns})
    return f"{found.count(True) // tasks} of {len(found) // tasks}"


def _dense(result: TableResult, label: str) -> int:
    costs = _row(result, label).costs
    return costs[0].parameters if costs else 0


def _row(result: TableResult, label: str) -> Row:
    return next(row for row in result.rows if row.label == label)


if __name__ == "__main__":
    main(sys.argv[1:])
