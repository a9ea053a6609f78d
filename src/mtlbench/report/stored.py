"""Stores measured tables and figures as JSON files, from which reports can be made later without the runs."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mtlbench.metrics.names import find_metric
from mtlbench.report.figure import FigureResult
from mtlbench.report.result import TableResult

FORMAT = 4
"""Version of the file format; increased by incompatible changes. 2 added the kind. Since 3, a column's direction is
that of its metric (`mtlbench.metrics.names`), not a separate key. Since 4, *within*, *above* and *below* are
significant, and a cell may be undecided."""
READABLE = (2, 3, FORMAT)
KINDS: dict[str, type[TableResult] | type[FigureResult]] = {"table": TableResult, "figure": FigureResult}


def stored_text(result: TableResult | FigureResult) -> str:
    """A table or figure as JSON, with numbers in full precision."""
    kind = next(name for name, type_ in KINDS.items() if isinstance(result, type_))
    return json.dumps({"format": FORMAT, "kind": kind, **asdict(result)}, indent=1, ensure_ascii=False) + "\n"


def read_stored(path: Path) -> TableResult | FigureResult:
    """Read a file written by `stored_text`.

    Raises:
        ValueError: the file is damaged, is neither a table nor a figure, or has another format version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error}); {_again(path)}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; {_again(path)}") from error
    version = content.pop("format", None) if isinstance(content, dict) else None
    if version not in READABLE:
        raise ValueError(
            f"{path}: not a table or figure of format {FORMAT}, the one supported (found: {version}); {_again(path)}"
        )
    if (kind := content.pop("kind", None)) not in KINDS:
        raise ValueError(f"{path}: its kind is {kind!r}; allowed: {', '.join(KINDS)}; {_again(path)}")
    try:
        result = TypeAdapter(KINDS[kind]).validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: not a valid {kind}, {place}: {first['msg']}; {_again(path)}") from error
    columns = result.columns if isinstance(result, TableResult) else ()
    if unknown := sorted({column.metric for column in columns if find_metric(column.metric) is None}):
        raise ValueError(
            f"{path}: unknown metric {', '.join(unknown)}. If it is one of your own, name the configuration folder "
            "that has it with --config-dir"
        )
    return result


def find_stored(folder: Path, names: Sequence[str] = ()) -> tuple[list[TableResult | FigureResult], list[str]]:
    """The stored tables and figures of a folder: the named ones in the given order, or all of them.

    All are sorted by the first word of their names, the paper, with tables before figures. If no names are given, a
    file that cannot be read is skipped.

    Returns:
        The tables and figures, and the problems of skipped files.

    Raises:
        ValueError: no file can be read, or a named one is missing or cannot be read.
    """
    available = sorted(path.stem for path in folder.glob("*.json"))
    if not available:
        raise ValueError(
            f"{folder} holds no tables or figures (*.json); "
            f"mtlbench reproduce <name> --to {shlex.quote(str(folder))} writes them"
        )
    if unknown := [name for name in names if name not in available]:
        raise ValueError(f"{folder} has no table or figure {', '.join(unknown)}; allowed: {', '.join(available)}")
    if names:
        return [read_stored(folder / f"{name}.json") for name in names], []
    results: list[TableResult | FigureResult] = []
    problems: list[str] = []
    for name in available:
        try:
            results.append(read_stored(folder / f"{name}.json"))
        except ValueError as error:
            problems.append(str(error))
    if not results:
        raise ValueError("\n".join([f"{folder}: none of its *.json can be read as a table or figure", *problems]))
    return sorted(results, key=_by_paper), problems


def _by_paper(result: TableResult | FigureResult) -> tuple[str, bool, str]:
    return result.name.partition("_")[0], isinstance(result, FigureResult), result.name


def _again(path: Path) -> str:
    command = shlex.join(["mtlbench", "reproduce", path.stem, "--to", str(path.parent)])
    return f"{command} writes it again without repeating finished runs"
