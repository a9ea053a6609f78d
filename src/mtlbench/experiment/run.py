"""One run: data -> model -> training -> test metrics, in a folder named by the run's identity."""

import inspect
import json
import shutil
import sys
import time
import typing
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import psutil
import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from pydantic import Field
from torch import Tensor, nn

from mtlbench.data.loader import Rows
from mtlbench.data.store import Store
from mtlbench.experiment.build import build, check, fill, imported, typed
from mtlbench.experiment.data import Data, locate, stored
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.identity import code_version, run_identity
from mtlbench.metrics import Metrics, evaluate
from mtlbench.ranking import Ranking, Top
from mtlbench.schema import Schema
from mtlbench.tracking.connect import public
from mtlbench.tracking.folder import Facts, begin, read_facts, write_json, write_status
from mtlbench.tracking.journal import Journal
from mtlbench.tracking.tracker import open_tracker
from mtlbench.train.loop import Place, Progress, fit, load_best, score
from mtlbench.train.objective import LossSettings, Objective, TaskLosses
from mtlbench.train.optimizers import build_optimizers, parameter_groups
from mtlbench.train.settings import Settings

PLAIN = {
    "seed": Annotated[int, Field(ge=0, lt=2**63)],
    "run.data": str,
    "run.folder": str,
    "run.fresh": bool,
    "run.threads": Annotated[int, Field(ge=1)] | Literal["auto"],
    "run.device": str,
    "optimizer.sparse": bool,
    "dataset.raw": str | None,
    "dataset.min_count": Annotated[int, Field(ge=1)],
    "dataset.on_error": Literal["fail", "quarantine"],
    "dataset.source": Literal["auto", "real", "simulated"],
}
"""Keys that belong to no object whose signature could check them."""


class BusyError(OSError):
    """Another process is at this run."""


class OtherCodeWarning(UserWarning):
    """A run was started or finished by code that differs from this."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run: its folder, the content of ``result.json``, and whether it had been finished before."""

    folder: Path
    result: dict[str, Any]
    reused: bool


def train(config: DictConfig) -> Outcome:
    """Carry out the run that a configuration means, from wherever it stands: nothing, a checkpoint, or the result.

    Raises:
        ConfigError, RawError: the configuration or the raw files cannot be used.
        BusyError: another process is training this very run.
        NonFiniteLossError, Interrupted: the run stopped; its folder and the tracker say so.
    """
    check_config(config)
    for key in ("run.data", "run.folder", "dataset.raw"):  # so that a run can be opened from any folder
        if (path := OmegaConf.select(config, key)) is not None:
            OmegaConf.update(config, key, str(Path(path).absolute()))
    device = resolve_device(config.run.device)
    if config.run.threads != "auto":
        torch.set_num_threads(config.run.threads)
    data = locate(config.dataset, Path(config.run.data))
    identity = run_identity(config, data)
    folder = Path(config.run.folder) / identity
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(identity + ".lock"), timeout=0):
            if (folder / "result.json").exists() and not config.run.fresh:
                return Outcome(folder=folder, result=_reported(folder), reused=True)
            return _carry_out(config, data, identity, folder, device)
    except Timeout as error:
        raise BusyError(f"another process is training run {identity} in {folder}") from error


def check_config(config: DictConfig) -> None:
    """Refuse what can be refused before any file is read: unknown arguments, wrong types, parts that do not fit."""
    check_plain(config)
    fill(Settings, dict(config.trainer), "trainer")
    loss_settings(config)
    check(config.model, "model", given={"schema"})
    check(config.balancing, "balancing", given={"tasks"})
    check(config.dataset.split, "dataset.split", given={"candidates"})
    configured_ranking(config)
    for kind in ("embedding", "dense", "gate"):
        if config.optimizer[kind] is not None:
            check(config.optimizer[kind], f"optimizer.{kind}", given={"params"})
    if config.trainer.compile and not (shutil.which("g++") or shutil.which("clang++")):
        raise ConfigError("trainer.compile=true needs a C++ compiler: apt-get install g++, or trainer.compile=false")
    if config.virtual_gradient._target_ is not None:
        check(config.virtual_gradient, "virtual_gradient", given=set())
        if "virtual_gradient" not in inspect.signature(imported(config.model._target_)).parameters:
            chosen = config.run.choices
            raise ConfigError(
                f"virtual_gradient={chosen.virtual_gradient}: model={chosen.model} has no gates that take "
                "it. Choose virtual_gradient=none, or model=mmoe, mtphn or dephn."
            )


