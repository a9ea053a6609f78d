"""Builds the objects of a run from its configuration: model, optimizers, losses, metrics, device."""

import typing
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mtlbench.data.store import Store
from mtlbench.distributed.job import alone
from mtlbench.distributed.sharded import shards_of, tables_sharded
from mtlbench.experiment.build import build, call_checked
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.mistakes import mistakes
from mtlbench.experiment.size import check_size
from mtlbench.metrics.ranking import Ranking, Top
from mtlbench.schema import Schema
from mtlbench.train.objective import LossSettings, TaskLosses
from mtlbench.train.optimizers import (
    LazyAdam,
    build_optimizers,
    check_hyper_parameters,
    check_row_by_row,
    freeze_parameters,
    parameter_groups,
    store_tables_in_bf16,
    trial_step,
)
from mtlbench.train.schedule import Schedule, SchedulerFactory
from mtlbench.train.settings import Settings


def build_model(config: DictConfig, schema: Schema) -> nn.Module:
    """The configured model, with its initial weights drawn from torch's global generator."""
    arguments: dict[str, Any] = {"schema": schema}
    if config.virtual_gradient._target_ is not None:
        if schema.sample_weight:
            raise ConfigError(
                f"virtual_gradient={config.run.choices.virtual_gradient} does not support sample weights, which this "
                "data set has: its paper compares the labels of two tasks over unweighted rows. "
                "Choose virtual_gradient=none, or remove sample_weight from the schema"
            )
        arguments["virtual_gradient"] = build(config.virtual_gradient, "virtual_gradient")()
    factory, sharded = build(config.model, "model"), bool(OmegaConf.select(config, "run.shard_tables"))
    with mistakes(f"model {config.model._target_}(schema, ...)"), tables_sharded(sharded):
        model = factory(**arguments)
    if sharded:
        check_sharded(model)
    return model


def check_sharded(model: nn.Module) -> None:
    """Reject a model with tables that cannot be sharded; does nothing in a single process."""
    if alone():
        return
    shards, tables = shards_of(model), {*parameter_groups(model, frozen=True)["embedding"]}
    if names := [name for name, p in model.named_parameters() if p in tables and p not in shards]:
        raise ConfigError(
            f"run.shard_tables=true: {type(model).__name__} has tables that cannot be sharded: {', '.join(names)}. Use "
            "mtlbench.nn.embedding.FieldEmbedding for them, or set run.shard_tables=false"
        )


def check_model_size(config: DictConfig, schema: Schema) -> None:
    """Reject a model that would not fit into memory, see `check_size`."""
    copies = check_optimizers(config)
    # A sparse gradient has the rows of a batch only.
    of_tables = copies["embedding"] + (1 if config.optimizer.sparse else 2)
    check_size(
        lambda: build_model(config, schema),
        f"model={config.run.choices.model}",
        # 6 bytes per number while a float32 table is converted to bfloat16; afterwards that table and its moments.
        embedding_copies=of_tables / 2 if tables_in_bf16(config) else of_tables,
        dense_copies=copies["dense"] + 2,
    )


def check_optimizers(config: DictConfig) -> dict[str, float]:
    """Reject optimizers whose arguments are out of range, or that cannot take a step.

    Returns:
        The size of each optimizer's state in copies of its parameters, by kind: embedding, dense, gate.
    """
    copies: dict[str, float] = {}
    for kind, node in _optimizer_nodes(config).items():
        where = f"optimizer.{kind}"
        factory = build(node, where)
        check_hyper_parameters(typing.cast(dict[str, Any], OmegaConf.to_container(node, resolve=True)), where)
        copies[kind] = trial_step(factory, where, sparse=kind == "embedding" and config.optimizer.sparse)
    return copies


def tables_in_bf16(config: DictConfig) -> bool:
    """Whether embedding tables are stored in bfloat16, see `mtlbench.nn.bf16_tables`."""
    return config.optimizer.get("table_precision") == "bf16"


def check_table_precision(config: DictConfig) -> None:
    """Reject tables in bfloat16 with an optimizer without stochastic rounding, or with several processes."""
    if not tables_in_bf16(config):
        return
    factory = build(config.optimizer.embedding, "optimizer.embedding")
    if not (isinstance(factory, partial) and isinstance(factory.func, type) and issubclass(factory.func, LazyAdam)):
        raise ConfigError(
            f"optimizer.table_precision=bf16: {config.optimizer.embedding._target_} has no stochastic rounding, "
            "without which small updates of bfloat16 weights are lost. Choose optimizer=lazy_adam, or "
            "optimizer.table_precision=fp32"
        )
    if not alone():
        raise ConfigError(
            "optimizer.table_precision=bf16 supports a single process only. Start the command without torchrun, or set "
            "optimizer.table_precision=fp32 (and run.shard_tables=true for tables that one machine cannot hold)"
        )


