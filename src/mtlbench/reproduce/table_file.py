"""Reads a table's YAML and its printed numbers, and checks their consistency."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.plain import read_mapping
from mtlbench.metrics.names import metric
from mtlbench.report.result import Statistic, TableColumn
from mtlbench.reproduce.table import ColumnSpec, Printed, Table, TableKeys

Keys = TypeVar("Keys")


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class _File(TableKeys):
    """The keys of a table's YAML; by default, ``columns`` are those of the printed numbers, in order."""

    columns: tuple[ColumnSpec, ...] | None = None


def table_names(folder: Path) -> list[str]:
    """Names of the tables in ``conf/table``."""
    return sorted(path.stem for path in folder.glob("[!_]*.yaml"))


def load_table(folder: Path, name: str) -> Table:
    """A table from ``<folder>/<name>.yaml`` and, where a paper prints it, ``<folder>/printed/<name>.csv``.

    Raises:
        ConfigError: the table does not exist, its files are inconsistent, or it overrides where runs are stored.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"no table '{name}'; allowed: {', '.join(table_names(folder))}")
    file = _in_worlds(parsed(path, _File))
    try:
        numbers = folder / "printed" / f"{name}.csv"
        printed = _printed(numbers) if file.paper is not None or numbers.exists() else {}
        columns = _columns(file, tuple(dict.fromkeys(column for _, column in printed)))
        _check_overrides(file)
        _check_names(file, columns, {row for row, _ in printed})
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    keys: dict[str, Any] = {key.name: getattr(file, key.name) for key in fields(TableKeys)}
    keys["place"] = file.place or str(path)
    return Table(**keys, name=name, columns=columns, printed=printed)


def _in_worlds(file: _File) -> _File:
    """A file with each data set replaced by its worlds, named ``<data set>, <world>``."""
    if not file.worlds:
        return file
    names = {name: [f"{name}, {world}" for world in file.worlds] for name in file.datasets}
    columns = file.columns and tuple(
        replace(spec, datasets=[each for name in spec.datasets for each in names.get(name, [name])])
        if spec.datasets
        else spec
        for spec in file.columns
    )
    datasets = {
        f"{name}, {world}": [*words, *world_overrides]
        for name, words in file.datasets.items()
        for world, world_overrides in file.worlds.items()
    }
    return replace(file, columns=columns, datasets=datasets)


def parsed(path: Path, keys: type[Keys]) -> Keys:
    """The content of a YAML file, validated as a dataclass of its keys.

    Raises:
        ConfigError: a key is missing, unknown or of the wrong type.
    """
    values = read_mapping(path)
    try:
        return _adapter(keys).validate_python(values)
    except ValidationError as error:
        errors = error.errors()
        unknown = [each for each in errors if each["type"] == "unexpected_keyword_argument"]
        first = [*unknown, *errors][0]  # a mistyped key before the required one that it leaves out
        place = ".".join(map(str, first["loc"]))
        if unknown:
            allowed = [field.name for field in fields(_keys_at(keys, first["loc"]))]
            raise ConfigError(f"{path}: {place}: no such key; allowed: {', '.join(allowed)}") from error
        raise ConfigError(f"{path}: {place}: {first['msg']}") from error


def _keys_at(keys: Any, place: Sequence[int | str]) -> Any:
    """The dataclass whose key is at a place, such as ``("claims", 0, "margin")``."""
    for part in place[:-1]:
        if isinstance(part, str):
            keys = _dataclass_in(get_type_hints(keys)[part])
    return keys


def _dataclass_in(hint: Any) -> Any:
    """The dataclass in a type, such as ``list[Row] | None``."""
    if is_dataclass(hint):
        return hint
    return next(filter(None, map(_dataclass_in, get_args(hint))), None)


@cache  # creating one takes as long as a hundred validations
def _adapter(keys: type[Keys]) -> TypeAdapter[Keys]:
    return TypeAdapter(keys)


def _printed(path: Path) -> dict[tuple[str, TableColumn], Printed]:
    """Printed numbers by row label and column; a column has as many digits as its longest number."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(line for line in file if not line.startswith("#")))
    digits: dict[tuple[str, ...], int] = {}
    keys = [tuple(line[key] for key in ("dataset", "task", "metric", "statistic")) for line in lines]
    for key, line in zip(keys, lines, strict=True):
        if line["value"]:
            digits[key] = max(digits.get(key, 0), len(line["value"].partition(".")[2]))
    printed: dict[tuple[str, TableColumn], Printed] = {}
    for key, line in zip(keys, lines, strict=True):
        dataset, task, name, statistic = key
        if statistic not in ("mean", "best"):
            raise ValueError(f"{path.name}: statistic is '{statistic}'; allowed: mean, best")
        column = _column(dataset, task, name, statistic, digits.get(key))
        if (line["row"], column) in printed:
            raise ValueError(f"{path.name}: row '{line['row']}' has two numbers under '{column.name}'")
        bold = {"1": True, "0": False, "": None}[line["bold"]]
        target = line.get("target", "") != "0"
        printed[line["row"], column] = Printed(text=line["value"], bold=bold, note=line["note"], target=target)
    return printed


def _column(dataset: str, task: str, name: str, statistic: Statistic, digits: int | None = None) -> TableColumn:
    """A column of a known metric; without printed numbers, it has the metric's default digits."""
    about = metric(name)
    if statistic == "best" and about.better is None:
        raise ValueError(f"the best {name} is meaningless, since it describes the data; allowed statistic: mean")
    digits = about.digits if digits is None else digits
    return TableColumn(dataset=dataset, task=task, metric=name, statistic=statistic, digits=digits)


