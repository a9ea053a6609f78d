"""Training-loop settings."""

from dataclasses import dataclass
from typing import Literal

from mtlbench.checks import one_of
from mtlbench.result import CheckpointRule

MOST_EPOCHS = 1_000_000
"""Maximum number of epochs. Each adds a line to the journal and a number to the checkpoint: some 100 MB in total."""

MOST_STEPS = 10**12
"""Maximum number of steps, far beyond any real budget."""

Select = str | tuple[str, ...] | dict[str, float]
"""A configured validation score, see `Settings`."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Training-loop settings.

    Attributes:
        epochs: maximum number of passes over the training rows; ``None`` if only `steps` limits training.
        steps: maximum number of optimizer steps; ``None`` if only `epochs` limits training.
        evaluate_every: steps between two evaluations on validation rows, each followed by a checkpoint; ``None``
            evaluates at the end of each epoch. The last step of the budget is always evaluated.
        batch_size: training rows per step.
        evaluation_batch_size: rows per forward pass when scoring; affects only speed and memory.
        patience: early stopping: number of evaluations without a better validation score (under ``checkpoint=task``,
            of any task) after which training ends. ``None`` uses the whole budget.
        select: validation score that decides which weights are kept: ``<metric>`` (its mean over the tasks under
            ``checkpoint=run``), ``<task>/<metric>``, a list of these, whose scores are added, or a mapping of these to
            weights. A weight has the sign of the metric's direction: ``{click/auc: 1, like/logloss: -1}``. In a mean
            over tasks, ``auc`` of a regression task is its ``xauc``.
        checkpoint: ``run`` keeps the weights of one step for all tasks. ``task`` keeps, for each task, the weights of
            the whole model at its best step, so one model per task, which scores that task.
        precision: ``bf16`` computes the forward pass under autocast; weights, losses and metrics stay float32.
        compile: run full batches through `torch.compile`.
        clip: maximum norm of the gradient of all parameters with dense gradients, or ``None``.
        log_steps: steps between two lines of training losses in the journal.
        checkpoint_minutes: minutes between checkpoints within an epoch, besides the one after each evaluation.
        conflicts: whether to log the cosine between the gradients of every pair of tasks with respect to their shared
            parameters, at the last step before each line of training losses.
        diagnostics: whether to log the model's diagnostics after each evaluation, see `journal_diagnostics`.
        rows: train and validate on the first N training rows only (to overfit on purpose); ``None`` uses all rows.
        shuffle_buffer: number of rows in memory that are shuffled at a time, read in blocks of consecutive rows, for
            stores larger than memory. ``None`` shuffles all rows, each read by random access.
        shuffle_block: rows per block; ``None`` is 4,096, or the buffer if that is smaller.
    """

    epochs: int | None
    batch_size: int
    evaluation_batch_size: int
    patience: int | None
    select: Select
    precision: Literal["fp32", "bf16"]
    compile: bool
    clip: float | None
    log_steps: int
    checkpoint_minutes: float
    checkpoint: CheckpointRule = "run"
    conflicts: bool = False
    diagnostics: bool = False
    rows: int | None = None
    steps: int | None = None
    evaluate_every: int | None = None
    shuffle_buffer: int | None = None
    shuffle_block: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "evaluation_batch_size", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"trainer.{name} is {getattr(self, name)}; allowed: 1 or more")
        self._check_budget()
        for name in ("patience", "rows", "steps", "evaluate_every", "shuffle_buffer", "shuffle_block"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"trainer.{name} is {value}; allowed: 1 or more, or null")
        if self.shuffle_block is not None and self.shuffle_block > (self.shuffle_buffer or 0):
            raise ValueError(
                f"trainer.shuffle_block is {self.shuffle_block} and trainer.shuffle_buffer {self.shuffle_buffer}, "
                "less than a block; allowed: a buffer of at least one block, or null for both"
            )
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise ValueError(f"trainer.clip is {self.clip}; allowed: above 0, or null")
        if not self.checkpoint_minutes > 0:
            raise ValueError(f"trainer.checkpoint_minutes is {self.checkpoint_minutes}; allowed: above 0")
        one_of("trainer.checkpoint", self.checkpoint, CheckpointRule)
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"trainer.precision is {self.precision!r}; allowed: 'fp32', 'bf16'")

    def _check_budget(self) -> None:
        if self.epochs is None and self.steps is None:
            raise ValueError("trainer.epochs and trainer.steps are null, so training would never end; set one of them")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"trainer.epochs is {self.epochs}; allowed: 1 or more, or null if trainer.steps is set")
        for name, most in (("epochs", MOST_EPOCHS), ("steps", MOST_STEPS)):
            if (value := getattr(self, name)) is not None and value > most:
                raise ValueError(f"trainer.{name} is {value}; allowed: {most:,} at most")
