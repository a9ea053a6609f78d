"""L2-Constrained: soft parameter sharing by an L2 penalty on the distance between the tasks' networks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.stacked import Towers
from mtlbench.schema import Batch, Schema


class L2Constrained(nn.Module):
    """``s_t = MLP(x; theta_t)``; in training, ``alpha * sum_(t < u) ||theta_t - theta_u||^2`` is added to the loss.

    With alpha = 0 tasks share only the embeddings; with a large alpha they are nearly one network.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        layers: widths of each task's hidden layers; none makes it linear.
        constraint_weight: alpha.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: a negative weight.

    Paper: Duong, Cohn, Bird, Cook: Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural Network
    Parser, ACL 2015; as a baseline of Ma et al., MMoE, KDD 2018, section 6.1.
    Departure: any number of tasks, in pairs. Embeddings are shared, the limit of a large alpha; theta is everything
    after them, biases and heads included. alpha is not stated.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        constraint_weight: float = 0.001,
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        at_least("constraint_weight", constraint_weight, 0)
        self.constraint_weight = constraint_weight
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.networks = Towers(len(schema.tasks), len(schema.fields) * embedding_width, layers, dropout)

    def forward(self, batch: Batch) -> Tensor:
        return self.networks(self.fields(batch).flatten(1)[None])

    def penalty(self) -> Tensor:
        """The weighted penalty, computed as ``sum_(t < u) ||theta_t - theta_u||^2 = T sum_t ||theta_t - mean||^2``."""
        apart = [p - p.mean(dim=0) for p in self.networks.parameters()]
        return self.constraint_weight * torch.stack([len(p) * p.square().sum() for p in apart]).sum()

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``distance`` ``[T, T]``, ``||theta_t - theta_u||``."""
        theta_TP = torch.cat([p.flatten(1) for p in self.networks.parameters()], dim=1)
        return {"distance": torch.linalg.vector_norm(theta_TP[:, None] - theta_TP[None], dim=-1)}
