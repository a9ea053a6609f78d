"""The data types shared by all packages: `Field`, `Task`, `Schema` and `Batch`.

All four are frozen; fields, tasks and schemas are validated on construction only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from mtlbench.checks import at_least, one_of

if TYPE_CHECKING:  # processes that read raw files import these types without torch
    import torch
    from torch import Tensor

PADDING = 0
"""The padding row of the embedding table; it is zero and never trained."""


LATER = ("kind", "mean", "deviation", "missing")
"""Attributes of a task that schemas of earlier versions do not have; that of a field is ``compress``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """An input field of a model: an id, a bag of ids, or a number (of one or several components).

    Attributes:
        name: name, unique in a schema.
        kind: ``id`` has columns of ``Batch.ids``, ``number`` has columns of ``Batch.numbers``.
        cardinality: number of rows of the embedding table, the first of them for values outside the vocabulary; 0 for
            numbers, and until `prepare` has counted.
        width: number of columns. An id field of ``width > 1`` is multi-valued and padded with `PADDING`.
        weighted: whether each id of a multi-valued field has a weight in ``Batch.weights``.
        table: dimension table of the field; ``None`` for the rows themselves.
        vocabulary: name of the vocabulary; fields with the same one share their ids. Default: the field's own.
        role: what the field describes (``user``, ``item``, ``context``, ``history``, ...), for display.
        target: for a history, the id field of the candidate with which its entries are compared (DIN).
        compress: for a number v, whether ``sign(v) ln(1 + |v|)`` is standardised instead (for long-tailed counts).
    """

    name: str
    kind: Literal["id", "number"] = "id"
    cardinality: int = 0
    width: int = 1
    weighted: bool = False
    table: str | None = None
    vocabulary: str | None = None
    role: str | None = None
    target: str | None = None
    compress: bool = False

    def __post_init__(self) -> None:
        one_of(f"field '{self.name}': kind", self.kind, ("id", "number"))
        at_least(f"field '{self.name}': width", self.width, 1)
        if self.kind == "number" and (self.cardinality or self.weighted or self.vocabulary):
            raise ValueError(f"field '{self.name}' is a number: it has no cardinality, weights or vocabulary")
        if self.kind == "id" and self.compress:
            raise ValueError(f"field '{self.name}' has compress, so it must be a number field")
        if self.target is not None and (self.kind != "id" or self.width == 1):
            raise ValueError(f"field '{self.name}' has a target, so it must be an id field of width above 1")
        if self.weighted and self.width == 1:
            raise ValueError(
                f"field '{self.name}': the weight of a single value cancels in a weighted mean; "
                "give it a width above 1, or make the value a number field"
            )

    @property
    def vocabulary_name(self) -> str:
        return self.vocabulary or self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One label to predict.

    Attributes:
        name: the task's name in metrics and tables.
        label: column of the raw data that holds the label.
        given: parent task, whose positives are the rows on which this label is observable (conversion given click).
        kind: ``binary``, a label of 0 and 1; ``regression``, a number (a watch time, a rating).
        mean, deviation: moments of a regression task's label over training rows, by which labels and predictions are
            standardised; 0 and 1 until `prepare` has fitted them.
        missing: whether the label is missing in some rows, which are masked (``Batch.observed``).
    """

    name: str
    label: str
    given: str | None = None
    kind: Literal["binary", "regression"] = "binary"
    mean: float = 0.0
    deviation: float = 1.0
    missing: bool = False

    def __post_init__(self) -> None:
        one_of(f"task '{self.name}': kind", self.kind, ("binary", "regression"))
        if self.kind == "regression" and self.given is not None:
            raise ValueError(
                f"task '{self.name}' is given '{self.given}', which multiplies probabilities, but it is a regression "
                "task. Take its `given` away"
            )

    @property
    def answer(self) -> str:
        """Name of its column of predictions: probabilities, or numbers in the label's units for a regression task."""
        return f"p_{self.name}" if self.kind == "binary" else f"predicted_{self.name}"


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The fields and tasks of rows, in the order of a `Batch`.

    Id fields precede number fields; within each kind, fields of the rows themselves come first, and fields of a
    dimension table are adjacent, so that a batch is gathered block by block.

    Attributes:
        fields: the input fields.
        tasks: the tasks, in the order of the columns of ``Batch.labels``.
        group, time: whether the rows have such a column (a user, a day); see `Batch`.
        source: number of sources (scenarios) of the rows; 0 if they have no such column.
        sample_weight: whether the rows have a weight in the losses.
    """

    fields: tuple[Field, ...]
    tasks: tuple[Task, ...]
    group: bool = False
    source: int = 0
    time: bool = False
    sample_weight: bool = False

    def __post_init__(self) -> None:
        for what, names in (("field", [f.name for f in self.fields]), ("task", [t.name for t in self.tasks])):
            if not names:
                raise ValueError(f"a schema needs at least one {what}")
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} named more than once in the schema: {', '.join(twice)}")
        self._check_fields()
        names = [task.name for task in self.tasks]
        for position, task in enumerate(self.tasks):
            if task.given is not None and task.given not in names[:position]:
                raise ValueError(f"task '{task.name}' is given '{task.given}', which is not a task before it: {names}")
            if task.given is not None and self.tasks[names.index(task.given)].kind == "regression":
                raise ValueError(
                    f"task '{task.name}' is given '{task.given}', a regression task, which has no positives"
                )

    def _check_fields(self) -> None:
        if tuple(in_order(self.fields)) != self.fields:
            raise ValueError(
                "fields are out of order: ids before numbers, rows before tables, a table's fields "
                f"together. Found {[f.name for f in self.fields]}"
            )
        sizes: dict[str, int] = {}
        for field in self.id_fields:
            at_least(f"field '{field.name}': cardinality", field.cardinality, 1)
            if sizes.setdefault(field.vocabulary_name, field.cardinality) != field.cardinality:
                raise ValueError(
                    f"field '{field.name}' has {field.cardinality} ids, but its vocabulary "
                    f"'{field.vocabulary_name}' has {sizes[field.vocabulary_name]}"
                )
        ids = [field.name for field in self.id_fields]
        for field in self.id_fields:
            if field.target is not None and field.target not in ids:
                raise ValueError(f"field '{field.name}' has the target '{field.target}', which is no id field: {ids}")

    @cached_property
    def id_fields(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.kind == "id")

    @cached_property
    def number_fields(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.kind == "number")

    @cached_property
    def slots(self) -> dict[str, range]:
        """Columns of each id field in ``Batch.ids``."""
        return _columns(self.id_fields)

    @cached_property
    def number_columns(self) -> dict[str, range]:
        """Columns of each number field in ``Batch.numbers``."""
        return _columns(self.number_fields)

    @cached_property
    def weight_columns(self) -> dict[str, range]:
        """Columns of each weighted field in ``Batch.weights``."""
        return _columns(tuple(field for field in self.id_fields if field.weighted))

    @cached_property
    def offsets(self) -> dict[str, int]:
        """First row of each id field in the embedding table, the one for unknown values."""
        first: dict[str, int] = {}
        following = PADDING + 1
        for field in self.id_fields:
            if field.vocabulary_name not in first:
                first[field.vocabulary_name] = following
                following += field.cardinality
        return {field.name: first[field.vocabulary_name] for field in self.id_fields}

    @cached_property
    def unknown_rows(self) -> tuple[int, ...]:
        """Rows of the embedding table for unknown values, one per vocabulary."""
        return tuple(sorted(set(self.offsets.values())))

    @cached_property
    def embedding_rows(self) -> int:
        """Number of rows of the common embedding table of all fields, including padding."""
        sizes = {field.vocabulary_name: field.cardinality for field in self.id_fields}
        return PADDING + 1 + sum(sizes.values())

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """Names of the dimension tables, in order of their fields."""
        return tuple(dict.fromkeys(field.table for field in self.fields if field.table is not None))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the schema, sixteen hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """Plain values; later attributes (`LATER` of a task) are left out at their defaults, to keep fingerprints."""
        values = asdict(self)
        if not self.sample_weight:
            del values["sample_weight"]
        values["fields"] = tuple(
            field if field["compress"] else {key: value for key, value in field.items() if key != "compress"}
            for field in values["fields"]
        )
        defaults = asdict(Task(name="", label=""))
        values["tasks"] = tuple(
            {key: value for key, value in task.items() if key not in LATER or value != defaults[key]}
            for task in values["tasks"]
        )
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `as_dict`; accepts lists in place of tuples, as from JSON."""
        known: dict[str, Any] = dict(values)
        known["fields"] = tuple(Field(**field) for field in values["fields"])
        known["tasks"] = tuple(Task(**task) for task in values["tasks"])
        return cls(**known)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A batch of rows; B rows, S id slots, N numbers, W weights, T tasks.

    Attributes:
        ids: int32 ``[B, S]``, rows of the embedding table (offsets applied; `PADDING` for empty slots).
        numbers: float32 ``[B, N]``, standardised on training rows.
        weights: float32 ``[B, W]`` for the slots of weighted fields, or ``None`` if no field is weighted.
        labels: float32 ``[B, T]``, 0 or 1 for a binary task, standardised for a regression task; ``None`` when only
            scoring.
        observed: bool ``[B, T]``, which labels are observed; ``None`` for all.
        group, source, time: int64 ``[B]`` if the schema has them, else ``None``; sources are numbered from 0.
        row: int64 ``[B]``, row numbers within the split.
        sample_weight: float32 ``[B]``, weights in the losses; ``None`` for 1.
    """

    ids: Tensor
    numbers: Tensor
    weights: Tensor | None
    labels: Tensor | None
    observed: Tensor | None
    group: Tensor | None
    source: Tensor | None
    time: Tensor | None
    row: Tensor
    sample_weight: Tensor | None = None

    def __len__(self) -> int:
        return self.ids.shape[0]

    def to(self, device: torch.device) -> Self:
        """The batch on another device."""
        moved = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if (value := getattr(self, f.name)) is not None
        }
        return replace(self, **moved)

    def unlabelled(self) -> Self:
        """The batch without labels, for scoring."""
        return replace(self, labels=None, observed=None, sample_weight=None)


def refuse_regression(tasks: Iterable[Task], why: str, remedy: str = "Leave it out, or choose another model") -> None:
    """Reject regression tasks where only binary tasks are supported.

    Args:
        tasks: tasks of the data set.
        why: the reason, the beginning of the message.
        remedy: what to do, the end of the message.

    Raises:
        ValueError: there are regression tasks; the message names them.
    """
    if found := [task.name for task in tasks if task.kind == "regression"]:
        raise ValueError(f"{why}; {', '.join(found)} is a regression task. {remedy}")


def refuse_missing(tasks: Iterable[Task], why: str, remedy: str = "Choose another model") -> None:
    """Reject tasks with missing labels where all labels are needed.

    Args:
        tasks: tasks of the data set.
        why: the reason, the beginning of the message.
        remedy: what to do, the end of the message.

    Raises:
        ValueError: there are such tasks; the message names them.
    """
    if found := [task.name for task in tasks if task.missing]:
        raise ValueError(f"{why}; some rows have no label of {', '.join(found)}. {remedy}, or leave these rows out")


def in_order(unordered: tuple[Field, ...]) -> list[Field]:
    """Fields in the order required by `Schema`, otherwise as given (a stable sort)."""
    tables = list(dict.fromkeys(field.table for field in unordered if field.table is not None))
    return sorted(unordered, key=lambda f: (f.kind == "number", 0 if f.table is None else 1 + tables.index(f.table)))


def _columns(owners: tuple[Field, ...]) -> dict[str, range]:
    columns: dict[str, range] = {}
    start = 0
    for field in owners:
        columns[field.name] = range(start, start + field.width)
        start += field.width
    return columns