def build_run_optimizers(config: DictConfig, model: nn.Module) -> list[Optimizer]:
    """One optimizer for each kind of the model's parameters."""
    factories = {kind: build(node, f"optimizer.{kind}") for kind, node in _optimizer_nodes(config).items()}
    freeze_parameters(model, config.optimizer.get("freeze") or ())
    if tables_in_bf16(config):
        store_tables_in_bf16(model)
    if shards_of(model):
        check_row_by_row(factories["embedding"], "optimizer.embedding", sparse=config.optimizer.sparse)
    return build_optimizers(
        model,
        embedding=factories["embedding"],
        dense=factories["dense"],
        gate=factories.get("gate"),
        sparse=config.optimizer.sparse,
        deferred_rows=config.optimizer.get("deferred_rows"),
    )


def _optimizer_nodes(config: DictConfig) -> dict[str, DictConfig]:
    """Optimizer nodes by kind, with ``optimizer.gate_lr`` and ``optimizer.weight_decay``; gates default to dense."""
    chosen, decays = config.optimizer, config.optimizer.get("weight_decay") or {}
    if not isinstance(decays, DictConfig | dict):  # one number for all
        decays = dict.fromkeys(
            ("embedding", "dense") if chosen.gate is None else ("embedding", "dense", "gate"), decays
        )
    nodes = {kind: _with(chosen[kind], weight_decay=decays.get(kind)) for kind in ("embedding", "dense")}
    gate = {"lr": chosen.get("gate_lr"), "weight_decay": decays.get("gate")}
    if chosen.gate is not None:
        nodes["gate"] = _with(chosen.gate, **gate)
    elif any(value is not None for value in gate.values()):
        nodes["gate"] = _with(nodes["dense"], **gate)
    return nodes


def _with(node: Any, **values: float | None) -> DictConfig:
    """A node updated with the values that are not ``None``."""
    stated = {key: value for key, value in values.items() if value is not None}
    if not stated or not isinstance(node, DictConfig):
        return node
    return OmegaConf.create(typing.cast(dict[str, Any], OmegaConf.to_container(node, resolve=True)) | stated)


def build_scheduler(config: DictConfig) -> SchedulerFactory | None:
    """The configured schedule of learning rates; ``steps`` as a value becomes the run's number of steps."""
    node = OmegaConf.select(config, "scheduler")
    if node is None or node._target_ is None:
        return None

    def factory(optimizer: Optimizer, steps: int) -> LRScheduler:
        stated = {key: steps if value == "steps" else value for key, value in node.items()}
        return build(OmegaConf.create(stated), "scheduler", optimizer=optimizer)

    return factory


def check_scheduler(config: DictConfig) -> None:
    """Reject a schedule that cannot be built, or that would lower learning rates when the score rises."""
    if (factory := build_scheduler(config)) is None:
        return
    if "mode" in config.scheduler and config.scheduler.mode != "max":
        raise ConfigError(
            f"scheduler.mode={config.scheduler.mode}; allowed: max. The score that selects weights is higher when "
            "better; log loss is negated"
        )
    try:
        dense = build(_optimizer_nodes(config)["dense"], "optimizer.dense")
        Schedule(factory, [dense([nn.Parameter(torch.zeros(1))])], steps=1000)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"scheduler: {error}") from error


def build_settings(config: DictConfig) -> Settings:
    return call_checked(
        Settings, typing.cast(dict[str, Any], OmegaConf.to_container(config.trainer, resolve=True)), "trainer"
    )


def build_loss_settings(config: DictConfig) -> LossSettings:
    return call_checked(
        LossSettings, typing.cast(dict[str, Any], OmegaConf.to_container(config.loss, resolve=True)), "loss"
    )


def build_losses(config: DictConfig, store: Store, model: nn.Module) -> TaskLosses:
    """The configured losses of the tasks, on the model's device.

    Raises:
        ConfigError: ``loss.given=conditional`` with a model that itself computes joint probabilities.
    """
    settings, columns = build_loss_settings(config), store.split("train").columns
    if settings.given == "conditional" and any(getattr(block, "joint", False) for block in model.modules()):
        raise ConfigError(
            f"loss.given=conditional: {type(model).__name__} itself computes the joint probability of a task and its "
            "parent task. Choose loss.given=joint"
        )
    losses = settings.build(
        store.schema.tasks, columns["labels"], columns.get("observed"), columns.get("sample_weight")
    )
    device = next(model.parameters()).device
    return losses if losses.pos_weight is None else replace(losses, pos_weight=losses.pos_weight.to(device))


def build_ranking(config: DictConfig) -> Ranking:
    """The ranking metrics that the data set configures (``dataset.metrics``)."""
    node = OmegaConf.select(config, "dataset.metrics")
    if node is not None and not isinstance(node, DictConfig):
        raise ConfigError(f"dataset.metrics is {node!r}; allowed: null, or a mapping, with keys such as uauc_weights")
    values = {} if node is None else typing.cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    if isinstance(values.get("top"), dict):
        values["top"] = call_checked(Top, values["top"], "dataset.metrics.top")
    return call_checked(Ranking, values, "dataset.metrics")
