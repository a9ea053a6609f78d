"""The training loop: one page, in the order in which things happen.

It works on objects that others have built and knows no model, data set or balancing method by name.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from mtlbench.balancing.protocol import AfterEpoch
from mtlbench.balancing.shared import SharedGradients
from mtlbench.data.loader import Rows, order
from mtlbench.metrics import Metrics, evaluate
from mtlbench.schema import Task
from mtlbench.tracking.journal import Journal
from mtlbench.train import checkpoint
from mtlbench.train.diagnostics import check_diagnosed, diagnose
from mtlbench.train.interrupt import Interrupt, Interrupted
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.optimizers import parameter_groups
from mtlbench.train.selection import Part, parts
from mtlbench.train.settings import Settings
from mtlbench.train.step import Step, autocast, penalties_of

NOTHING = Metrics()


class Stateful(Protocol):
    """A part of a run that a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class NonFiniteLossError(FloatingPointError):
    """A task's loss became infinite or not a number; says in which step, and the last finite value."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run lives: its identity, its folder with the journal and the checkpoints, its device and its seed."""

    identity: str
    folder: Path
    journal: Journal
    device: torch.device
    seed: int

    @property
    def last(self) -> Path:
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        return self.folder / "best.pt"


@dataclass(kw_only=True)
class Progress:
    """How far a run is; all of it is in the checkpoint.

    Attributes:
        epoch: epochs finished, validation included.
        position: batches of the current epoch done.
        step: batches done in all.
        seconds: spent in the current epoch's training steps.
        best, best_step, stale: for each part its best score, the step it was reached in, and the epochs since.
        window: losses of the tasks, their weights, then penalties, of each step since the last line in the journal.
        rows_per_second: training throughput of each finished epoch.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    best_step: dict[str, int] = field(default_factory=dict)
    stale: dict[str, int] = field(default_factory=dict)
    window: list[Tensor] = field(default_factory=list)
    rows_per_second: list[float] = field(default_factory=list)


def fit(  # noqa: PLR0915  the loop is meant to be read from top to bottom
    model: nn.Module,
    optimizers: list[Optimizer],
    objective: Objective,
    rows: tuple[Rows, Rows],
    tasks: tuple[Task, ...],
    settings: Settings,
    place: Place,
    after_epoch: Callable[[], None] = lambda: None,
) -> Progress:
    """Train a model, keeping the weights of the best validation score; goes on from a checkpoint if there is one.

    Args:
        model: on its device, with the initial weights of the run's seed.
        optimizers: over the model's parameters.
        objective: see `Objective`.
        rows: training and validation rows.
        tasks: names for journal and messages.
        settings: see `Settings`.
        place: see `Place`; ``last.pt`` and ``best.pt`` are written there.
        after_epoch: called when the journal has an epoch's validation metrics.

    Raises:
        ValueError: conflicts between the gradients of tasks are asked for where there is one task, or diagnostics of a
            model that shows nothing.
        NonFiniteLossError: a loss is not finite.
        Interrupted: a signal came; the run can go on from the checkpoint just written.
    """
    train, valid = rows
    if settings.diagnostics:
        check_diagnosed(model)
    chosen = parts(model, tasks, settings.select)
    bounds = batch_bounds(len(train), settings.batch_size)
    names, penalties = [task.name for task in tasks], penalties_of(model)
    terms = [f"{name}/{what}" for what in ("loss", "weight") for name in names] + [f"penalty/{at}" for at in penalties]
    shared, balance = _shared_gradients(model, tasks, settings), objective.balance
    states = {"model": model, "balancing": balance, "shared": shared}
    progress = _resume(states, optimizers, place)
    move = Step(
        model=model,
        compiled=torch.compile(model, dynamic=False) if settings.compile else model,
        optimizers=optimizers,
        objective=objective,
        shared=shared,
        penalties=penalties,
        settings=settings,
    )
    saved = time.monotonic()
    with Interrupt() as interrupt:
        try:
            while progress.epoch < settings.epochs and not _exhausted(progress, chosen, settings.patience):
                model.train()
                permutation = order(len(train), place.seed, progress.epoch).to(train.device)
                for start, stop in _remaining(bounds, progress, settings):
                    interrupt.check()
                    began = time.perf_counter()
                    batch = train.gather(permutation[start:stop]).to(place.device)
                    logs = (progress.step + 1) % settings.log_steps == 0
                    terms_N, cosine_TT = move(batch, compare=logs and settings.conflicts)
                    progress.window.append(terms_N)
                    progress.step += 1
                    progress.position += 1
                    if logs:
                        _log_terms(progress, terms, place.journal, _conflicts(cosine_TT, names))
                    progress.seconds += time.perf_counter() - began
                    if time.monotonic() - saved > 60 * settings.checkpoint_minutes:
                        _save(states, optimizers, progress, place)
                        saved = time.monotonic()
                _log_terms(progress, terms, place.journal)
                logits = score(model, valid, objective.losses, settings, place.device, interrupt)
                columns = valid.columns
                measured = evaluate(
                    logits, columns["labels"], columns.get("observed"), tasks, group=columns.get("group")
                )
                _select(chosen, measured.values, progress, place)
                if isinstance(balance, AfterEpoch):
                    balance.after_epoch()
                progress.rows_per_second.append(len(train) / progress.seconds)
                progress.epoch, progress.position, progress.seconds = progress.epoch + 1, 0, 0.0
                named = measured.prefixed("valid")
                shown = diagnose(model, valid, settings, place.device) if settings.diagnostics else NOTHING
                place.journal.append(
                    step=progress.step,
                    epoch=progress.epoch,
                    undefined=named.undefined | shown.undefined,
                    values=named.values | shown.values | {"train/rows_per_second": progress.rows_per_second[-1]},
                )
                _save(states, optimizers, progress, place)
                saved = time.monotonic()
                after_epoch()
        except Interrupted:
            _save(states, optimizers, progress, place)
            raise
    return progress


@torch.no_grad()
def score(
    model: nn.Module,
    rows: Rows,
    losses: TaskLosses,
    settings: Settings,
    device: torch.device,
    interrupt: Interrupt | None = None,
) -> Tensor:
    """Log-odds of all labels of all rows, float32 ``[N, T]`` on the CPU, in evaluation mode and without labels.

    They are the model's logits, but for what its losses make of them, see `TaskLosses.log_odds`.
    """
    model.eval()
    logits = []
    starts = range(0, len(rows), settings.evaluation_batch_size)
    for start in tqdm(starts, desc="scoring", unit="batch", disable=None, delay=2, leave=False):
        if interrupt is not None:
            interrupt.check()
        index = torch.arange(start, min(start + settings.evaluation_batch_size, len(rows)), device=rows.device)
        with autocast(settings.precision, device):
            logits.append(model(rows.gather(index).to(device).unlabelled()).float().cpu())
    return losses.log_odds(torch.cat(logits))


def batch_bounds(rows: int, batch_size: int) -> list[tuple[int, int]]:
    """First and last-plus-one position of each batch of an epoch.

    A single row left over joins the batch before it: statistics of a batch of one are not defined.
    """
    bounds = [(start, min(start + batch_size, rows)) for start in range(0, rows, batch_size)]
    if len(bounds) > 1 and bounds[-1][1] - bounds[-1][0] == 1:
        bounds[-2:] = [(bounds[-2][0], rows)]
    return bounds


def load_best(model: nn.Module, tasks: tuple[Task, ...], select: str, path: Path, identity: str) -> dict[str, int]:
    """Put the selected weights into a model; returns the step in which each part reached them."""
    best = checkpoint.load(path, identity=identity)
    for part in parts(model, tasks, select):
        part.module.load_state_dict(best["parts"][part.name])
    return best["steps"]


def _remaining(bounds: list[tuple[int, int]], progress: Progress, settings: Settings) -> Iterator[tuple[int, int]]:
    label = f"epoch {progress.epoch + 1}/{settings.epochs}"
    yield from tqdm(
        bounds[progress.position :],
        desc=label,
        unit="batch",
        initial=progress.position,
        total=len(bounds),
        disable=None,
        delay=2,
        leave=False,
    )


def _exhausted(progress: Progress, chosen: tuple[Part, ...], patience: int | None) -> bool:
    return patience is not None and all(progress.stale.get(part.name, 0) >= patience for part in chosen)


def _log_terms(progress: Progress, terms: list[str], journal: Journal, conflicts: Metrics = NOTHING) -> None:
    """Write the window's mean of each term to the journal and empty it; one that is not finite stops the run."""
    if not progress.window:
        return
    window_LN = torch.stack(progress.window).cpu()
    bad = (~window_LN.isfinite()).nonzero()
    if len(bad):
        position, term = bad[0].tolist()
        before = window_LN[position - 1, term].item() if position else "in the window before"
        raise NonFiniteLossError(
            f"{terms[term]} is {window_LN[position, term].item()} in step "
            f"{progress.step - len(progress.window) + position + 1}; last finite value: {before}. "
            "Try a lower optimizer.lr, trainer.clip=1.0 or trainer.precision=fp32."
        )
    means = window_LN.mean(dim=0).tolist()
    values = {f"train/{term}": mean for term, mean in zip(terms, means, strict=True)}
    journal.append(
        step=progress.step, epoch=progress.epoch, values=values | conflicts.values, undefined=conflicts.undefined
    )
    progress.window.clear()


