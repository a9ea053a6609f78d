"""NFM: a multilayer perceptron on bi-interaction pooling (the sum of pairwise products)."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.checks import in_range
from mtlbench.distributed.job import alone
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.pairwise import bi_interaction
from mtlbench.nn.stacked import Towers
from mtlbench.nn.wide import FirstOrder
from mtlbench.schema import Batch, Schema


class NFM(nn.Module):
    """``s = sum_f a_f[x_f] + w . MLP(sum_(i<j) e_i * e_j) + b``.

    A network with one logit; `mtlbench.models.single_task.SingleTask` makes a model from it.

    Args:
        schema: the fields.
        embedding_width: components of a field embedding.
        layers: widths of the MLP's hidden layers; with none (and no batch normalisation) this is a weighted
            factorisation machine.
        interaction_batch_norm: whether the sum of products is normalised over the batch, before its dropout.
        interaction_dropout: probability that a component of the sum of products is left out in training.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B]``.

    Raises:
        ValueError: a dropout outside [0, 1); in training with batch normalisation, a batch of one row.

    Paper: He, Chua: Neural Factorization Machines for Sparse Predictive Analytics, SIGIR 2017.
    Departure: batch normalisation only on the sum of products, not in the MLP. The dropout rate on that sum is our
    choice: the paper tunes it for each data set.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        interaction_batch_norm: bool = True,
        interaction_dropout: float = 0.2,
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        in_range("interaction_dropout", interaction_dropout, ge=0, lt=1)
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.wide = FirstOrder(schema)
        self.batch_norm = nn.BatchNorm1d(embedding_width) if interaction_batch_norm else None
        self.dropout = nn.Dropout(interaction_dropout)
        self.tower = Towers(1, embedding_width, layers, dropout)

    def forward(self, batch: Batch) -> Tensor:
        x_BD = bi_interaction(self.fields(batch))
        if self.batch_norm is not None:
            if self.training and len(batch) == 1 and alone():
                raise ValueError(
                    "NFM in training got a batch of one row, which has no variance; allowed: two rows or more. "
                    "Choose a batch size that leaves no single row over, or interaction_batch_norm=false"
                )
            x_BD = self.batch_norm(x_BD)
        return self.tower(self.dropout(x_BD)[None])[:, 0] + self.wide(batch)