def check_plain(config: DictConfig) -> None:
    """Refuse values of the wrong type or range among those that no object takes."""
    if not isinstance(config.run.tracker, DictConfig):
        raise ConfigError(
            f"run.tracker={config.run.tracker}: the tracker is a group; choose it with tracker=mlflow|none"
        )
    for key, hint in PLAIN.items():
        typed(OmegaConf.select(config, key), hint, key)
    if config.optimizer.sparse and config.optimizer.embedding._target_ == "torch.optim.Adam":
        raise ConfigError("optimizer.sparse=true: torch's Adam takes dense gradients only; choose optimizer=lazy_adam")


def build_model(config: DictConfig, schema: Schema) -> nn.Module:
    """The configured model, with its initial weights drawn from torch's global generator."""
    arguments: dict[str, Any] = {"schema": schema}
    if config.virtual_gradient._target_ is not None:
        arguments["virtual_gradient"] = build(config.virtual_gradient, "virtual_gradient")()
    return build(config.model, "model")(**arguments)


def loss_settings(config: DictConfig) -> LossSettings:
    return fill(LossSettings, typing.cast(dict[str, Any], OmegaConf.to_container(config.loss, resolve=True)), "loss")


def build_losses(config: DictConfig, store: Store, model: nn.Module) -> TaskLosses:
    """The configured losses of the tasks, on the model's device.

    Raises:
        ConfigError: conditional learning of a model that makes joint probabilities by itself (a product, an order).
    """
    settings, columns = loss_settings(config), store.split("train").columns
    if settings.given == "conditional" and any(getattr(block, "joint", False) for block in model.modules()):
        raise ConfigError(
            f"loss.given=conditional: {type(model).__name__} itself makes the joint probability of a task and the one "
            "that it is given. Choose loss.given=joint"
        )
    losses = settings.losses(store.schema.tasks, columns["labels"], columns.get("observed"))
    device = next(model.parameters()).device
    return losses if losses.pos_weight is None else replace(losses, pos_weight=losses.pos_weight.to(device))


def configured_ranking(config: DictConfig) -> Ranking:
    """The metrics that the data set's configuration asks for."""
    node = OmegaConf.select(config, "dataset.metrics")
    if node is not None and not isinstance(node, DictConfig):
        raise ConfigError(f"dataset.metrics is {node!r}; allowed: null, or keys of their own, such as uauc_weights")
    values = {} if node is None else typing.cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    if isinstance(values.get("top"), dict):
        values["top"] = fill(Top, values["top"], "dataset.metrics.top")
    return fill(Ranking, values, "dataset.metrics")


def resolve_device(name: str) -> torch.device:
    """The device that ``run.device`` names; ``auto`` takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"run.device is {name!r}; allowed: auto, cpu, cuda, cuda:<number>") from error
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ConfigError(
            f"run.device is {name!r}, but this machine has {found} CUDA devices. Use run.device=cpu or auto."
        )
    return device


def measure(
    model: nn.Module, rows: Rows, losses: TaskLosses, settings: Settings, device: torch.device, ranking: Ranking
) -> tuple[Tensor, Metrics]:
    """Log-odds ``[N, T]`` of a split's labels, and every metric of them."""
    logits = score(model, rows, losses, settings, device)
    columns = rows.columns
    return logits, evaluate(
        logits,
        columns["labels"],
        columns.get("observed"),
        rows.schema.tasks,
        columns.get("truth"),
        group=columns.get("group"),
        ranking=ranking,
    )