def _conflicts(cosine_TT: Tensor | None, tasks: list[str]) -> Metrics:
    """The cosine between the gradients of every two tasks, by the names of both."""
    found = Metrics()
    if cosine_TT is None:
        return found
    for (a, first), (b, second) in combinations(enumerate(tasks), 2):
        name, cosine = f"train/conflict/{first}_{second}", cosine_TT[a, b].item()
        if math.isfinite(cosine):
            found.values[name] = cosine
        else:
            found.undefined[name] = "a gradient is zero on what the tasks share (no label of the task is observed?)"
    return found


def _select(chosen: tuple[Part, ...], metrics: dict[str, float], progress: Progress, place: Place) -> None:
    """Note each part's validation score, and save the weights of those that have a new best."""
    better: list[Part] = []
    for part in chosen:
        value = part.score(metrics)
        if value is None:
            raise ValueError(
                f"no validation {part.metric} is defined for {', '.join(part.tasks)}: nothing to select "
                "weights by. Choose trainer.select=logloss, or a larger validation split."
            )
        if part.name not in progress.best or value > progress.best[part.name]:
            progress.best[part.name], progress.best_step[part.name] = value, progress.step
            progress.stale[part.name] = 0
            better.append(part)
        else:
            progress.stale[part.name] += 1
    if better:
        kept = checkpoint.load(place.best, identity=place.identity)["parts"] if len(better) < len(chosen) else {}
        checkpoint.save(
            place.best,
            {
                "identity": place.identity,
                "steps": progress.best_step,
                "parts": kept | {part.name: part.module.state_dict() for part in better},
            },
        )


