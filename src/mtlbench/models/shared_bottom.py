"""Shared-Bottom: one shared multilayer perceptron, one tower per task."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.stacked import MLP, Towers
from mtlbench.schema import Batch, Schema


class SharedBottom(nn.Module):
    """``s_t = tower_t(MLP(x))``.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        bottom_layers: widths of the layers that all tasks share.
        tower_layers: widths of each tower's hidden layers; none makes it linear.
        activation: after every hidden layer.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Paper: Caruana, Multitask Learning, Machine Learning 28, 1997.
    Departure: none.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        bottom_layers: Sequence[int],
        tower_layers: Sequence[int],
        activation: LayerActivation = "relu",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.bottom = MLP(len(schema.fields) * embedding_width, bottom_layers, dropout, activation)
        self.towers = Towers(len(schema.tasks), self.bottom.width, tower_layers, dropout, activation=activation)

    def forward(self, batch: Batch) -> Tensor:
        x_BFD = self.fields(batch)
        return self.towers(self.bottom(x_BFD.flatten(1))[None])
