"""Paths, device and seed of a run, and its training progress."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mtlbench.tracking.journal import Journal


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Identity of a run, its folder with journal and checkpoints, its device and its seed."""

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
    """Training progress; saved in the checkpoint.

    Attributes:
        epoch: completed epochs.
        position: completed batches of the current epoch.
        step: completed batches in total.
        evaluated: step of the last evaluation on validation rows.
        seconds: seconds spent in training steps since the last evaluation.
        spent: seconds of training and validation up to the last checkpoint, over all sessions of the run.
        best, best_step, stale: by selected unit (``model``, or each task), its best score, the step of that score, and
            the evaluations since.
        window: task losses, task weights and penalties of each step since the last line in the journal.
        sums: their sums over the ``summed`` steps since the last evaluation that are in the journal.
        rows_per_second: training throughput between evaluations.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    evaluated: int = 0
    seconds: float = 0.0
    spent: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    best_step: dict[str, int] = field(default_factory=dict)
    stale: dict[str, int] = field(default_factory=dict)
    window: list[Tensor] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    summed: int = 0
    rows_per_second: list[float] = field(default_factory=list)