def _columns(file: _File, printed: tuple[TableColumn, ...]) -> tuple[TableColumn, ...]:
    """The columns of a table's file, or the printed ones.

    Raises:
        ValueError: a data set or metric is unknown, a column occurs twice, or a printed one is missing.
    """
    if file.columns is None:
        if not printed:
            raise ValueError("without printed numbers, columns must be given: columns: [{metric: auc, tasks: [...]}]")
        return printed
    columns = [column for spec in file.columns for column in _expanded(spec, file, printed)]
    if twice := [column.name for column in dict.fromkeys(columns) if columns.count(column) > 1]:
        raise ValueError(f"columns name {', '.join(twice)} more than once")
    if left_out := [column for column in printed if column not in columns]:
        names = ", ".join(column.name for column in left_out)
        raise ValueError(f"columns lack {names}, which the paper prints; add {{metric: {left_out[0].metric}}}")
    return tuple(columns)


def _expanded(spec: ColumnSpec, file: _File, printed: Sequence[TableColumn]) -> list[TableColumn]:
    """The columns of one entry, ordered by data set, task and statistic."""
    if unknown := sorted(set(spec.datasets or ()) - set(file.datasets)):
        raise ValueError(f"columns name data set {', '.join(unknown)}; allowed: {', '.join(file.datasets)}")
    columns: list[TableColumn] = []
    for dataset in spec.datasets or file.datasets:
        tasks = dict.fromkeys(column.task for column in printed if column.dataset == dataset and column.only_task)
        of_metric = [column for column in printed if (column.dataset, column.metric) == (dataset, spec.metric)]
        for task in spec.tasks or (tasks if metric(spec.metric).per_task else ["all"]):
            printed_columns: dict[Statistic, TableColumn] = {c.statistic: c for c in of_metric if c.task == task}
            statistics = (spec.statistic,) if spec.statistic else tuple(printed_columns) or ("mean",)
            columns += [printed_columns.get(each) or _column(dataset, task, spec.metric, each) for each in statistics]
    if not columns:
        raise ValueError(
            f"columns of {spec.metric}: no printed column has a task; give them as tasks: [...], as listed by "
            "`mtlbench show dataset=<name>`"
        )
    return columns


def _check_overrides(file: _File) -> None:
    """Check that a table does not set where its runs are stored and sent, which is up to the user.

    Raises:
        ValueError: it does.
    """
    for words in (*file.datasets.values(), *((*row.overrides, *(row.same_as or ())) for row in file.rows)):
        for word in words:
            if re.match(r"[+~]*(run|tracker|hydra)\b", word):
                raise ValueError(f"'{word}': where runs are stored and sent is set on the command line, not in a table")


def _check_names(file: _File, columns: Sequence[TableColumn], rows_printed: set[str]) -> None:
    """Check that all named rows, data sets and metrics exist, and that each data set is used.

    Raises:
        ValueError: a name is unknown, duplicate, or unused.
    """
    labels = [row.label for row in file.rows]
    named_rows = {
        "rows of the printed numbers": rows_printed,
        "claims": {label for claim in file.claims for label in (*claim.better, *claim.than)},
        "twins": {*file.twins.values(), *(set(file.twins) - {"default"})},
        "baselines": set(file.baselines),
    }
    for what, labels_used in named_rows.items():
        if unknown := sorted(labels_used - set(labels)):
            raise ValueError(f"{what} name {', '.join(unknown)}; rows are {', '.join(labels)}")
    if unknown := sorted({column.dataset for column in columns} - set(file.datasets)):
        with_overrides = ", ".join(file.datasets)
        raise ValueError(f"no overrides for data set {', '.join(unknown)}; data sets with overrides: {with_overrides}")
    if idle := sorted(set(file.datasets) - {column.dataset for column in columns}):
        raise ValueError(f"no printed number or column uses data set {', '.join(idle)}; remove it")
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"row named more than once: {', '.join(twice)}")
    metrics = {column.metric for column in columns}
    if unknown := sorted({claim.metric for claim in file.claims} - metrics):
        raise ValueError(f"claims name metric {', '.join(unknown)}; columns have {', '.join(sorted(metrics))}")
    if neutral := sorted({claim.metric for claim in file.claims if metric(claim.metric).better is None}):
        raise ValueError(
            f"claims name metric {', '.join(neutral)}, which describes the data, so that no row can be better"
        )
    for name in (*file.tolerance, *file.smallest_effect):
        metric(name)
    _check_statistics(file)


def _check_statistics(file: _File) -> None:
    """Check the keys for statistical tests.

    Raises:
        ValueError: a value is out of range, or a value needed by a claim is missing.
    """
    if wrong := {name: by for name, by in file.smallest_effect.items() if not 0 < by < float("inf")}:
        raise ValueError(f"smallest_effect is {wrong}; allowed: finite numbers above 0")
    for claim in file.claims:
        if claim.says == "no effect" and file.margin(claim.metric) is None:
            raise ValueError(
                f"a claim of no effect in {claim.metric} needs a smallest effect of interest; add "
                f"smallest_effect: {{{claim.metric}: <difference>}}"
            )
    if file.best_of is not None and file.best_of < 1:
        raise ValueError(f"best_of is {file.best_of}; allowed: 1 or more")
    if len(file.worlds) == 1:
        raise ValueError(f"worlds has only {next(iter(file.worlds))}; allowed: two or more, or none")