def _carry_out(config: DictConfig, data: Data, identity: str, folder: Path, device: torch.device) -> Outcome:
    settings: Settings = fill(Settings, dict(config.trainer), "trainer")
    store = stored(data)
    ranking = configured_ranking(config)
    ranking.check(store.schema)
    torch.manual_seed(config.seed)
    model = build_model(config, store.schema).to(device)
    chosen = config.optimizer
    optimizers = build_optimizers(
        model,
        embedding=build(chosen.embedding, "optimizer.embedding"),
        dense=build(chosen.dense, "optimizer.dense"),
        gate=None if chosen.gate is None else build(chosen.gate, "optimizer.gate"),
        sparse=chosen.sparse,
    )
    balance = build(config.balancing, "balancing")(tasks=store.schema.tasks).to(device)
    losses = build_losses(config, store, model)
    if config.run.fresh and folder.exists():  # only now that everything else has been found to work
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    _open_folder(config, data, identity, folder)
    journal = Journal(folder)
    tracker = open_tracker(uri=config.run.tracker.uri, experiment=config.run.tracker.experiment, runs=folder.parent)
    place = Place(identity=identity, folder=folder, journal=journal, device=device, seed=config.seed)
    began = time.time()
    try:
        rows = (_placed(store, "train", device, settings), _placed(store, "valid", device, settings))
        progress = fit(
            model,
            optimizers,
            Objective(losses=losses, balance=balance),
            rows,
            store.schema.tasks,
            settings,
            place,
            after_epoch=lambda: tracker.update(folder) if tracker else None,
        )
        best_step = load_best(model, store.schema.tasks, settings.select, place.best, identity)
        metrics = measure(model, store.split("test"), losses, settings, device, ranking)[1].prefixed("test")
        journal.append(step=progress.step, epoch=progress.epoch, values=metrics.values, undefined=metrics.undefined)
        result = _result(config, data, identity, model, progress, best_step, metrics) | {"seconds": time.time() - began}
        write_json(folder / "result.json", result)
        write_status(folder, "finished")
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        write_status(folder, "interrupted" if interrupted else "failed", reason=str(error) or type(error).__name__)
        raise
    finally:
        if tracker is not None:
            tracker.finish(folder)
    return Outcome(folder=folder, result=result, reused=False)


def _open_folder(config: DictConfig, data: Data, identity: str, folder: Path) -> None:
    """Write what the run is (configuration, data, code) where that has not been done."""
    code = code_version()
    if (folder / "run.json").exists() and (before := read_facts(folder)[0].commit) != code:
        warnings.warn(
            f"run {identity} was begun by other code ({before}) and goes on with this ({code}). "
            "Start over with run.fresh=true.",
            OtherCodeWarning,
            stacklevel=2,
        )
    saved = config.copy()
    if saved.run.tracker.uri is not None:
        saved.run.tracker.uri = public(saved.run.tracker.uri)  # a password is not for keeping
    OmegaConf.save(saved, folder / "config.yaml", resolve=True)
    begin(
        folder,
        Facts(
            identity=identity,
            model=config.run.choices.model,
            dataset=data.config.name,
            seed=config.seed,
            data=data.fingerprint,
            origin=data.origin,
            commit=code,
            paper=None if config.run.choices.profile == "default" else config.run.choices.profile,
        ),
    )


def _placed(store: Store, split: str, device: torch.device, settings: Settings) -> Rows:
    """The rows of a split: on a GPU whole where half of its free memory holds them, else mapped."""
    rows = store.split("train" if settings.rows else split)
    if settings.rows:
        rows = rows.first(settings.rows)
    if device.type == "cuda" and rows.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
        return rows.to(device)
    return rows


def _result(
    config: DictConfig,
    data: Data,
    identity: str,
    model: nn.Module,
    progress: Progress,
    best_step: dict[str, int],
    metrics: Metrics,
) -> dict[str, Any]:
    sizes = {kind: sum(p.numel() for p in group) for kind, group in parameter_groups(model).items()}
    throughput = sorted(progress.rows_per_second)
    return {
        "identity": identity,
        "code": code_version(),
        "model": config.run.choices.model,
        "dataset": data.config.name,
        "origin": data.origin,
        "data": data.fingerprint,
        "seed": config.seed,
        "metrics": metrics.values,
        "undefined": metrics.undefined,
        "epochs": progress.epoch,
        "steps": progress.step,
        "best_step": best_step,
        "best_valid": progress.best,
        "parameters": {"embedding": sizes["embedding"], "dense": sizes["gate"] + sizes["dense"]},
        "rows_per_second": throughput[len(throughput) // 2],
        "peak_memory_mb": _peak_memory_mb(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _reported(folder: Path) -> dict[str, Any]:
    """The result of a finished run, with a warning where other code made it."""
    result = json.loads((folder / "result.json").read_text())
    if result["code"] != code_version():
        warnings.warn(
            f"run {folder.name} was finished by other code ({result['code']}); this is {code_version()}. "
            "Train it again with run.fresh=true.",
            OtherCodeWarning,
            stacklevel=3,
        )
    return result


def _peak_memory_mb() -> float:
    """Largest resident memory of this process so far."""
    if sys.platform == "linux":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return psutil.Process().memory_info().rss / 2**20
