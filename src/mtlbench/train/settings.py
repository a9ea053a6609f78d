"""Training-loop settings."""

from dataclasses import dataclass
from typing import Literal

MOST_EPOCHS = 1_000_000
"""Each epoch adds a line to the journal and a number to the checkpoint: some 100 MB at this many."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Training-loop settings.

    Attributes:
        epochs: passes over the training rows at most.
        batch_size: training rows per step.
        evaluation_batch_size: rows per forward pass when scoring; changes nothing but speed and memory.
        patience: early stopping: epochs without a better validation score after which training ends; under
            ``checkpoint=task``, epochs in which no task has a better one. ``None``: always all epochs.
        select: validation metric that decides which weights are kept, ``<metric>`` (its mean over the tasks under
            ``checkpoint=run``) or ``<task>/<metric>``.
        checkpoint: ``run`` keeps the weights of one step for all tasks. ``task`` keeps for each task the weights of the
            whole model at the step that is best for it, as many models as tasks; each task is scored by its own.
        precision: ``bf16`` computes the forward pass under autocast; weights, losses and metrics stay float32.
        compile: run full batches through `torch.compile`.
        clip: largest norm of the gradient of all parameters that receive dense gradients, or ``None``.
        log_steps: steps between two lines of training losses in the journal.
        checkpoint_minutes: minutes between checkpoints inside an epoch; each epoch ends with one anyway.
        conflicts: whether the journal gets the cosine between the gradients of every two tasks on what they share,
            taken in the last step before each line of training losses.
        diagnostics: whether the journal gets the model's diagnostics after each epoch, see `journal_diagnostics`.
        rows: train and validate on the first N training rows only (to overfit them on purpose); ``None``: all rows.
    """

    epochs: int
    batch_size: int
    evaluation_batch_size: int
    patience: int | None
    select: str
    precision: Literal["fp32", "bf16"]
    compile: bool
    clip: float | None
    log_steps: int
    checkpoint_minutes: float
    checkpoint: Literal["run", "task"] = "run"
    conflicts: bool = False
    diagnostics: bool = False
    rows: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "evaluation_batch_size", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"trainer.{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.epochs > MOST_EPOCHS:
            raise ValueError(f"trainer.epochs is {self.epochs}; allowed: {MOST_EPOCHS:,} at most")
        for name in ("patience", "rows"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"trainer.{name} is {value}; allowed: 1 or more, or null")
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise ValueError(f"trainer.clip is {self.clip}; allowed: above 0, or null")
        if not self.checkpoint_minutes > 0:
            raise ValueError(f"trainer.checkpoint_minutes is {self.checkpoint_minutes}; allowed: above 0")
        if self.checkpoint not in ("run", "task"):
            raise ValueError(f"trainer.checkpoint is {self.checkpoint!r}; allowed: 'run', 'task'")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"trainer.precision is {self.precision!r}; allowed: 'fp32', 'bf16'")
