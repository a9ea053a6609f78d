"""A table of a paper as files say it: which rows and columns, how each is run, and what the paper prints there."""

import csv
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from omegaconf import OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.plain import read_plain
from mtlbench.report.result import Column

Keys = TypeVar("Keys")

LOWER_IS_BETTER = ("logloss", "logloss_sum", "logloss_weighted", "ne", "ece", "parameters")
PRIVATE = ("alipay", "xiaomi")
"""Data sets that nobody outside their owners has; what runs under these names is simulated."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class RowSpec:
    """A row: its label in the table, the group it belongs to, and the overrides that make its runs."""

    label: str
    overrides: list[str]
    group: str = ""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimSpec:
    """Rows that a paper says to be better than others, in one metric, on some data sets and tasks (default: all)."""

    text: str
    better: list[str]
    than: list[str]
    metric: str
    datasets: list[str] | None = None
    tasks: list[str] | None = None


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class Paper:
    """Where a table stands."""

    name: str
    title: str
    venue: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Printed:
    """A printed number: its digits as text, whether it is bold (``None``: not known), a remark.

    One that is no target is shown, and ours are not held against it: nobody knows what it is a number of.
    """

    text: str
    bold: bool | None
    note: str
    target: bool = True


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """The keys of a table's YAML."""

    title: str
    paper: Paper
    place: str
    profile: str
    seeds: int
    seeds_note: str
    datasets: dict[str, list[str]]
    rows: list[RowSpec]
    tolerance: dict[str, float]
    claims: list[ClaimSpec]
    twins: dict[str, str]
    baselines: list[str]
    notes: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table to reproduce.

    Attributes:
        name: of its file.
        title, paper, place: what it shows and where it stands.
        profile: the settings its runs share.
        seeds: runs per row and data set; ``seeds_note`` says why so many.
        datasets: overrides by the paper's name of a data set.
        rows, columns: the table.
        printed: by row label and column.
        tolerance: by metric, how far a measured value may be from a printed one: relative for losses and
            counts, else absolute.
        claims: who beats whom.
        twins: by row label: the row of its single-task twin; ``default`` stands for every other row.
        baselines: labels that new methods are compared with.
        notes: what else a reader must know.
    """

    name: str
    title: str
    paper: Paper
    place: str
    profile: str
    seeds: int
    seeds_note: str
    datasets: Mapping[str, list[str]]
    rows: tuple[RowSpec, ...]
    columns: tuple[Column, ...]
    printed: Mapping[tuple[str, Column], Printed]
    tolerance: Mapping[str, float]
    claims: tuple[ClaimSpec, ...]
    twins: Mapping[str, str]
    baselines: tuple[str, ...]
    notes: tuple[str, ...]

    def twin(self, label: str) -> str | None:
        """Label of a row's single-task twin, if it has one."""
        twin = self.twins.get(label, self.twins.get("default"))
        return None if twin == label else twin


def distinct(columns: Sequence[Column]) -> list[Column]:
    """One column for each data set, task and metric, in their order: a mean and a best are of the same runs."""
    chosen: dict[tuple[str, str, str], Column] = {}
    for column in columns:
        key = (column.dataset, column.task, column.metric)
        if key not in chosen or column.statistic == "mean":
            chosen[key] = column
    return list(chosen.values())


def table_names(folder: Path) -> list[str]:
    """Names of the tables in ``conf/table``."""
    return sorted(path.stem for path in folder.glob("[!_]*.yaml"))


def read_table(folder: Path, name: str) -> Table:
    """A table from ``<folder>/<name>.yaml`` and ``<folder>/printed/<name>.csv``.

    Raises:
        ConfigError: no such table, or files that contradict themselves or each other.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"no table '{name}'; there are: {', '.join(table_names(folder))}")
    file = parsed(path, _File)
    printed = _printed(folder / "printed" / f"{name}.csv")
    labels = [row.label for row in file.rows]
    columns = tuple(dict.fromkeys(column for _, column in printed))
    _refuse_strangers(path, file, labels, columns, {row for row, _ in printed})
    table = {key: getattr(file, key) for key in _File.__dataclass_fields__ if key not in ("rows", "claims", "notes")}
    return Table(
        **{**table, "baselines": tuple(file.baselines)},
        name=name,
        rows=tuple(file.rows),
        columns=columns,
        printed=printed,
        claims=tuple(file.claims),
        notes=tuple(file.notes),
    )


def parsed(path: Path, keys: type[Keys]) -> Keys:
    """The content of a YAML file as a dataclass of its keys.

    Raises:
        ConfigError: a key is missing, unknown or of the wrong type.
    """
    values = OmegaConf.to_container(read_plain(path))
    try:
        return TypeAdapter(keys).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: {place}: {first['msg']}") from error


def _printed(path: Path) -> dict[tuple[str, Column], Printed]:
    """Printed numbers by row label and column; a column has as many digits as its longest number, four without any."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(line for line in file if not line.startswith("#")))
    digits: dict[tuple[str, ...], int] = {}
    keys = [tuple(line[key] for key in ("dataset", "task", "metric", "statistic")) for line in lines]
    for key, line in zip(keys, lines, strict=True):
        if line["value"]:
            digits[key] = max(digits.get(key, 0), len(line["value"].partition(".")[2]))
    printed: dict[tuple[str, Column], Printed] = {}
    for key, line in zip(keys, lines, strict=True):
        dataset, task, metric, statistic = key
        if statistic not in ("mean", "best"):
            raise ConfigError(f"{path}: statistic is '{statistic}'; allowed: mean, best")
        column = Column(
            dataset=dataset,
            task=task,
            metric=metric,
            statistic=typing.cast(Literal["mean", "best"], statistic),
            higher_is_better=metric not in LOWER_IS_BETTER,
            digits=digits.get(key, 4),
        )
        if (line["row"], column) in printed:
            raise ConfigError(f"{path}: row '{line['row']}' has two numbers under '{column.name}'")
        bold = {"1": True, "0": False, "": None}[line["bold"]]
        target = line.get("target", "") != "0"
        printed[line["row"], column] = Printed(text=line["value"], bold=bold, note=line["note"], target=target)
    return printed


def _refuse_strangers(
    path: Path, file: _File, labels: list[str], columns: tuple[Column, ...], rows_printed: set[str]
) -> None:
    """Refuse names that stand in one place and not in the other."""
    named = {
        "rows of the printed numbers": rows_printed,
        "claims": {label for claim in file.claims for label in (*claim.better, *claim.than)},
        "twins": {*file.twins.values(), *(set(file.twins) - {"default"})},
        "baselines": set(file.baselines),
    }
    for what, found in named.items():
        if strange := sorted(found - set(labels)):
            raise ConfigError(f"{path}: {what} name {', '.join(strange)}; rows are {', '.join(labels)}")
    if strange := sorted({column.dataset for column in columns} - set(file.datasets)):
        known = ", ".join(file.datasets)
        raise ConfigError(f"{path}: no overrides for data set {', '.join(strange)}; there are some for {known}")
    if idle := sorted(set(file.datasets) - {column.dataset for column in columns}):
        raise ConfigError(f"{path}: no number is printed of data set {', '.join(idle)}; its runs would serve nothing")
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ConfigError(f"{path}: row named more than once: {', '.join(twice)}")
    metrics = {column.metric for column in columns}
    if strange := sorted({claim.metric for claim in file.claims} - metrics):
        raise ConfigError(f"{path}: claims name metric {', '.join(strange)}; columns have {', '.join(sorted(metrics))}")
