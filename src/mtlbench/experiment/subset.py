"""Selection of a run's tasks and fields: ``dataset.tasks``, ``only_fields``, ``without_fields``."""

from collections.abc import Sequence

from omegaconf import DictConfig

from mtlbench.data.subset import Subset
from mtlbench.experiment.errors import ConfigError
from mtlbench.ingest.protocol import RawDataset
from mtlbench.schema import Field, Task

KEYS = ("only_fields", "without_fields")
"""Keys that select fields; they do not affect the prepared data."""


def chosen_subset(dataset: DictConfig, reader: RawDataset, tasks: tuple[Task, ...]) -> Subset | None:
    """The selected tasks and fields; ``None`` if all are selected.

    Args:
        dataset: the data set's part of the configuration.
        reader: the reader of its raw files.
        tasks: all tasks of the data set.

    Raises:
        ConfigError: a name is unknown, tasks are in another order, a history lacks its target, or nothing is left.
    """
    kept_tasks = _tasks(dataset, tasks)
    kept_fields = _fields(dataset, reader.fields) if any(dataset.get(key) for key in KEYS) else None
    if kept_tasks is None and kept_fields is None:
        return None
    return Subset(
        tasks=kept_tasks or tuple(task.name for task in tasks),
        fields=kept_fields or tuple(field.name for field in reader.fields),
    )


def _tasks(dataset: DictConfig, tasks: tuple[Task, ...]) -> tuple[str, ...] | None:
    names = [task.name for task in tasks]
    selected = names if dataset.tasks is None else list(dataset.tasks)
    subset = [name for name in names if name in selected]
    if not subset or selected != subset:
        raise ConfigError(
            f"dataset.tasks is {selected}, but '{dataset.name}' has the tasks {names}. Set dataset.tasks to some of "
            "these, or all, in this order, which is also the order of per-task weights"
        )
    return None if subset == names else tuple(subset)


def _fields(dataset: DictConfig, fields: Sequence[Field]) -> tuple[str, ...] | None:
    only, without = ([str(name) for name in dataset.get(key) or ()] for key in KEYS)
    names = [field.name for field in fields]
    for key, selected in zip(KEYS, (only, without), strict=True):
        if unknown := [name for name in selected if name not in names]:
            raise ConfigError(
                f"dataset.{key}: '{dataset.name}' has no field {', '.join(unknown)}; allowed: {', '.join(names)}"
            )
    subset = [name for name in names if name not in without and (not only or name in only)]
    if not subset:
        raise ConfigError(f"dataset.without_fields leaves no field of {', '.join(only or names)}")
    for field in fields:
        if field.name in subset and field.target is not None and field.target not in subset:
            raise ConfigError(
                f"dataset.{KEYS[0 if only else 1]}: field '{field.name}' is a history of '{field.target}', which is "
                f"excluded; keep both, or exclude '{field.name}' too"
            )
    return None if subset == names else tuple(subset)
