"""Wide & Deep: a linear model of ids and crossed fields, plus a multilayer perceptron."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.stacked import Towers
from mtlbench.nn.wide import CrossedFields, FirstOrder
from mtlbench.schema import Batch, Schema


class WideDeep(nn.Module):
    """``s = sum_f a_f[x_f] + sum_(f,g) c_fg[x_f, x_g] + w . MLP(x) + b``.

    A network with one logit; `mtlbench.models.single_task.SingleTask` makes a model from it.

    Args:
        schema: the fields.
        embedding_width: components of a field embedding.
        layers: widths of the MLP's hidden layers.
        crosses: pairs of field names, with a weight for each pair of their ids; none leaves a logistic regression as
            the wide part.
        cross_buckets: largest number of weights for a pair of fields; see `CrossedFields`.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B]``.

    Raises:
        ValueError: a cross that is not a pair of single-valued id fields.

    Paper: Cheng et al.: Wide & Deep Learning for Recommender Systems, DLRS 2016.
    Departure: one kind of optimizer for all tables; the paper has FTRL with L1 for the wide part and AdaGrad for the
    rest. Its crosses are specific to its app store, so there are none unless named. One bias for all parts.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        crosses: Sequence[Sequence[str]] = (),
        cross_buckets: int = 1_000_000,
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.wide = FirstOrder(schema)
        self.crossed = CrossedFields(schema, crosses, cross_buckets) if crosses else None
        self.tower = Towers(1, len(schema.fields) * embedding_width, layers, dropout)

    def forward(self, batch: Batch) -> Tensor:
        logit_B = self.tower(self.fields(batch).flatten(1)[None])[:, 0] + self.wide(batch)
        return logit_B if self.crossed is None else logit_B + self.crossed(batch)
