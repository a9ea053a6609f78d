"""The training loop: one page, in the order in which things happen.

It works on objects that others have built and knows no model, data set or balancing method by name.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from mtlbench.data.loader import Rows, order
from mtlbench.losses import task_losses
from mtlbench.metrics import evaluate
from mtlbench.schema import Task
from mtlbench.tracking.journal import Journal
from mtlbench.train import checkpoint
from mtlbench.train.interrupt import Interrupt, Interrupted
from mtlbench.train.selection import Part, parts
from mtlbench.train.settings import Settings


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
        window: losses of the tasks, then penalties, of each step since the last line in the journal.
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
    balance: Callable[[Tensor], Tensor],
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
        balance: the tasks' losses ``[T]`` -> the scalar whose gradient is followed.
        rows: training and validation rows.
        tasks: names for journal and messages.
        settings: see `Settings`.
        place: see `Place`; ``last.pt`` and ``best.pt`` are written there.
        after_epoch: called when the journal has an epoch's validation metrics.

    Raises:
        NonFiniteLossError: a loss is not finite.
        Interrupted: a signal came; the run can go on from the checkpoint just written.
    """
    train, valid = rows
    chosen = parts(model, tasks, settings.select)
    bounds = batch_bounds(len(train), settings.batch_size)
    penalised = _penalties(model)
    terms = [*(f"{task.name}/loss" for task in tasks), *(f"penalty/{name}" for name in penalised)]
    progress = _resume(model, optimizers, place)
    compiled = torch.compile(model, dynamic=False) if settings.compile else model
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
                    # The last, shorter batch of an epoch runs eagerly: it is not worth a compilation of its own.
                    forward = compiled if len(batch) == settings.batch_size else model
                    with autocast(settings.precision, place.device):
                        logits_BT = forward(batch)
                    assert batch.labels is not None
                    losses_T = task_losses(logits_BT, batch.labels, batch.observed)
                    for optimizer in optimizers:
                        optimizer.zero_grad(set_to_none=True)
                    penalties = [penalty() for penalty in penalised.values()]
                    (balance(losses_T) + sum(penalties)).backward()
                    if settings.clip is not None:
                        _clip(model, settings.clip)
                    for optimizer in optimizers:
                        optimizer.step()
                    progress.window.append(torch.stack([*losses_T.detach(), *(term.detach() for term in penalties)]))
                    progress.step += 1
                    progress.position += 1
                    if progress.step % settings.log_steps == 0:
                        _log_terms(progress, terms, place.journal)
                    progress.seconds += time.perf_counter() - began
                    if time.monotonic() - saved > 60 * settings.checkpoint_minutes:
                        _save(model, optimizers, progress, place)
                        saved = time.monotonic()
                _log_terms(progress, terms, place.journal)
                logits = score(model, valid, settings, place.device, interrupt)
                measured = evaluate(logits, valid.columns["labels"], valid.columns.get("observed"), tasks)
                _select(chosen, measured.values, progress, place)
                progress.rows_per_second.append(len(train) / progress.seconds)
                progress.epoch, progress.position, progress.seconds = progress.epoch + 1, 0, 0.0
                named = measured.prefixed("valid")
                place.journal.append(
                    step=progress.step,
                    epoch=progress.epoch,
                    undefined=named.undefined,
                    values={**named.values, "train/rows_per_second": progress.rows_per_second[-1]},
                )
                _save(model, optimizers, progress, place)
                saved = time.monotonic()
                after_epoch()
        except Interrupted:
            _save(model, optimizers, progress, place)
            raise
    return progress


@torch.no_grad()
def score(
    model: nn.Module, rows: Rows, settings: Settings, device: torch.device, interrupt: Interrupt | None = None
) -> Tensor:
    """Logits of all rows, float32 ``[N, T]`` on the CPU, in evaluation mode and without labels."""
    model.eval()
    logits = []
    starts = range(0, len(rows), settings.evaluation_batch_size)
    for start in tqdm(starts, desc="scoring", unit="batch", disable=None, delay=2, leave=False):
        if interrupt is not None:
            interrupt.check()
        index = torch.arange(start, min(start + settings.evaluation_batch_size, len(rows)), device=rows.device)
        with autocast(settings.precision, device):
            logits.append(model(rows.gather(index).to(device).unlabelled()).float().cpu())
    return torch.cat(logits)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


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


def _penalties(model: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """The terms that blocks, or the model itself, add to the loss, by the name of the block."""
    return {
        name or "model": block.penalty  # pyright: ignore[reportReturnType]
        for name, block in model.named_modules()
        if hasattr(block, "penalty")
    }


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


def _log_terms(progress: Progress, terms: list[str], journal: Journal) -> None:
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
    journal.append(step=progress.step, epoch=progress.epoch, values=values)
    progress.window.clear()


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


def _save(model: nn.Module, optimizers: list[Optimizer], progress: Progress, place: Place) -> None:
    state: dict[str, Any] = asdict(progress)
    checkpoint.save(
        place.last,
        {
            "identity": place.identity,
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "progress": state,
            "journal": len(place.journal),
        },
    )


def _resume(model: nn.Module, optimizers: list[Optimizer], place: Place) -> Progress:
    """Where the last checkpoint stood, or the beginning; the journal is cut to it."""
    if not place.last.exists():
        place.journal.truncate(0)
        return Progress()
    last = checkpoint.load(place.last, identity=place.identity)
    try:
        model.load_state_dict(last["model"])
    except RuntimeError as error:
        raise checkpoint.CheckpointError(
            f"checkpoint {place.last} holds another model: {error}. Start over with run.fresh=true."
        ) from error
    for optimizer, state in zip(optimizers, last["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    torch.set_rng_state(last["random"])
    if last["random_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(last["random_cuda"])
    progress = Progress(**last["progress"])
    place.journal.truncate(last["journal"])
    return progress


def _clip(model: nn.Module, norm: float) -> None:
    dense = [p for p in model.parameters() if p.grad is not None and not p.grad.is_sparse]
    nn.utils.clip_grad_norm_(dense, norm)
