"""What a checkpoint keeps of a run, so that one that goes on equals one that was never interrupted."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch.optim import Optimizer

from mtlbench.train import checkpoint
from mtlbench.train.progress import Place, Progress


class Stateful(Protocol):
    """A part of a run that a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


@dataclass(kw_only=True)
class Kept:
    """All that moves while a run is under way, beside its progress and the random state.

    Attributes:
        parts: by name.
        optimizers: over the model's parameters.
        place: where the checkpoint and the journal are.
        began: when the run would have begun, had it never been interrupted (`time.monotonic`).
    """

    parts: Mapping[str, Stateful]
    optimizers: Sequence[Optimizer]
    place: Place
    began: float = field(default_factory=time.monotonic)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint of this moment."""
        progress.spent = time.monotonic() - self.began
        state: dict[str, Any] = asdict(progress)
        checkpoint.save(
            self.place.last,
            {
                "identity": self.place.identity,
                **{name: part.state_dict() for name, part in self.parts.items()},
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "random": torch.get_rng_state(),
                "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                "progress": state,
                "journal": len(self.place.journal),
            },
        )

    def resume(self) -> Progress:
        """Go to where the last checkpoint stood, or to the beginning; the journal is cut to it.

        Raises:
            CheckpointError: it is damaged, of another run, or of other parts.
        """
        place = self.place
        if not place.last.exists():
            place.journal.truncate(0)
            return Progress()
        last = checkpoint.load(place.last, identity=place.identity)
        for name, part in self.parts.items():
            try:
                part.load_state_dict(last[name])
            except (RuntimeError, KeyError) as error:
                raise checkpoint.CheckpointError(
                    f"checkpoint {place.last} holds another {name}: {error}. Start over with run.fresh=true."
                ) from error
        for optimizer, state in zip(self.optimizers, last["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        torch.set_rng_state(last["random"])
        if last["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(last["random_cuda"])
        place.journal.truncate(last["journal"])
        progress = Progress(**last["progress"])
        self.began = time.monotonic() - progress.spent
        return progress
