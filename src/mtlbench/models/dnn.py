"""DNN: a multilayer perceptron on concatenated field embeddings, one logit."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.stacked import Towers
from mtlbench.schema import Batch, Schema


class DNN(nn.Module):
    """``s = w . MLP(x) + b``, x the concatenated field embeddings of a row.

    A network with one logit; `mtlbench.models.single_task.SingleTask` makes a model from it.

    Args:
        schema: the fields.
        embedding_width: components of a field embedding.
        layers: widths of the hidden layers; none makes a logistic regression on the embeddings.
        activation: after every hidden layer.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B]``.

    Paper: the "DNN" and "MLP" rows of the papers' tables, which state the widths at most.
    Departure: none. The head has a bias; public code often has none, which leaves the class prior to other weights.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        activation: LayerActivation = "relu",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.tower = Towers(1, len(schema.fields) * embedding_width, layers, dropout, activation=activation)

    def forward(self, batch: Batch) -> Tensor:
        x_BFD = self.fields(batch)
        return self.tower(x_BFD.flatten(1)[None])[:, 0]
