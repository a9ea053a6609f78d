"""A discriminator of sources and the representation that is trained to leave it in the dark."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.nn.stacked import StackedLinear, StackedMLP

Discriminator = Literal["kway", "binary"]


def reversed_gradient(x: Tensor) -> Tensor:
    """x itself, to the bit, with a gradient of the opposite sign."""
    return 2 * x.detach() - x


class SourceDiscriminator(nn.Module):
    """Tells from a representation S which of K sources a row is from; S learns the opposite.

    ``kway``: one network, ``mean_b -log softmax(D(S_b))[source_b]``. ``binary``: one for each source, which tells its
    own rows (real) from all others (fake), the mean over rows of the K losses' sum. D minimises the loss; through a
    reversed gradient of factor 1 what made S maximises it, so that the weight acts once.

    Shape: S ``[B, in]``, source int64 ``[B]`` -> nothing; the loss is the penalty.

    Args:
        sources: K.
        inputs: width of S.
        layers: widths of D's hidden layers.
        kind: see above.
        weight: of the penalty.

    Raises:
        ValueError: an unknown kind, a negative weight, or data without sources.

    Paper: Wang, Zhang, Wulamu 2021, 3.6, Eq. 12, which D maximises and the mapping S minimises; the weight is ours.
    Departure: Eq. 12 as printed, with c = 1 (real) or 0 (fake) and the term of log D alone, is best at D = 1
    everywhere, hence one of these two. Training does not alternate between D and S: the gradient is reversed.
    """

    def __init__(
        self, sources: int, inputs: int, layers: Sequence[int], *, kind: Discriminator = "kway", weight: float = 0.1
    ) -> None:
        super().__init__()
        if kind not in get_args(Discriminator):
            raise ValueError(f"cognitive is {kind!r}; allowed: none, {', '.join(get_args(Discriminator))}")
        if sources < 1:
            raise ValueError(
                f"cognitive is {kind}, which asks from which source (scenario) a row comes, but these data do not say: "
                "choose data with sources (dataset=aliccp), or model.cognitive=none"
            )
        if weight < 0:
            raise ValueError(f"cognitive_weight is {weight}; allowed: 0 or more")
        self.sources, self.weight, self.kind = sources, weight, kind
        networks, outputs = (1, sources) if kind == "kway" else (sources, 1)
        self.hidden = StackedMLP(networks, inputs, layers)
        self.head = StackedLinear(networks, self.hidden.width, outputs)
        self._loss: Tensor | None = None

    def logits(self, mapped_BI: Tensor) -> Tensor:
        """``[B, K]``, of a softmax over sources (``kway``) or of a sigmoid each (``binary``)."""
        return self.head(self.hidden(mapped_BI[None])).transpose(0, 1).flatten(1)

    def forward(self, mapped_BI: Tensor, source_B: Tensor | None) -> None:
        assert source_B is not None, "a schema with sources came with a batch without them"
        logits_BK = self.logits(reversed_gradient(mapped_BI))
        logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        if self.kind == "kway":
            self._loss = F.cross_entropy(logits_BK, source_B)
        else:
            own_BK = F.one_hot(source_B, self.sources).to(logits_BK.dtype)
            self._loss = F.binary_cross_entropy_with_logits(logits_BK, own_BK, reduction="none").sum(dim=1).mean()

    def penalty(self) -> Tensor:
        """The weighted loss of the last forward pass, which is then forgotten."""
        stored, self._loss = self._loss, None
        assert stored is not None, "a penalty is taken once after each forward pass in training"
        return self.weight * stored

    def accuracy(self, mapped_BI: Tensor, source_B: Tensor) -> Tensor:
        """Share of rows whose source has the highest logit, a scalar."""
        return (self.logits(mapped_BI).argmax(dim=1) == source_B).float().mean()
