"""The schema of a user's files: which columns are inputs and labels, and which files hold what."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, replace
from dataclasses import fields as dataclass_fields
from difflib import get_close_matches
from functools import cache, cached_property
from typing import Any, Literal, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mtlbench.data.layout import SPLITS
from mtlbench.ingest.protocol import KEY, LINE, ROWS
from mtlbench.schema import Field, Schema, Task, in_order

Extra = Literal["group", "source", "time"]
RESERVED = (KEY, LINE, *get_args(Extra))
"""Names that columns of a block already have."""

ROW_NUMBER = "row"
"""Column of predictions that numbers the rows of a split."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class Input:
    """An input of the models, and the columns that hold it.

    Attributes:
        name: name of the field.
        column: column of the files; default: the field's name.
        kind: ``id``, whole numbers or text that are embedded; ``number``, decimal numbers that are standardised.
        width: most entries of a list column that are kept; of a number, how many each row has.
        weights: column of lists that hold the weight of every entry; makes the field weighted.
        separator: between the entries of a list in a cell of a CSV or TSV file, ``|`` for instance.
        table: dimension table that holds the field; default: the rows.
        vocabulary: fields that name the same one share their ids and embeddings; default: the field's own.
        role: what it describes, for display: ``user``, ``item``, ``context``, ``history``, ...
        target: of a history, the id field that its entries are compared with (DIN).
        compress: of numbers, standardise sign(v) ln(1 + |v|) in place of v: for counts with a long tail.
        ids: ``text`` where ids are text even if they look like whole numbers (``007``).
    """

    name: str
    column: str | None = None
    kind: Literal["id", "number"] = "id"
    width: int = 1
    weights: str | None = None
    separator: str | None = None
    ids: Literal["text"] | None = None
    table: str | None = None
    vocabulary: str | None = None
    role: str | None = None
    target: str | None = None
    compress: bool = False

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    @property
    def source(self) -> str:
        return self.column or self.name

    @cached_property
    def field(self) -> Field:
        return Field(
            name=self.name,
            kind=self.kind,
            width=self.width,
            weighted=self.weights is not None,
            table=self.table,
            vocabulary=self.vocabulary,
            role=self.role,
            target=self.target,
            compress=self.compress,
        )


