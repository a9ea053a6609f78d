"""xDeepFM: linear part, compressed interaction network and multilayer perceptron in parallel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.nn.activations import Activation
from mtlbench.nn.compressed import CompressedInteraction
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.stacked import MLP, Towers
from mtlbench.nn.wide import FirstOrder
from mtlbench.schema import Batch, Schema


class XDeepFM(nn.Module):
    """``s = sum_f a_f[x_f] + w . [CIN(E), MLP(x)] + b``.

    A network with one logit; `mtlbench.models.single_task.SingleTask` makes a model from it.

    Args:
        schema: the fields.
        embedding_width: components of a field embedding.
        layers: widths of the MLP's hidden layers; without any it is the identity.
        interaction_layers: number of feature maps in each layer of the compressed interaction network.
        interaction_split_half, interaction_activation: see `CompressedInteraction`.
        dropout: after every hidden layer of the MLP.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B]``.

    Raises:
        ValueError: an argument outside its allowed values.

    Paper: Lian et al.: xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender Systems, KDD 2018.
    Departure: none. The numbers of maps are our choice.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        interaction_layers: Sequence[int] = (100, 100),
        interaction_split_half: bool = False,
        interaction_activation: Activation = "none",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        fields = len(schema.fields)
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.wide = FirstOrder(schema)
        self.interaction = CompressedInteraction(
            fields, interaction_layers, interaction_split_half, interaction_activation
        )
        self.deep = MLP(fields * embedding_width, layers, dropout)
        self.head = Towers(1, self.interaction.width + self.deep.width, ())

    def forward(self, batch: Batch) -> Tensor:
        x_BFD = self.fields(batch)
        last_BI = torch.cat([self.interaction(x_BFD), self.deep(x_BFD.flatten(1))], dim=1)
        return self.head(last_BI[None])[:, 0] + self.wide(batch)
