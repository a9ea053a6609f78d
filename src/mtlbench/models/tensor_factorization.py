"""Tensor-Factorization: the weights of all tasks as one Tucker-factorised tensor per layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.checks import in_range
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.tucker import TuckerLinear
from mtlbench.schema import Batch, Schema


class TensorFactorization(nn.Module):
    """``h_t = relu(h_t W_t + b_t)`` layer by layer and ``s_t = h_t w_t + b_t``, every W and w of a `TuckerLinear`.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        layers: widths of each task's hidden layers; none makes it linear.
        input_rank, output_rank, task_rank: largest ranks in every layer; ``None`` for full rank.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: a rank or width below 1, a dropout outside [0, 1).

    Paper: Yang, Hospedales: Deep Multi-task Representation Learning: A Tensor Factorisation Approach, ICLR 2017; as a
    baseline of Ma et al., MMoE, KDD 2018, section 6.1, which chooses the Tucker decomposition.
    Departure: embeddings are shared and not factorised. Ranks are not stated.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        input_rank: int | None = 32,
        output_rank: int | None = 32,
        task_rank: int | None = None,
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        in_range("dropout", dropout, ge=0, lt=1)
        tasks, ranks = len(schema.tasks), (input_rank, output_rank, task_rank)
        widths = [len(schema.fields) * embedding_width, *layers]
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.layers = nn.ModuleList(TuckerLinear(tasks, *pair, ranks) for pair in zip(widths, layers, strict=False))
        self.head = TuckerLinear(tasks, widths[-1], 1, ranks)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Tensor:
        h_TBH = self.fields(batch).flatten(1)[None]
        for layer in self.layers:
            h_TBH = self.dropout(torch.relu(layer(h_TBH)))
        # Not by a product of matrices, which autocast would round: see `Towers`.
        return ((h_TBH * self.head.weight().mT).sum(dim=-1) + self.head.bias).T

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``similarity`` ``[layers + 1, T, T]``: cosines of the tasks' weights, layer by layer, the head last."""
        layers = [*self.layers, self.head]
        flat = [nn.functional.normalize(layer.weight().flatten(1)) for layer in layers]  # pyright: ignore[reportCallIssue]
        return {"similarity": torch.stack([weight_TN @ weight_TN.T for weight_TN in flat])}
