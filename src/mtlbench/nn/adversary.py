"""Source discriminator and gradient reversal (domain-adversarial training)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.checks import at_least, one_of
from mtlbench.distributed.sums import mean_of_counted
from mtlbench.nn.stacked import StackedLinear, StackedMLP

Discriminator = Literal["kway", "binary"]
Mode = Literal["reversal", "alternate"]


def reversed_gradient(x: Tensor) -> Tensor:
    """Gradient reversal: x itself, to the bit, with a gradient of the opposite sign."""
    return 2 * x.detach() - x


class SourceDiscriminator(nn.Module):
    """Predicts from a representation S which of K sources a row is from; S is trained to prevent that.

    ``kway``: one network, ``mean_b -log softmax(D(S_b))[source_b]``. ``binary``: one for each source, which separates
    its rows (real) from all others (fake); the K losses are summed, and averaged over rows. D minimises the loss; the
    network that makes S maximises it through a reversed gradient of factor 1, so that the weight acts once. Both do so
    in every step or, with ``alternate``, in turns: D in the first, third, ... pass with gradients, S in the others.

    Shape: S ``[B, in]``, source int64 ``[B]`` -> ``None``; `penalty` returns the loss.

    Args:
        sources: K.
        inputs: width of S.
        layers: widths of D's hidden layers.
        kind: see above.
        weight: of the penalty.
        mode: whether D and S are trained at once, ``reversal``, or in turns, ``alternate``.

    Attributes:
        learns: with ``alternate``, whether the next turn is D's.

    Raises:
        ValueError: an unknown kind or mode, a negative weight, or data without sources.

    Paper: Wang, Zhang, Wulamu 2021, 3.6, Eq. 12, which D maximises and the mapping S minimises; the weight is our
    choice.
    Departure: Eq. 12 as printed, with c = 1 (real) or 0 (fake) and only the term of log D, has its optimum at D = 1
    everywhere, hence one of these two. The paper does not say how D and S are trained. In turns, D ends at chance with
    plain gradient descent, and with Adam without momentum (betas of 0 and 0.999); with the usual momentum it does so in
    neither mode, as S and D circle. D at chance does not mean that S holds no information on the source: a linear S has
    only turned away from D, and a new classifier on S still recovers the source.
    """

    learns: Tensor | None

    def __init__(
        self,
        sources: int,
        inputs: int,
        layers: Sequence[int],
        *,
        kind: Discriminator = "kway",
        weight: float = 0.1,
        mode: Mode = "reversal",
    ) -> None:
        super().__init__()
        one_of("cognitive", kind, Discriminator, also="none")
        if sources < 1:
            raise ValueError(
                f"cognitive is {kind}, which needs the source (scenario) of each row, but these data do not say: "
                "choose data with sources (dataset=aliccp), or model.cognitive=none"
            )
        one_of("cognitive_mode", mode, Mode)
        at_least("cognitive_weight", weight, 0)
        self.sources, self.weight, self.kind = sources, weight, kind
        networks, outputs = (1, sources) if kind == "kway" else (sources, 1)
        self.hidden = StackedMLP(networks, inputs, layers)
        self.head = StackedLinear(networks, self.hidden.width, outputs)
        self.register_buffer("learns", torch.tensor(True) if mode == "alternate" else None)
        self._loss: Tensor | None = None

    def logits(self, mapped_BI: Tensor) -> Tensor:
        """``[B, K]``, of a softmax over sources (``kway``) or of a sigmoid each (``binary``)."""
        return self.head(self.hidden(mapped_BI[None])).transpose(0, 1).flatten(1)

    def forward(self, mapped_BI: Tensor, source_B: Tensor | None, sample_weight_B: Tensor | None = None) -> None:
        assert source_B is not None, "a schema with sources came with a batch without them"
        logits_BK = self.logits(reversed_gradient(mapped_BI)) if self.learns is None else self._in_turn(mapped_BI)
        logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        if self.kind == "kway":
            # The mean that cross_entropy takes differs in the last bit from the mean of its elements.
            each_B = F.cross_entropy(logits_BK, source_B, reduction="mean" if sample_weight_B is None else "none")
        else:
            own_BK = F.one_hot(source_B, self.sources).to(logits_BK.dtype)
            each_B = F.binary_cross_entropy_with_logits(logits_BK, own_BK, reduction="none").sum(dim=1)
        self._loss = each_B.mean() if sample_weight_B is None else mean_of_counted(each_B, sample_weight_B)

    def _in_turn(self, mapped_BI: Tensor) -> Tensor:
        """Logits that train D or S; the other gets no gradient at all, since momentum would act on one of 0."""
        assert self.learns is not None
        learns = bool(self.learns)
        self.requires_grad_(learns)
        logits_BK = self.logits(mapped_BI.detach() if learns else reversed_gradient(mapped_BI))
        self.requires_grad_(True)
        if torch.is_grad_enabled():  # a pass without gradients is no turn
            self.learns.logical_not_()
        return logits_BK

    def penalty(self) -> Tensor:
        """The weighted loss of the last forward pass; the call clears it."""
        stored, self._loss = self._loss, None
        assert stored is not None, "a penalty is taken once after each forward pass in training"
        return self.weight * stored

    def accuracy(self, mapped_BI: Tensor, source_B: Tensor) -> Tensor:
        """Share of rows whose source has the highest logit, a scalar."""
        return (self.logits(mapped_BI).argmax(dim=1) == source_B).float().mean()
