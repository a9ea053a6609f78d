"""Single-task baselines as one model: independent networks, one per task."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mtlbench.schema import Batch, Schema


class SingleTask(nn.Module):
    """T independent copies of a network with one logit, each with its own embeddings.

    They are trained in one run; weights are selected as in any model (``trainer.checkpoint``).

    Args:
        schema: the fields and tasks.
        network: makes a network ``Batch -> [B]`` when called with ``schema=``.

    Attributes:
        copies: the networks, in the order of the tasks.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Paper: the single-task rows of all tables.
    Departure: none.
    """

    def __init__(self, schema: Schema, *, network: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.copies = nn.ModuleList(network(schema=schema) for _ in schema.tasks)
        self.names = [task.name for task in schema.tasks]

    def forward(self, batch: Batch) -> Tensor:
        return torch.stack([copy(batch) for copy in self.copies], dim=1)

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``<task>/<name>``: diagnostics of each network that has any."""
        found: dict[str, Tensor] = {}
        for task, copy in zip(self.names, self.copies, strict=True):
            own: dict[str, Tensor] = getattr(copy, "diagnostics", lambda _: {})(batch)
            found |= {f"{task}/{name}": value for name, value in own.items()}
        return found
