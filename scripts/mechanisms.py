"""The mechanism table, docs/mechanisms.md, from what the studies conf/study/mechanism_*.yaml measured.

    python scripts/mechanisms.py                       writes the table from results/
    python scripts/mechanisms.py tables/mechanism_*    first takes up tables that `mtlbench reproduce` wrote (.json)

What is taken up lies in results/, so that the table can be made again, and its statistics computed anew, by anyone.
Everything in it is SIMULATED.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev

from mtlbench.report.result import Claim, Row, TableResult
from mtlbench.report.stored import read_stored, stored_text
from mtlbench.reproduce.table import ClaimSpec, Table
from mtlbench.reproduce.table_file import load_table

ROOT = Path(__file__).parents[1]
STUDIES, RESULTS, PAGE = ROOT / "conf" / "study", ROOT / "results", ROOT / "docs" / "mechanisms.md"
MARK = "<!-- written by scripts/mechanisms.py from results/: everything below -->\n"
HEADS = (
    "mechanism", "part: on, off", "AUC off, planted", "planted: on - off", "better there", "removed: on - off",
    "better there too", "no effect there", "converged", "dense parameters on, off",
)  # fmt: skip
SHORT = {"withheld: not converged": "withheld"}


def main(files: Sequence[str]) -> None:
    for path in map(Path, files):
        if path.suffix == ".json":
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / path.name).write_text(stored_text(read_stored(path)), encoding="utf-8")
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
        yield [
            f"`{result.name.removeprefix('mechanism_')}`",
            f"{planted[0].text.partition(':')[0]}: {on}, {off}",
            " ".join(f"{fmean(values):.4f}" for values in _values(table, result, off, "Planted") if values),
            _differences(table, result, planted[0]),
            _verdict(planted[1]),
            _differences(table, result, removed[0]),
            _verdict(removed[1]),
            _verdict(equal[1]),
            _converged(result, (on, off)),
            ", ".join(f"{_dense(result, label):,}" for label in (on, off)),
        ]


def _values(table: Table, result: TableResult, label: str, dataset: str) -> list[list[float]]:
    """AUCs of a row by task, in each world of a data set that was run."""
    found: dict[str, list[float]] = {}
    for column, cell in zip(result.columns, _row(result, label).cells, strict=True):
        if table.without_world(column.dataset) == dataset and cell.measured is not None:
            found.setdefault(column.task, []).append(cell.measured.mean)
    return list(found.values())


def _differences(table: Table, result: TableResult, claim: ClaimSpec) -> str:
    """Mean and standard deviation over worlds of the difference, by task."""
    assert claim.datasets is not None
    on, off = (_values(table, result, label, claim.datasets[0]) for label in (claim.better[0], claim.than[0]))
    texts: list[str] = []
    for ours, theirs in zip(on, off, strict=False):
        if len(ours) == len(theirs) > 1:
            found = [one - other for one, other in zip(ours, theirs, strict=True)]
            texts.append(f"{fmean(found):+.4f} ± {stdev(found):.4f}")
    return "; ".join(texts) or "not run"


def _verdict(claim: Claim) -> str:
    """A verdict, and the difference that would have been found with a probability of 0.8."""
    text = SHORT.get(claim.verdict, claim.verdict)
    return text if claim.detectable is None else f"{text} ({claim.detectable:.4f})"


def _converged(result: TableResult, labels: Sequence[str]) -> str:
    """Runs of two rows that converged, of those that were made."""
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
