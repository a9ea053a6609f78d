"""Which tasks and fields of a data set a run learns from: ``dataset.tasks``, ``only_fields``, ``without_fields``."""

from collections.abc import Sequence

from omegaconf import DictConfig

from mtlbench.data.subset import Subset
from mtlbench.experiment.errors import ConfigError
from mtlbench.ingest.protocol import RawDataset
from mtlbench.schema import Field, Task

KEYS = ("only_fields", "without_fields")
"""Keys that select fields; no part of what the prepared data are."""


def chosen_subset(dataset: DictConfig, reader: RawDataset, tasks: tuple[Task, ...]) -> Subset | None:
    """The tasks and fields that are asked for; ``None`` where these are all.

    Args:
        dataset: the data set's part of the configuration.
        reader: of its raw files.
        tasks: that there are.

    Raises:
        ConfigError: an unknown name, another order of tasks, a history without its target, or nothing left.
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
    asked = names if dataset.tasks is None else list(dataset.tasks)
    kept = [name for name in names if name in asked]
    if not kept or asked != kept:
        raise ConfigError(
            f"dataset.tasks is {asked}, but '{dataset.name}' has the tasks {names}. Set dataset.tasks to these or to "
            "some of them, in this order; per-task weights use it"
        )
    return None if kept == names else tuple(kept)


def _fields(dataset: DictConfig, fields: Sequence[Field]) -> tuple[str, ...] | None:
    only, without = ([str(name) for name in dataset.get(key) or ()] for key in KEYS)
    names = [field.name for field in fields]
    for key, asked in zip(KEYS, (only, without), strict=True):
        if unknown := [name for name in asked if name not in names]:
            raise ConfigError(
                f"dataset.{key}: '{dataset.name}' has no field {', '.join(unknown)}; there are: {', '.join(names)}"
            )
    kept = [name for name in names if name not in without and (not only or name in only)]
    if not kept:
        raise ConfigError(f"dataset.without_fields leaves no field of {', '.join(only or names)}")
    for field in fields:
        if field.name in kept and field.target is not None and field.target not in kept:
            raise ConfigError(
                f"dataset.{KEYS[0 if only else 1]}: field '{field.name}' is a history of '{field.target}', which is "
                f"left out; keep both, or leave '{field.name}' out too"
            )
    return None if kept == names else tuple(kept)
