"""Validates the whole configuration before any file is read."""

import inspect
import shutil
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field

from mtlbench.experiment.annotations import check_annotations
from mtlbench.experiment.build import check_node, coerce
from mtlbench.experiment.data import split_rule
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.objects import (
    build_loss_settings,
    build_ranking,
    build_settings,
    check_optimizers,
    check_scheduler,
    check_table_precision,
)
from mtlbench.experiment.own_metrics import build_own_metrics, check_selection
from mtlbench.experiment.targets import import_object
from mtlbench.experiment.vector_files import vector_files

SCALAR_KEYS = {
    "seed": Annotated[int, Field(ge=0, lt=2**63)],
    "tuned": bool | None,
    "run.data": str,
    "run.folder": str,
    "run.fresh": bool,
    "run.shard_tables": bool,
    "run.threads": Annotated[int, Field(ge=1, le=1024)] | Literal["auto"],
    "run.device": str,
    "run.name": str | None,
    "run.tags": dict[str, str | bool | int | float] | list[str] | None,
    "run.notes": str | None,
    "run.keep_scores": bool | Literal["auto"],
    "run.tracker.uri": str | None,
    "run.tracker.experiment": str | None,
    "optimizer.sparse": bool,
    "optimizer.deferred_rows": Annotated[int | None, Field(ge=1)],
    "optimizer.gate_lr": float | None,
    "optimizer.weight_decay": float | dict[Literal["embedding", "dense", "gate"], float | None] | None,
    "optimizer.table_precision": Literal["fp32", "bf16"] | None,
    "optimizer.freeze": list[Literal["embedding", "gate", "dense"]] | None,
    "dataset.name": str,
    "dataset.tasks": list[str] | None,
    "dataset.only_fields": list[str] | None,
    "dataset.without_fields": list[str] | None,
    "dataset.disjoint": list[Literal["group", "time"]],
    "dataset.one_class": Literal["fail", "note"],
    "dataset.raw": str | None,
    "dataset.min_count": Annotated[int, Field(ge=1)],
    "dataset.simulator": dict[str, Any] | None,
    "dataset.relabel": dict[str, Any] | None,
    "dataset.on_error": Literal["fail", "quarantine"],
    "dataset.source": Literal["auto", "real", "simulated"],
}
"""Keys that are not arguments of an object, so that no signature checks them."""

DATASET_KEYS = (
    "name", "reader", "tasks", "raw", "source", "on_error", "split", "disjoint", "one_class", "min_count", "metrics",
)  # fmt: skip
"""Keys that every data set's file must set."""


def check_config(config: DictConfig) -> None:
    """Validate all that needs no file: unknown arguments, wrong types, incompatible parts."""
    check_dataset_keys(config.dataset)
    split_rule(config.dataset)
    config = resolved(config)
    check_scalars(config)
    check_annotations(config)
    build_settings(config)
    build_loss_settings(config)
    check_node(config.model, "model", given={"schema"})
    check_weights(config)
    check_node(config.balancing, "balancing", given={"tasks"})
    check_node(split_rule(config.dataset), "dataset.split", given={"candidates"})
    build_ranking(config)
    build_own_metrics(config)
    check_selection(config)
    vector_files(config)
    check_optimizers(config)
    check_table_precision(config)
    check_scheduler(config)
    if config.trainer.compile and not (shutil.which("g++") or shutil.which("clang++")):
        raise ConfigError("trainer.compile=true needs a C++ compiler: apt-get install g++, or trainer.compile=false")
    if config.virtual_gradient._target_ is not None:
        check_node(config.virtual_gradient, "virtual_gradient", given=set())
        if "virtual_gradient" not in inspect.signature(import_object(config.model._target_, "model")).parameters:
            chosen = config.run.choices
            raise ConfigError(
                f"virtual_gradient={chosen.virtual_gradient}: model={chosen.model} has no gates that support "
                "it. Choose virtual_gradient=none, or a gated model, such as mmoe, mtphn, dephn or mpa_coarse."
            )


def check_dataset_keys(dataset: DictConfig) -> None:
    """Reject a data set whose file lacks required keys."""
    if missing := [key for key in DATASET_KEYS if key not in dataset]:
        raise ConfigError(
            f"the configuration of data set '{dataset.get('name')}' lacks {', '.join(missing)}. Every data set must "
            "set these; `mtlbench show dataset=census` explains them"
        )


def resolved(config: DictConfig) -> DictConfig:
    """A resolved copy, so that each reference is resolved once; rejects missing values and broken references."""
    try:
        return OmegaConf.create(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))  # pyright: ignore[reportReturnType, reportArgumentType]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error


def check_weights(config: DictConfig) -> None:
    """Reject a balancing method whose weights are set neither on the command line nor by the profile."""
    if "weights" in config.balancing and config.balancing.weights is None:
        tasks = config.dataset.tasks
        order = f" ({', '.join(tasks)}, in this order)" if tasks else ""
        weights = ",".join(["1"] * len(tasks or "ab"))
        raise ConfigError(
            f"balancing={config.run.choices.balancing} needs a weight for each task{order}, and none is set. Set "
            f"balancing.weights=[{weights}], or choose a profile that sets weights (profile=mpa)"
        )


def check_scalars(config: DictConfig) -> None:
    """Reject values of the wrong type or range at keys that are not arguments of an object."""
    if not isinstance(config.run.tracker, DictConfig):
        raise ConfigError(
            f"run.tracker={config.run.tracker}: the tracker is a group; choose it with tracker=mlflow|none"
        )
    for key, hint in SCALAR_KEYS.items():
        value = OmegaConf.select(config, key)
        coerce(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value, hint, key)
    embedding = config.optimizer.embedding
    if config.optimizer.sparse and isinstance(embedding, DictConfig) and embedding._target_ == "torch.optim.Adam":
        raise ConfigError("optimizer.sparse=true: torch's Adam takes dense gradients only; choose optimizer=lazy_adam")
