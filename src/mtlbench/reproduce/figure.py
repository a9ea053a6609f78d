"""Definition of a figure, from ``conf/figure``: its runs, and the function that measures it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, with_config

from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.targets import import_object
from mtlbench.reproduce.table import Paper, RowSpec, Table
from mtlbench.reproduce.table_file import load_table, parsed


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """The keys of a figure's YAML.

    ``sweep`` is a list of axes; every combination of points, one per axis, is a row, whose label is `label` of the
    points' names and whose overrides are those of all points. Instead, ``table`` names a table whose runs are used.
    """

    title: str
    paper: Paper
    place: str
    draws: str
    notes: list[str]
    profile: str = "default"
    seeds: int = 0
    seeds_note: str = ""
    datasets: dict[str, list[str]] = field(default_factory=dict)
    rows: list[RowSpec] = field(default_factory=list)
    sweep: list[dict[str, list[str]]] = field(default_factory=list)
    table: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure to reproduce.

    Attributes:
        name: name of its file.
        title, paper, place: title, paper, and place in the paper.
        draws: function that measures panels, claims and findings on the runs, see `mtlbench.reproduce.figures`.
        profile: the common settings of its runs.
        seeds: runs per row and data set; ``seeds_note`` explains the number.
        datasets: overrides by the paper's name of a data set; empty if the figure needs no runs.
        rows: the rows to run; those of the sweep come last.
        sweep: names of the points of each axis.
        table: the table whose runs are used, if the figure has no runs of its own.
        notes: footnotes.
    """

    name: str
    title: str
    paper: Paper
    place: str
    draws: Callable[..., Any]
    profile: str
    seeds: int
    seeds_note: str
    datasets: Mapping[str, list[str]]
    rows: tuple[RowSpec, ...]
    sweep: tuple[tuple[str, ...], ...]
    table: Table | None
    notes: tuple[str, ...]


def label(*points: str) -> str:
    """Label of the row with these points of a sweep."""
    return "/".join(points)


def figure_names(folder: Path) -> list[str]:
    """Names of the figures in ``conf/figure``, in natural order."""
    return sorted((path.stem for path in folder.glob("[!_]*.yaml")), key=_by_number)


def read_figure(folder: Path, name: str) -> Figure:
    """A figure from ``<folder>/<name>.yaml``.

    Raises:
        ConfigError: the figure does not exist, or its file is inconsistent.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"no figure '{name}'; allowed: {', '.join(figure_names(folder))}")
    file = parsed(path, _File)
    rows = (*file.rows, *_swept(file.sweep))
    table = None if file.table is None else load_table(folder.parent / "table", file.table)
    _check_consistency(path, file, rows)
    runs = table or file
    return Figure(
        name=name,
        title=file.title,
        paper=file.paper,
        place=file.place,
        draws=_drawing(path, file.draws),
        profile=runs.profile,
        seeds=runs.seeds,
        seeds_note=runs.seeds_note,
        datasets=runs.datasets,
        rows=rows if table is None else table.rows,
        sweep=tuple(map(tuple, file.sweep)),
        table=table,
        notes=(*file.notes, *(() if table is None else table.notes)),
    )


def _by_number(name: str) -> tuple[str, int]:
    start = name.rstrip("0123456789")
    return start, int(name[len(start) :] or 0)


def _swept(axes: list[dict[str, list[str]]]) -> list[RowSpec]:
    """A row for every combination of points, one per axis."""
    return [
        RowSpec(
            label=label(*(name for name, _ in points)),
            overrides=[override for _, overrides in points for override in overrides],
        )
        for points in product(*(axis.items() for axis in axes))
        if points
    ]


def _drawing(path: Path, name: str) -> Callable[..., Any]:
    try:
        return import_object(name, "draws")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _check_consistency(path: Path, file: _File, rows: tuple[RowSpec, ...]) -> None:
    labels = [row.label for row in rows]
    if twice := sorted({name for name in labels if labels.count(name) > 1}):
        raise ConfigError(f"{path}: row named more than once: {', '.join(twice)}")
    if file.table is not None and (rows or file.datasets or file.seeds):
        raise ConfigError(f"{path}: the runs are those of table {file.table}; remove rows, sweep, datasets and seeds")
    if bool(rows) != bool(file.datasets) or bool(rows) != (file.seeds > 0):
        raise ConfigError(
            f"{path}: {len(rows)} rows, {len(file.datasets)} data sets, {file.seeds} seeds; allowed: at least one of "
            "each, or none of all in a figure that needs no runs"
        )
