"""DIN: attention over the behaviour history with respect to the candidate; one logit."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.histories import FieldsAndHistories
from mtlbench.nn.interest import ActivationUnit, HistoryWeights, Interests
from mtlbench.nn.stacked import Towers
from mtlbench.schema import Batch, Schema


class DIN(nn.Module):
    """``s = tower([other fields ; v_1 ; ... ; v_n])``, v_h history h pooled by attention to the candidate.

    A network with one logit; `mtlbench.models.single_task.SingleTask` makes a model from it.

    Args:
        schema: the fields; histories are those with a target, see `Field`.
        embedding_width: components of a field embedding.
        layers: widths of the hidden layers; none makes a linear head.
        activation: after each of them.
        attention_layers: widths of the hidden layers of the unit that weighs a history entry.
        attention_activation: after each of those.
        attention_softmax: whether the weights of a history's entries sum to 1.
        history_weights: what the weight of an entry means, see `Interests`. Ali-CCP's are logarithms already.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B]``.

    Raises:
        ValueError: a schema without histories; see `Interests`.

    Paper: Zhou et al.: Deep Interest Network for Click-Through Rate Prediction, KDD 2018; layers of the attention and
    their sigmoid as in the authors' code.
    Departure: several histories, each with its own attention, and weights of entries; neither is in the paper. No
    mini-batch aware regularisation.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        activation: LayerActivation = "dice",
        attention_layers: Sequence[int] = (80, 40),
        attention_activation: LayerActivation = "sigmoid",
        attention_softmax: bool = False,
        history_weights: HistoryWeights = "given",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        units = partial(
            ActivationUnit, layers=attention_layers, activation=attention_activation, softmax=attention_softmax
        )
        self.fields = FieldsAndHistories(schema, embedding_width, embedding_std)
        self.interests = Interests(self.fields, embedding_width, units, history_weights)
        self.tower = Towers(1, self.interests.width, layers, dropout, activation=activation)

    def forward(self, batch: Batch) -> Tensor:
        x_BFD, histories = self.fields(batch)
        return self.tower(self.interests(x_BFD, histories)[None])[:, 0]

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``attention/<history>`` ``[B, L]``: the weight of each entry."""
        return self.interests.diagnostics(*self.fields(batch))
