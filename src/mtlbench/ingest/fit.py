"""Fits vocabularies, scales, and the moments of labels on training rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pyarrow as pa

from mtlbench.data.layout import ROWS, table_of
from mtlbench.data.numbers import Scale, fit_scale
from mtlbench.data.vocabulary import Vocabulary
from mtlbench.ingest import splits
from mtlbench.ingest.encode import ScratchColumns, Tallier, fit_vocabularies, with_slices
from mtlbench.ingest.limits import label_fields
from mtlbench.ingest.parse import Chunk, Spill, line_numbers
from mtlbench.ingest.protocol import SAMPLE_WEIGHT, RawDataset
from mtlbench.ingest.workers import Workers
from mtlbench.schema import Field, Schema, Task, in_order


@dataclass(frozen=True, slots=True)
class Fitted:
    """Vocabularies, scales and schema fitted on training rows."""

    schema: Schema
    vocabularies: dict[str, Vocabulary]
    scales: dict[str, Scale]
    sources: np.ndarray


@dataclass(frozen=True, slots=True)
class ScaleFitter:
    """Fits the scale of a number field.

    Attributes:
        chunks: of each table.
        scratch: has int32 ``uses:<table>``.
    """

    chunks: Mapping[str, Sequence[Chunk]]
    scratch: ScratchColumns

    def __call__(self, field: Field) -> Scale:
        return fit_scale(field, _parts(field, self.chunks[table_of(field)], self.scratch))


def fit(dataset: RawDataset, spill: Spill, scratch: ScratchColumns, min_count: int, workers: Workers) -> Fitted:
    """Fit vocabularies and scales on training rows, and derive the schema.

    Args:
        dataset: the data set.
        spill: the parsed files.
        scratch: has ``uses:<table>``, see `mtlbench.ingest.splits.assign`.
        min_count: values that occur less often in training rows are unknown.
        workers: count values, and fit scales.

    Raises:
        ValueError: all labels of a regression task are equal, or all rows with a label have weight 0.
    """
    unfitted = in_order(tuple(dataset.fields))
    by_table = {table: [f for f in unfitted if table_of(f) == table] for table in (ROWS, *tables_of(dataset))}
    with ExitStack() as stack:
        tallies = [
            stack.enter_context(
                closing(workers.map(Tallier(tuple(ids), scratch), spill.chunks[table], f"counting values of {table}"))
            )
            for table, table_fields in by_table.items()
            if (ids := [f for f in table_fields if f.kind == "id"])
        ]
        vocabularies = fit_vocabularies(chain.from_iterable(tallies), min_count)
    numbers = [f for f in (*chain.from_iterable(by_table.values()), *label_fields(dataset.tasks)) if f.kind == "number"]
    with closing(workers.map(ScaleFitter(spill.chunks, scratch), numbers, "fitting scales")) as results:
        scales = {f.name: scale for f, scale in zip(numbers, results, strict=True)}
    fields = tuple(
        replace(f, cardinality=vocabularies[f.vocabulary_name].cardinality) if f.kind == "id" else f for f in unfitted
    )
    sources = splits.sources(spill)
    weighted = SAMPLE_WEIGHT in spill.column_names(ROWS)
    if weighted:
        _refuse_weightless(dataset.tasks, spill, scratch)
    schema = Schema(
        fields=fields,
        tasks=tuple(_fitted_task(task, scales, spill, scratch) for task in dataset.tasks),
        group="group" in spill.extras,
        source=len(sources),
        time="time" in spill.extras,
        sample_weight=weighted,
    )
    return Fitted(schema, vocabularies, scales, sources)


def _fitted_task(task: Task, scales: Mapping[str, Scale], spill: Spill, scratch: ScratchColumns) -> Task:
    """The task with `missing` set and, for a regression task, the moments of its label over training rows.

    Raises:
        ValueError: all labels of a regression task are equal.
    """
    task = replace(task, missing=spill.unlabelled[task.label] > 0)
    if task.kind == "binary":
        return task
    mean, deviation = (float(part[0]) for part in (scales[task.label].mean, scales[task.label].deviation))
    if deviation == 0:
        place = _first_labelled(task, spill, scratch)
        found = f"is {mean:g} in all training rows, in {place}" if place else "occurs in no training row"
        raise ValueError(
            f"label '{task.label}' of regression task '{task.name}' {found}: there is nothing to learn. Remove the "
            "task, or choose another dataset.split"
        )
    return replace(task, mean=mean, deviation=deviation)


def _first_labelled(task: Task, spill: Spill, scratch: ScratchColumns) -> str | None:
    """File and line of the first training row with a label of a task."""
    for chunk in spill.chunks[ROWS]:
        for batch, used in with_slices(chunk, scratch.read(f"uses:{ROWS}", np.int32, chunk)):
            labelled = batch[task.label].is_valid().to_numpy(zero_copy_only=False) & (used > 0)
            if labelled.any():
                line = chunk.first_line + int(line_numbers(batch)[labelled.argmax()])
                return f"{chunk.source} from line {line + 1} on"
    return None


def _refuse_weightless(tasks: Sequence[Task], spill: Spill, scratch: ScratchColumns) -> None:
    """Reject a task whose labels, positives or negatives are all in training rows of weight 0.

    Raises:
        ValueError: there is such a task; the message has the task and the first of these rows.
    """
    first: dict[tuple[str, str], str] = {}
    weighs: set[tuple[str, str]] = set()
    for chunk in spill.chunks[ROWS]:
        for batch, used in with_slices(chunk, scratch.read(f"uses:{ROWS}", np.int32, chunk)):
            weight_N = batch[SAMPLE_WEIGHT].to_numpy()
            for task in tasks:
                label_N = batch[task.label].to_numpy(zero_copy_only=False)
                for what, rows in _kinds_of_label(task, label_N):
                    trained = rows & (used > 0)
                    if (weight_N[trained] > 0).any():
                        weighs.add((task.name, what))
                    elif trained.any():
                        line = chunk.first_line + int(line_numbers(batch)[trained.argmax()])
                        first.setdefault((task.name, what), f"{chunk.source}: line {line + 1}")
    for (name, what), place in first.items():
        if (name, what) not in weighs:
            raise ValueError(
                f"sample_weight is 0 in all training rows with {what} of task '{name}', the first of them {place}: "
                "there is nothing to learn. At least one needs a weight above 0. Remove the task, or choose another "
                "dataset.split"
            )


def _kinds_of_label(task: Task, label_N: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The kinds of labels that a task needs, each with a mask of the rows that have it; missing labels are NaN."""
    if task.kind == "regression":
        return [("a label", ~np.isnan(label_N))]
    return [("the label 0", label_N == 0), ("the label 1", label_N == 1)]


def _parts(field: Field, chunks: Sequence[Chunk], scratch: ScratchColumns) -> Iterator[tuple[pa.Array, np.ndarray]]:
    for chunk in chunks:
        for batch, times in with_slices(chunk, scratch.read(f"uses:{table_of(field)}", np.int32, chunk)):
            yield batch[field.name], times


def tables_of(dataset: RawDataset) -> tuple[str, ...]:
    """Names of the dimension tables, in the order of their fields."""
    return tuple(dict.fromkeys(f.table for f in in_order(tuple(dataset.fields)) if f.table is not None))