@dataclass(frozen=True, kw_only=True)
class Label:
    """A label to predict.

    Attributes:
        name: name of the task in metrics and tables.
        label: column of 0 and 1, or of numbers for a regression task; null and NaN are missing labels.
        given: task whose positive makes this label observable (a purchase, given a click).
        kind: ``binary`` or ``regression`` (a watch time, a rating).
    """

    name: str
    label: str
    given: str | None = None
    kind: Literal["binary", "regression"] = "binary"

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True)
class RowsDescription:
    """Patterns of the files that hold labelled rows, below the folder.

    Attributes:
        train: rows to train on, and to split if no other parts are given.
        valid: rows for validation, for ``split_rule: given``.
        test: rows for test, for ``split_rule: given``, ``by_train_group`` or ``halve_test``.
    """

    train: str
    valid: str | None = None
    test: str | None = None

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True)
class TableDescription:
    """A dimension table: what is stored once for many rows, such as users.

    Attributes:
        files: pattern of its files.
        key: its column of unique keys.
        pointer: column of the rows that holds these keys.
    """

    files: str
    key: str
    pointer: str

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True)
class Description:
    """All of it.

    Attributes:
        rows: patterns of the files of labelled rows; see below.
        fields: list of the inputs; see below.
        tasks: list of the labels, in order; see below.
        tables: dimension tables by name; see below.
        group: column of the rows that groups them, such as users or pages; whole numbers.
        source: column of the rows that says where they come from, such as scenarios; whole numbers.
        time: column of the rows: days, hours or windows; whole numbers or dates.
        key: column of the rows, or list of columns, that identifies a row (a request); written with predictions, not
            read by models. Whole numbers or text; unique within a part (train, valid, test).
        sample_weight: column of the rows that weighs each in the losses, sum(w * loss) / sum(w) over a batch; numbers
            of 0 or more. Metrics count rows.
        delimiter: between the cells of CSV and TSV files; default: a comma, and a tab.
    """

    rows: RowsDescription
    fields: tuple[Input, ...]
    tasks: tuple[Label, ...]
    tables: dict[str, TableDescription] = field(default_factory=dict)
    group: str | None = None
    source: str | None = None
    time: str | None = None
    key: str | tuple[str, ...] | None = None
    sample_weight: str | None = None
    delimiter: str | None = None

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    @property
    def extras(self) -> tuple[tuple[Extra, str], ...]:
        """What rows have besides inputs and labels, and the column that holds it."""
        return tuple((name, column) for name in get_args(Extra) if (column := getattr(self, name)) is not None)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that identify a row."""
        return (self.key,) if isinstance(self.key, str) else self.key or ()

    @property
    def labels(self) -> tuple[Task, ...]:
        return tuple(Task(name=task.name, label=task.label, given=task.given, kind=task.kind) for task in self.tasks)

    def inputs(self, table: str) -> Iterator[Input]:
        """Fields of the rows, or of one dimension table."""
        return (entry for entry in self.fields if (entry.table or ROWS) == table)


PARTS: dict[str, type] = {"rows": RowsDescription, "fields": Input, "tasks": Label, "tables": TableDescription}
"""The classes of the keys of a schema that hold keys themselves."""


def reference() -> str:
    """All keys of a schema, from the docstrings of the classes that hold them, as text.

    A key without a default is marked as required.
    """
    parts = [("", Description), *((f"{key}: ", kind) for key, kind in PARTS.items())]
    blocks = [[f"{key}{(kind.__doc__ or '').splitlines()[0]}", *_keys_of(kind)] for key, kind in parts]
    blocks[0][0] = "Keys of a schema (* must be there)"
    return "\n\n".join("\n".join(block) for block in blocks)


def _keys_of(kind: type) -> Iterator[str]:
    """The lines of each key."""
    _, _, attributes = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    needed = {each.name for each in dataclass_fields(kind) if each.default is each.default_factory is MISSING}
    for line in attributes.replace("``", "").splitlines():
        names, colon, what = line.strip().partition(": ")
        if line.startswith("     ") or not colon:
            yield f"  {'':14}{line.strip()}"
            continue
        for name in names.split(", "):
            yield f"  {name + '*' * (name in needed):14}{what}"


def described(content: Mapping[str, Any] | None) -> Description:
    """The description that a YAML file holds, checked as far as that is possible without the data.

    Raises:
        ValueError: nothing is described, or something that no data could fit; the message names the key.
    """
    if content is None:
        raise ValueError(
            "dataset.schema is null; name the YAML file that describes the files: dataset.schema=<file.yaml>"
        )
    try:
        description = _adapter().validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        raise ValueError(f"dataset.schema: {'; '.join(_explained(error))}") from error
    try:
        _check(description)
    except ValueError as error:
        raise ValueError(f"dataset.schema: {error}") from error
    return description


@cache  # making one takes as long as a hundred validations
def _adapter() -> TypeAdapter[Description]:
    return TypeAdapter(Description)


def _explained(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        *place, key = map(str, problem["loc"])
        where = ".".join([*place, key])
        if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            allowed = _keys_at(place)
            close = get_close_matches(key, allowed, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"allowed: {', '.join(allowed)}"
            yield f"{where}: there is no such key; {hint}"
        elif problem["type"] in ("missing", "missing_argument"):
            yield f"{where} is missing"
        else:
            yield f"{where} is {str(problem['input'])[:60]!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _keys_at(place: list[str]) -> list[str]:
    """Keys that are allowed at a place of the file."""
    return list((PARTS[place[0]] if place else Description).__dataclass_fields__)


def _check(description: Description) -> None:
    _check_names(description)
    _check_text(description)
    labels = {task.label: task.kind for task in description.tasks}
    for task in description.tasks:
        if task.kind != labels[task.label]:
            raise ValueError(f"label '{task.label}' is used by a binary and a regression task; write it as two columns")
    for entry in description.inputs(ROWS):
        if answers := {entry.source, entry.name, entry.weights} & labels.keys():
            raise ValueError(f"field '{entry.name}' reads the label '{answers.pop()}'; a model could read the answer")
        if description.sample_weight is not None and description.sample_weight in (entry.source, entry.weights):
            raise ValueError(
                f"field '{entry.name}' reads the sample weight '{description.sample_weight}', which often tells how "
                "rows were sampled by their labels. To have a model read it, write the column under a second name"
            )
    for entry in description.fields:
        if entry.table is not None and entry.table not in description.tables:
            known = ", ".join(description.tables) or "none"
            raise ValueError(f"field '{entry.name}': there is no table '{entry.table}'; tables: {known}")
    for table in description.tables:
        if not any(description.inputs(table)):
            raise ValueError(f"table '{table}' has no fields; take it out")
    _check_key(description)
    # The checks of a schema can be made before anything is counted.
    fields = tuple(replace(entry.field, cardinality=int(entry.kind == "id")) for entry in description.fields)
    Schema(fields=tuple(in_order(fields)), tasks=description.labels)


def _check_key(description: Description) -> None:
    """Key columns are in the same files as labels and predictions."""
    columns = description.key_columns
    if description.key == () or len(set(columns)) < len(columns):
        raise ValueError(f"key is {list(columns)}; allowed: one column or several different ones")
    written = {ROW_NUMBER, *(name for task in description.labels for name in (task.label, task.answer))}
    if taken := [name for name in columns if name in written]:
        raise ValueError(
            f"key '{taken[0]}': files of predictions have {', '.join(sorted(written))} already; rename that column"
        )


def _check_text(description: Description) -> None:
    """Check how cells are read."""
    if description.delimiter is not None and len(description.delimiter.encode()) != 1:
        raise ValueError(f"delimiter is {description.delimiter!r}; allowed: one ASCII character")
    for entry in description.fields:
        if entry.separator is not None and (entry.width == 1 or entry.separator == ""):
            raise ValueError(
                f"field '{entry.name}' has the separator {entry.separator!r} and width {entry.width}; allowed: one "
                "character or several, for a field of width above 1"
            )
    if numbers := [entry.name for entry in description.fields if entry.ids and entry.kind == "number"]:
        raise ValueError(f"field '{numbers[0]}' is a number and has no ids: text")


def _check_names(description: Description) -> None:
    """Check names, which become columns, files and names of metrics."""
    names = [
        *(("field", entry.name) for entry in description.fields),
        *(("task", task.name) for task in description.tasks),
        *(("table", table) for table in description.tables),
    ]
    vocabularies = [("vocabulary", entry.vocabulary) for entry in description.fields if entry.vocabulary is not None]
    for what, name in (*names, *vocabularies):
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{what} '{name}': names are letters, digits, '_', '.' and '-'; set column: to the name in the file"
            )
    for what, name in (*names, *(("label", task.label) for task in description.tasks)):
        taken = (*RESERVED, ROWS, *(SPLITS if what == "table" else ()))
        if name in taken:
            raise ValueError(f"{what} '{name}': {', '.join(taken)} are taken; choose another name")
