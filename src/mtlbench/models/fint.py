"""FINT: field-level interactions, then a multilayer perceptron."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.field import FieldLayers, ResidualStart
from mtlbench.nn.stacked import Towers
from mtlbench.schema import Batch, Schema


class FINT(nn.Module):
    """``V_l+1 = V_l * (W_l V_0) + u_l V_l`` over the field embeddings V_0, ``s = w . MLP(V_L) + b``.

    A network with one logit; `mtlbench.models.single_task.SingleTask` makes a model from it.

    Args:
        schema: the fields.
        embedding_width: components of a field embedding.
        layers: widths of the MLP's hidden layers; none makes it linear.
        field_depth: number of field interaction layers.
        residual_start: initial values of u: ``ones``, or ``glorot`` as in the authors' code; see `FieldLayers`.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B]``.

    Raises:
        ValueError: an argument outside its allowed values.

    Paper: Zhao, Yang, Liu, Feng, Xu: FINT, arXiv 2107.01999. DEPHN's reference for "FINT" is another model, but the
    name and the description, "vector-wise", fit this one.
    Departure: u starts at 1, so that a deep network begins near the identity.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        field_depth: int = 2,
        residual_start: ResidualStart = "ones",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        fields = len(schema.fields)
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.field_layers = FieldLayers(1, fields, field_depth, residual_start=residual_start)
        self.tower = Towers(1, fields * embedding_width, layers, dropout)

    def forward(self, batch: Batch) -> Tensor:
        v_1BFD = self.field_layers(self.fields(batch)[None])
        return self.tower(v_1BFD.flatten(2))[:, 0]
