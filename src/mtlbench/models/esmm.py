"""ESMM: pCTCVR = pCTR x pCVR over the entire impression space."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.product import GivenProducts
from mtlbench.nn.stacked import Towers
from mtlbench.schema import Batch, Schema


class ESMM(nn.Module):
    """``p_t = sigmoid(tower_t(x)) p_given(t)``: click, and click times conversion given a click.

    Each task has its own tower; embeddings are shared. The tower of a task with a parent predicts its probability
    *given* the parent and has no separate loss: it learns from the product over all rows.

    Args:
        schema: the fields and tasks; `Task.given` names a task's parent.
        embedding_width: components of a field embedding.
        layers: widths of each tower's hidden layers; none makes it linear.
        activation: after every hidden layer.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``, the log-odds of the products.

    Raises:
        ValueError: several tasks, none of which has a parent; a regression task; labels that are missing.

    Paper: Ma, Zhao, Huang, Wang, Hu, Zhu, Gai: Entire Space Multi-Task Model, SIGIR 2018.
    Departure: any number of tasks, chained by `Task.given`; a task without a parent is just its tower.
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
        self.products = GivenProducts(schema)
        self.towers = Towers(
            len(schema.tasks), len(schema.fields) * embedding_width, layers, dropout, activation=activation
        )

    def forward(self, batch: Batch) -> Tensor:
        return self.products(self.towers(self.fields(batch).flatten(1)[None]))

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``conditional_logits`` ``[B, T]``: each tower's output, of a task given its parent."""
        return {"conditional_logits": self.towers(self.fields(batch).flatten(1)[None])}
