"""The user's own metrics, from the group ``metric`` of a configuration."""

import inspect
import re
import typing
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from mtlbench.experiment.build import build, check_node
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.mistakes import mistakes
from mtlbench.experiment.targets import import_object
from mtlbench.metrics.declared import declared_metrics
from mtlbench.metrics.names import Metric, built_in, own_names
from mtlbench.metrics.own import OwnMetric
from mtlbench.metrics.predictions import UndefinedError
from mtlbench.schema import Schema, Task
from mtlbench.train.selection import selection_weights

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

TRIAL_ROWS = 64
"""Synthetic rows on which a metric is tested before training: both classes, in groups of eight."""


def build_own_metrics(config: DictConfig) -> tuple[OwnMetric, ...]:
    """The metrics of the group ``metric``; also declares their names, directions and titles.

    Raises:
        ConfigError: a name is invalid or that of a built-in metric, or a target is not an allowed function of labels
            and predictions.
    """
    node = OmegaConf.select(config, "metric") or {}
    plain = typing.cast(dict[str, Any], OmegaConf.to_container(node, resolve=True)) if len(node) else {}
    for name in plain:
        if not NAME.fullmatch(name):
            raise ConfigError(f"metric.{name}: a name must consist of letters, digits and _, and begin with a letter")
        if built_in(name) is not None:
            raise ConfigError(f"metric.{name}: '{name}' is a built-in metric. Choose another name")
    return tuple(
        _built(name, entry, node[name].function) for name, entry in declared_metrics({"metric": plain}).items()
    )


def _built(name: str, about: Metric, node: Any) -> OwnMetric:
    where = f"metric.{name}.function"
    target = import_object(node._target_, where) if isinstance(node, DictConfig) and "_target_" in node else None
    grouped = target is not None and "groups" in inspect.signature(target).parameters
    check_node(node, where, given={"labels", "predictions", *(["groups"] if grouped else [])})
    return OwnMetric(name=name, about=about, function=build(node, where), grouped=grouped)


def check_selection(config: DictConfig) -> None:
    """Reject selection of weights by a metric of another configuration, which this run does not compute.

    Raises:
        ConfigError: ``trainer.select`` names one.
    """
    select: Any = config.trainer.select
    plain = OmegaConf.to_container(select) if OmegaConf.is_config(select) else select
    names = [term.rpartition("/")[2] for term in selection_weights(typing.cast(Any, plain))]
    for name in names:
        if name in own_names() and name not in (OmegaConf.select(config, "metric") or {}):
            raise ConfigError(f"trainer.select: this run has no metric '{name}'; choose the file of the group metric")


def try_own_metrics(own: Sequence[OwnMetric], schema: Schema) -> None:
    """Call each metric once on a few synthetic rows, to find mistakes before training.

    Raises:
        ConfigError: the call fails or returns no finite number, the metric needs groups and the rows have none, or no
            task is of its kind.
    """
    for metric in own:
        where, tasks = f"metric.{metric.name}", [t for t in schema.tasks if metric.about.kind in (None, t.kind)]
        if metric.grouped and not schema.group:
            raise ConfigError(f"{where}: its function takes groups, but the rows of this data set have none")
        if not tasks:
            raise ConfigError(f"{where}: kind is {metric.about.kind}, but no task is of this kind")
        for task in {task.kind: task for task in tasks}.values():
            labels, predictions = _trial(task)
            with mistakes(f"{where}: a call with {TRIAL_ROWS} synthetic rows", any_code=True), suppress(UndefinedError):
                metric.measure(labels, predictions, np.arange(TRIAL_ROWS) // 8)


def _trial(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Synthetic labels and predictions of a task."""
    generator = np.random.default_rng(0)
    if task.kind == "binary":
        return np.arange(TRIAL_ROWS) % 2, generator.random(TRIAL_ROWS)
    labels, predictions = generator.normal(task.mean, task.deviation, (2, TRIAL_ROWS))
    return labels, predictions
