"""Measured tables as JSON files, so that reports can be made of them later, elsewhere, without any run."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mtlbench.report.result import TableResult

FORMAT = 1
"""Of the files; it rises when a reader of today could misunderstand what is written tomorrow."""


def stored_text(result: TableResult) -> str:
    """A table as JSON, every number in full."""
    return json.dumps({"format": FORMAT, **asdict(result)}, indent=1, ensure_ascii=False) + "\n"


def read_stored(path: Path) -> TableResult:
    """What `stored_text` wrote.

    Raises:
        ValueError: the file is damaged, is no table, or is one of another format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no JSON ({error}); {_again(path)}") from error
    found = content.pop("format", None) if isinstance(content, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path}: no table of format {FORMAT}, which is read here (found: {found}); {_again(path)}")
    try:
        return TypeAdapter(TableResult).validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: not what a table is, {place}: {first['msg']}; {_again(path)}") from error


def find_stored(folder: Path, names: Sequence[str] = ()) -> list[TableResult]:
    """The stored tables of a folder: all of them by name, or the named ones in their order.

    Raises:
        ValueError: there is none, or a named one is missing.
    """
    there = sorted(path.stem for path in folder.glob("*.json"))
    if not there:
        raise ValueError(f"{folder} holds no tables (*.json); mtlbench reproduce <table> --to {folder} writes them")
    if strange := [name for name in names if name not in there]:
        raise ValueError(f"{folder} has no table {', '.join(strange)}; it has {', '.join(there)}")
    return [read_stored(folder / f"{name}.json") for name in names or there]


def _again(path: Path) -> str:
    return f"mtlbench reproduce {path.stem} --to {path.parent} writes it anew and runs nothing that is finished"