def _save(states: dict[str, Stateful], optimizers: list[Optimizer], progress: Progress, place: Place) -> None:
    state: dict[str, Any] = asdict(progress)
    checkpoint.save(
        place.last,
        {
            "identity": place.identity,
            **{name: part.state_dict() for name, part in states.items()},
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "progress": state,
            "journal": len(place.journal),
        },
    )


def _resume(states: dict[str, Stateful], optimizers: list[Optimizer], place: Place) -> Progress:
    """Where the last checkpoint stood, or the beginning; the journal is cut to it."""
    if not place.last.exists():
        place.journal.truncate(0)
        return Progress()
    last = checkpoint.load(place.last, identity=place.identity)
    for name, part in states.items():
        try:
            part.load_state_dict(last[name])
        except (RuntimeError, KeyError) as error:
            raise checkpoint.CheckpointError(
                f"checkpoint {place.last} holds another {name}: {error}. Start over with run.fresh=true."
            ) from error
    for optimizer, state in zip(optimizers, last["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    torch.set_rng_state(last["random"])
    if last["random_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(last["random_cuda"])
    progress = Progress(**last["progress"])
    place.journal.truncate(last["journal"])
    return progress


def _shared_gradients(model: nn.Module, tasks: tuple[Task, ...], settings: Settings) -> SharedGradients:
    if settings.conflicts and len(tasks) == 1:
        raise ValueError(
            f"trainer.conflicts=true compares the gradients of tasks, but there is one: {tasks[0].name}. "
            "Set trainer.conflicts=false"
        )
    groups = parameter_groups(model)
    return SharedGradients(tasks=len(tasks), tables=groups["embedding"], dense=groups["gate"] + groups["dense"])
