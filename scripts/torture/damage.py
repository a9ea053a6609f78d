"""Damaged files: truncated, emptied, one bit flipped, overwritten, replaced by other JSON, edited, deleted.

A damaged file is survived where every command that reads it either refuses it by name, or gives exactly what it gives
with the intact file (the damage did not matter, or was told and repaired).
"""

import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from scripts.torture.command import Ran, run
from scripts.torture.judge import LostError, Outcome, Seen, attempt, clean, done, line, names, same
from scripts.torture.place import PREPARE, TRAIN, Place, exported, numbers, points, tree

SECTOR = 512
TRAIN_ALONE = (*TRAIN, "tracker=none")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A command that reads a file, and what counts of its result.

    Attributes:
        words: ``{run}`` stands for the run's name.
        strict: the command must fail, whatever it would have given (a check, such as `doctor`).
        loose: another result is not wrong: other raw data are other data.
    """

    words: tuple[str, ...]
    view: Callable[[Path, Ran], Any]
    strict: bool = False
    loose: bool = False


@dataclass(frozen=True, kw_only=True)
class Target:
    """Files of a kind below a snapshot, and who reads them."""

    kind: str
    snapshot: str
    pattern: str
    readers: tuple[str, ...]


def shown(ran: Ran) -> list[str]:
    """Standard output without measured times."""
    return [text for text in ran.out.splitlines() if "rows/s" not in text and "memory" not in text]


def predicted(path: Path) -> dict[str, Any]:
    return pq.read_table(path).to_pydict() if path.exists() else {}


READERS = {
    "evaluate": Reader(
        words=("evaluate", "{run}", "predictions=predicted.parquet"),
        view=lambda case, ran: {"shown": shown(ran), "predicted": predicted(case / "predicted.parquet")},
    ),
    "export": Reader(words=("export", "{run}", "--to", "new", "--no-onnx"), view=lambda case, _: exported(case)),
    "train": Reader(words=TRAIN_ALONE, view=lambda case, ran: {"shown": shown(ran), "numbers": numbers(case)}),
    "train another": Reader(words=(*TRAIN_ALONE, "seed=1"), view=lambda case, _: numbers(case)),
    "list": Reader(words=("list", "runs"), view=lambda _, ran: shown(ran)),
    "sync": Reader(words=("sync",), view=lambda case, _: points(case)),
    "score": Reader(
        words=("score", "exported", "rows.parquet"), view=lambda case, _: predicted(case / "predictions.parquet")
    ),
    "score by ONNX": Reader(
        words=("score", "exported", "rows.parquet", "--onnx"),
        view=lambda case, _: predicted(case / "predictions.parquet"),
    ),
    "report": Reader(words=("report",), view=lambda case, _: tree(case, without=()).get("report.html")),
    "prepare": Reader(words=PREPARE, view=lambda case, _: tree(case / "data" / "store"), loose=True),
    "doctor": Reader(words=("doctor", "tracker=none"), view=lambda *_: None, strict=True),
}

TARGETS = (
    Target(kind="best.pt", snapshot="finished", pattern="runs/*/best.pt", readers=("evaluate", "export")),
    Target(kind="last.pt", snapshot="stopped", pattern="runs/*/last.pt", readers=("train",)),
    Target(kind="best.pt of a stopped run", snapshot="stopped", pattern="runs/*/best.pt", readers=("train",)),
    Target(
        kind="a store's rows and tables",
        snapshot="finished",
        pattern="data/store/parquet/*/*/*.arrow",
        readers=("evaluate", "train another", "doctor"),
    ),
    Target(
        kind="a store's vocabulary",
        snapshot="finished",
        pattern="data/store/parquet/*/vocabulary/*.parquet",
        readers=("export", "train another", "doctor"),
    ),
    Target(
        kind="a store's manifest",
        snapshot="finished",
        pattern="data/store/parquet/*/manifest.json",
        readers=("evaluate", "train another"),
    ),
    Target(
        kind="result.json", snapshot="finished", pattern="runs/*/result.json", readers=("train", "list", "evaluate")
    ),
    Target(kind="result.json, unsent", snapshot="unsent", pattern="runs/*/result.json", readers=("sync",)),
    Target(kind="run.json", snapshot="finished", pattern="runs/*/run.json", readers=("list", "sync", "evaluate")),
    Target(
        kind="config.yaml", snapshot="finished", pattern="runs/*/config.yaml", readers=("evaluate", "export", "sync")
    ),
    Target(kind="config.yaml, unsent", snapshot="unsent", pattern="runs/*/config.yaml", readers=("sync",)),
    Target(kind="status.json", snapshot="finished", pattern="runs/*/status.json", readers=("list", "evaluate", "sync")),
    Target(kind="metrics.jsonl, unsent", snapshot="unsent", pattern="runs/*/metrics.jsonl", readers=("sync",)),
    Target(kind="metrics.jsonl", snapshot="stopped", pattern="runs/*/metrics.jsonl", readers=("train",)),
    Target(kind="mlflow.json", snapshot="finished", pattern="runs/*/mlflow.json", readers=("sync",)),
    Target(kind="an export's artifacts", snapshot="finished", pattern="exported/artifacts/model/*", readers=("score",)),
    Target(kind="an export's MLmodel", snapshot="finished", pattern="exported/MLmodel", readers=("score",)),
    Target(kind="an export's graph", snapshot="finished", pattern="exported/model.onnx", readers=("score by ONNX",)),
    Target(kind="a table's JSON", snapshot="finished", pattern="tables/*.json", readers=("report",)),
    Target(kind="a raw file", snapshot="raw", pattern="raw/*.parquet", readers=("prepare",)),
    Target(kind="a schema", snapshot="raw", pattern="raw/schema.yaml", readers=("prepare",)),
    Target(kind="checksums.json", snapshot="finished", pattern="data/checksums.json", readers=("train",)),
)


def truncated(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(1, max(len(content), 2))]


def empty(content: bytes, draw: random.Random) -> bytes:
    return b""


def bit_flipped(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]


def garbage(content: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(len(content))


def zeroed(content: bytes, draw: random.Random) -> bytes:
    """A lost sector."""
    place = draw.randrange(0, max(len(content) - SECTOR, 1))
    return content[:place] + bytes(min(SECTOR, len(content) - place)) + content[place + SECTOR :]


def other_json(content: bytes, draw: random.Random) -> bytes:
    return draw.choice((b"{}", b"[1]", b"null", b'"text"'))


def digit_changed(content: bytes, draw: random.Random) -> bytes:
    """An edited number."""
    place = draw.choice([found.start() for found in re.finditer(rb"\d", content)] or [0])
    return content[:place] + str((int(content[place : place + 1] or b"0") + 5) % 10).encode() + content[place + 1 :]


BINARY = (truncated, empty, bit_flipped, bit_flipped, bit_flipped, garbage, zeroed, None)
TEXT = (truncated, empty, bit_flipped, garbage, other_json, digit_changed, digit_changed, None)
"""Kinds of damage, ``None`` for a deleted file; what could pass unnoticed comes more often."""


def inject(place: Place, times: int, seed: int) -> Iterator[Outcome]:
    """`times` damaged files, in turn over the kinds of files."""
    for number in range(times):
        target, draw = TARGETS[number % len(TARGETS)], random.Random(f"{seed} damage {number}")
        files = sorted((place.root / "snapshots" / target.snapshot).glob(target.pattern))
        if not files:
            raise FileNotFoundError(f"no {target.pattern} in the snapshot '{target.snapshot}'")
        file = draw.choice(files).relative_to(place.root / "snapshots" / target.snapshot)
        text = file.suffix in (".json", ".jsonl", ".yaml") or file.name == "MLmodel"
        damage = draw.choice(TEXT if text else BINARY)
        how = "deleted" if damage is None else damage.__name__.replace("_", " ")
        yield attempt(
            f"damaged: {target.kind}",
            f"{file} {how}, case {number}",
            _case,
            place,
            target,
            file,
            damage,
            draw,
        )


def _case(
    place: Place,
    target: Target,
    file: Path,
    damage: Callable[[bytes, random.Random], bytes] | None,
    draw: random.Random,
) -> Seen:
    intact = (place.root / "snapshots" / target.snapshot / file).read_bytes()
    content = intact if damage is None else damage(intact, draw)
    if damage is not None and content == intact:
        return Seen(line="the same numbers", injected=0)
    lines = []
    for name in target.readers:
        reader = READERS[name]
        expected = _expected(place, target.snapshot, name, reader)
        case = _restored(place, target.snapshot)
        if damage is None:
            (case / file).unlink()
        else:
            (case / file).write_bytes(content)
        before = set(tree(case))
        ran = clean(run(case, _words(reader, place), 120))
        if gone := sorted(before - set(tree(case)) - {str(file)}):
            raise LostError(f"{name}: {gone[0]} is gone")
        _judge(name, reader, case, ran, expected, file)
        lines.append(line(ran))
    return Seen(line=next((text for text in lines if not text.startswith("nothing")), lines[0]))


def _judge(name: str, reader: Reader, case: Path, ran: Ran, expected: Any, file: Path) -> None:
    """Refused by name, or the same result, or another one that is told."""
    told = names(ran, (file.name, file.parent.name))
    if ran.code and not told:
        raise LostError(f"{name}: neither {file.name} nor its folder is named: {line(ran)}")
    if reader.strict and not ran.code:
        raise LostError(f"{name}: finds nothing wrong")
    if ran.code == 0 and not reader.loose and not told:
        same(reader.view(case, ran), expected, f"{name}: used silently")


def _expected(place: Place, snapshot: str, name: str, reader: Reader) -> Any:
    """The result with intact files; made once."""
    if (snapshot, name) not in place.intact:
        case = _restored(place, snapshot)
        ran = done(run(case, _words(reader, place), 120))
        place.intact[snapshot, name] = reader.view(case, ran)
    return place.intact[snapshot, name]


def _restored(place: Place, snapshot: str) -> Path:
    case = place.restore(snapshot)
    if (example := case / "exported" / "example.parquet").exists():
        shutil.copy(example, case / "rows.parquet")
    return case


def _words(reader: Reader, place: Place) -> list[str]:
    return [place.run_folder.name if word == "{run}" else word for word in reader.words]
