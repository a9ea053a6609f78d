"""The leaderboard, docs/leaderboard.md, from what the runs of the studies in conf/study measured.

    python scripts/leaderboard.py                                            writes docs/leaderboard.md
    python scripts/leaderboard.py conf/study/NAME.yaml [--as NAME] WORD...   first takes up the finished runs of a study

WORDs are those of `mtlbench reproduce`, above all dataset.raw=<folder> and run.folder=<folder>. What is taken up lies
in results/runs: what each run measured (IDENTITY.json) and its AUCs on the bootstrap draws of the test users
(IDENTITY.npz); results/studies/NAME.json lists the runs of a study. Runs kept there before stay, and count in every
study that plans them, so that machines can share the runs of a study. Claims are judged again from these files alone:
neither raw data nor weights are needed. A run that was trained twice counts as it was first kept. results/peers.json
has other programs' numbers on the same rows, from scripts/compare_kuairand.py.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from mtlbench.report.result import Claim, Row, TableResult
from mtlbench.report.text import signs, value_text
from mtlbench.reproduce.assemble import assemble
from mtlbench.reproduce.finished import Finished
from mtlbench.reproduce.sampling import Resampled
from mtlbench.reproduce.table import PRIVATE
from mtlbench.reproduce.table_file import load_table
from mtlbench.result import Metrics, Result

ROOT = Path(__file__).parents[1]
STUDIES, RESULTS, PAGE = ROOT / "conf" / "study", ROOT / "results", ROOT / "docs" / "leaderboard.md"
MARK = "<!-- written by scripts/leaderboard.py from results/: everything below -->\n"
NOTHING = "-"
CLAIM_HEADS = ("claim", "verdict", "differences", "detectable", "seeds that would decide")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A run of a study; attributes as of `Finished`."""

    row: str
    dataset: str
    seed: int
    identity: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """The runs of a study, the study, and the settings that they were made with besides its own."""

    study: str
    settings: tuple[str, ...]
    runs: tuple[Listed, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What a run measured.

    Attributes:
        choice, result, valid: see `Finished`.
        units, kind: what its AUCs were resampled over, see `Resampled`; 0 where it had kept no scores.
    """

    choice: str
    result: Result
    valid: Metrics
    units: int
    kind: Literal["groups", "rows"]


COLLECTION, STORED = TypeAdapter(Collection), TypeAdapter(Stored)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--as", dest="name", help="of the files in results; default: that of the study")
    arguments = parser.parse_intermixed_args()
    if arguments.study is not None:
        collect(arguments.study, arguments.name or arguments.study.stem, arguments.words)
    prose = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(prose + MARK + "\n" + "\n\n".join(sections()) + "\n", encoding="utf-8")


def collect(study: Path, name: str, words: Sequence[str]) -> None:
    """Keep what the finished runs of a study measured, beside those kept before, here or of another study."""
    from mtlbench.cli.compose import WITHOUT_EFFECT, compose
    from mtlbench.reproduce.check_finished import check_finished
    from mtlbench.reproduce.gather import gather
    from mtlbench.reproduce.plan import expand

    (plan,) = expand([load_table(study.parent, study.stem)], compose, words, scale=None)
    check_finished(plan)
    settings = tuple(word for word in words if not word.startswith(WITHOUT_EFFECT))
    path = RESULTS / "studies" / f"{name}.json"
    if path.exists():
        before = COLLECTION.validate_json(path.read_bytes())
        if (before.study, before.settings) != (study.stem, settings):
            raise SystemExit(
                f"{path} has runs of {before.study} with {list(before.settings)}, "
                f"not of {study.stem} with {list(settings)}: give --as another name"
            )
    new = [run for run in plan if not _place(run.identity).with_suffix(".npz").exists()]
    for run in gather(new, {}):
        _keep(run)
    runs = tuple(
        Listed(row=run.row, dataset=run.dataset, seed=run.seed, identity=run.identity)
        for run in plan
        if _place(run.identity).exists()
    )
    _write(path, Collection(study=study.stem, settings=settings, runs=runs))


def _keep(run: Finished) -> None:
    """Write what a run measured."""
    stored = Stored(
        choice=run.choice,
        result=run.result,
        valid=run.valid,
        units=run.resampled.units if run.resampled else 0,
        kind=run.resampled.kind if run.resampled else "rows",
    )
    path = _place(run.result.identity)
    _write(path, stored)
    if run.resampled:
        draws = {task: aucs.astype(np.float32) for task, aucs in run.resampled.aucs.items()}
        np.savez_compressed(path.with_suffix(".npz"), allow_pickle=False, **draws)


def _write(path: Path, content: Collection | Stored) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(content), indent=1) + "\n", encoding="utf-8")


def _place(identity: str) -> Path:
    """The file with what a run measured."""
    return RESULTS / "runs" / f"{identity}.json"


def read(path: Path) -> tuple[Collection, list[Finished]]:
    """A study's file, and its runs as they are judged."""
    kept = COLLECTION.validate_json(path.read_bytes())
    return kept, [_finished(run) for run in kept.runs]


def _finished(listed: Listed) -> Finished:
    path = _place(listed.identity)
    run = STORED.validate_json(path.read_bytes())
    resampled = None
    if run.units:
        draws: Mapping[str, np.ndarray] = np.load(path.with_suffix(".npz"))
        aucs = {task: draws[task].astype(np.float64) for task in run.result.tasks}
        resampled = Resampled(aucs=aucs, units=run.units, kind=run.kind)
    return Finished(
        row=listed.row,
        dataset=listed.dataset,
        seed=listed.seed,
        choice=run.choice,
        code=run.result.code,
        result=run.result,
        valid=run.valid,
        weights=dict.fromkeys(run.result.tasks, 1.0),
        resampled=resampled,
    )


def sections() -> list[str]:
    """The results of each study as Markdown, in the order of their names."""
    found: list[str] = []
    for path in sorted((RESULTS / "studies").glob("*.json")):
        kept, runs = read(path)
        table = load_table(STUDIES, kept.study)
        result = assemble(table, runs, scale=None, settings=kept.settings, private=PRIVATE)
        found.append(section(result, kept.settings, runs, peers(path.stem)))
    return found


def peers(name: str) -> list[dict[str, Any]]:
    """Other programs' numbers on the same rows, where they were measured."""
    path = RESULTS / "peers.json"
    every = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return every.get(name, [])


def section(
    result: TableResult, settings: Sequence[str], runs: Sequence[Finished], others: Sequence[Mapping[str, Any]]
) -> str:
    """Heading, table, claims and notes of a study."""
    other_settings = f" ({', '.join(settings)})" if settings else ""
    ran = [row for row in result.rows if row.runs]
    absent = [row.label for row in result.rows if not row.runs]
    judged = [claim for claim in result.claims if claim.verdict != "not run"]
    waiting = [claim.text for claim in result.claims if claim.verdict == "not run"]
    heads = [f"{column.task} {column.metric}" for column in result.columns]
    rows = [_row(row, result, runs) for row in ran] + [_peer(other, heads) for other in others]
    lines = [
        f"## {result.title}{other_settings}",
        "",
        *(f"**{mark}**" for mark in result.marks if not mark.startswith("OWN SETTINGS")),
        *[""] * bool(result.marks),
        f"{len(runs)} runs of `conf/study/{result.name}.yaml`; means and deviations over seeds.",
        "",
        *_table(["", *heads, "seeds", "epochs", "dense parameters"], rows),
        "",
        "\\* better than the best baseline by validation (p <= 0.05, Holm); ‡ not converged.",
        *([f"Not run yet: {', '.join(absent)}."] if absent else []),
        "",
        *(_table(CLAIM_HEADS, [_claim(claim, result.columns[0].dataset) for claim in judged]) if judged else []),
        *(["", f"Not judged yet, for want of runs: {'; '.join(waiting)}."] if waiting else []),
        "",
        *(f"- {text}" for text in result.footnotes),
    ]
    return "\n".join(lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def _peer(other: Mapping[str, Any], heads: Sequence[str]) -> list[str]:
    values = [f"{other['test'][head]:.4f}" if head in other["test"] else NOTHING for head in heads]
    return [other["label"], *values, str(other["seeds"]), NOTHING, NOTHING]


def _row(row: Row, result: TableResult, runs: Sequence[Finished]) -> list[str]:
    own = [run.result for run in runs if run.row == row.label]
    cells = [value_text(cell, column) + signs(cell) for cell, column in zip(row.cells, result.columns, strict=True)]
    epochs, size = median(each.epochs for each in own), own[0].parameters.dense
    return [row.label, *cells, str(len(own)), f"{epochs:g}", f"{size:,}"]


def _claim(claim: Claim, dataset: str) -> list[str]:
    """A judged claim: its comparisons without what all of them have in common."""
    differences = [text.replace(f", {dataset}:", "") for text in claim.evidence if re.search(r": [+-]\d", text)]
    shown = [re.sub(r"\(\d+ seeds.*?, ([^,]*)\)$", r"(\1)", text) for text in differences]
    detectable = NOTHING if claim.detectable is None else f"{claim.detectable:.4f}"
    deciding = str(claim.deciding) if claim.verdict == "undecided" and claim.deciding is not None else NOTHING
    return [claim.text, f"**{claim.verdict}**", "<br>".join(shown), detectable, deciding]


if __name__ == "__main__":
    main()
