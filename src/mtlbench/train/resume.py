"""Saving and restoring training state, so that a resumed run matches an uninterrupted one bit for bit."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtlbench.distributed.job import alone
from mtlbench.train import checkpoint
from mtlbench.train.progress import Progress, RunContext
from mtlbench.train.table_rows import held_model_state, held_optimizer_state, model_state, optimizer_state


class Stateful(Protocol):
    """Anything whose state is saved in a checkpoint."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


@dataclass(kw_only=True)
class Checkpointer:
    """Saves and restores all state that changes during training.

    Attributes:
        model: the trained model.
        stateful: other objects with state, such as the balancing method, by name.
        optimizers: over the model's parameters.
        context: gives the paths of the checkpoint and the journal.
        began: start of the run without the time between sessions (`time.monotonic`).
    """

    model: nn.Module
    stateful: Mapping[str, Stateful]
    optimizers: Sequence[Optimizer]
    context: RunContext
    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds of training and validation so far, over all sessions of the run."""
        return time.monotonic() - self.began

    def save(self, progress: Progress) -> None:
        """Write a checkpoint."""
        progress.spent = self.elapsed
        state: dict[str, Any] = asdict(progress)
        checkpoint.save(
            self.context.last,
            {
                "identity": self.context.identity,
                **{name: part.state_dict() for name, part in self.stateful.items()},
                "model": model_state(self.model),
                "optimizers": [optimizer_state(optimizer, self.model) for optimizer in self.optimizers],
                "random": torch.get_rng_state(),
                "random_cuda": _random_cuda(self.context.device),
                "progress": state,
                "journal": len(self.context.journal),
            },
        )

    def resume(self) -> Progress:
        """Restore the last checkpoint, if there is one, and cut the journal back to it.

        Raises:
            CheckpointError: it is damaged, belongs to another run, or does not fit the stateful objects.
        """
        context = self.context
        if not context.last.exists():
            context.journal.truncate(0)
            return Progress()
        last = checkpoint.load(context.last, identity=context.identity)
        for name, part in {"model": self.model, **self.stateful}.items():
            try:
                part.load_state_dict(held_model_state(last[name], self.model) if part is self.model else last[name])
            except (RuntimeError, KeyError) as error:
                raise checkpoint.CheckpointError(
                    f"checkpoint {context.last} holds another {name}: {error}. Start over with run.fresh=true."
                ) from error
        for optimizer, state in zip(self.optimizers, last["optimizers"], strict=True):
            optimizer.load_state_dict(held_optimizer_state(state, optimizer, self.model))
        torch.set_rng_state(last["random"])
        if last["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(last["random_cuda"])
        context.journal.truncate(last["journal"])
        state: dict[str, Any] = last["progress"]
        state.setdefault(
            "evaluated", state["step"] - state["position"]
        )  # before 0.4, evaluation was at the end of each epoch
        progress = Progress(**state)
        self.began = time.monotonic() - progress.spent
        return progress


def _random_cuda(device: torch.device) -> list[Tensor]:
    """Random states, one per GPU; in a job with several ranks they are equal, so that it can resume on other GPUs."""
    if not torch.cuda.is_available():
        return []
    if alone() or device.type != "cuda":
        return torch.cuda.get_rng_state_all()
    return [torch.cuda.get_rng_state(device)] * torch.cuda.device_count()
