"""Sluice network: subspaces of every layer are mixed across tasks, and every layer feeds the output."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.sluice import SluiceMLP
from mtlbench.nn.stacked import Towers
from mtlbench.nn.stitch import stitch_weights
from mtlbench.schema import Batch, Schema


class Sluice(nn.Module):
    """One MLP per task, mixed as in `SluiceMLP`, then ``s_t = tower_t(sum_l beta_tl h_tl)``.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        layers: widths of each task's layers, all equal.
        tower_layers: widths of each tower's hidden layers; none makes it linear.
        subspaces: number of separately mixed parts of a layer.
        own_start, last_start, orthogonality_weight: see `SluiceMLP`.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: what `SluiceMLP` rejects.

    Paper: Ruder, Bingel, Augenstein, Sogaard: Latent Multi-Task Architecture Learning, AAAI 2019.
    Departure: the weight of the penalty on subspaces is our choice.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        tower_layers: Sequence[int],
        subspaces: int = 2,
        own_start: float | None = 0.9,
        last_start: float | None = 0.9,
        orthogonality_weight: float = 0.01,
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        tasks = len(schema.tasks)
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.networks = SluiceMLP(
            tasks,
            len(schema.fields) * embedding_width,
            layers,
            subspaces=subspaces,
            own_start=own_start,
            last_start=last_start,
            dropout=dropout,
            orthogonality_weight=orthogonality_weight,
        )
        self.towers = Towers(tasks, self.networks.width, tower_layers, dropout)

    def forward(self, batch: Batch) -> Tensor:
        return self.towers(self.networks(self.fields(batch).flatten(1)[None]))

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``stitch`` ``[layers, T * subspaces, T * subspaces]``, alpha; ``share`` ``[T, layers]``, beta."""
        return {"stitch": stitch_weights(self.networks.stitches), "share": self.networks.shares}
