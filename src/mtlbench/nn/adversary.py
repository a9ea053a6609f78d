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
    """x itself, to the bit, with a gradient of the opposite sign."""
    return 2 * x.detach() - x


class SourceDiscriminator(nn.Module):
    """Tells from a representation S which of K sources a row is from; S learns the opposite.

    ``kway``: one network, ``mean_b -log softmax(D(S_b))[source_b]``. ``binary``: one for each source, which tells its
    own rows (real) from all others (fake), the mean over rows of the K losses' sum. D minimises the loss; through a
    reversed gradient of factor 1 what made S maximises it, so that the weight acts once. Both do so in every step, or,
    with ``alternate``, in turns: D in the first, third, ... pass that is followed by a gradient, S in the others.

    Shape: S ``[B, in]``, source int64 ``[B]`` -> nothing; the loss is the penalty.

    Args:
        sources: K.
        inputs: width of S.
        layers: widths of D's hidden layers.
        kind: see above.
        weight: of the penalty.
        mode: whether both sides learn at once, ``reversal``, or in turns, ``alternate``.

    Attributes:
        learns: with turns, whether the next one is D's.

    Raises:
        ValueError: an unknown kind or mode, a negative weight, or data without sources.

    Paper: Wang, Zhang, Wulamu 2021, 3.6, Eq. 12, which D maximises and the mapping S minimises; the weight is ours.
    Departure: Eq. 12 as printed, with c = 1 (real) or 0 (fake) and the term of log D alone, is best at D = 1
    everywhere, hence one of these two. The paper does not say how the two sides train. With turns D ends at chance
    under plain gradient steps, and under Adam without momentum (betas of 0 and 0.999); with the usual momentum neither
    way gets it there, as S and D circle. A D at chance does not mean that S has lost the source: a linear S has only
    turned away from D, and a new classifier of S still finds it.
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
                f"cognitive is {kind}, which asks from which source (scenario) a row comes, but these data do not say: "
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
            # Its own mean differs in the last bit from the mean of its elements.
            each_B = F.cross_entropy(logits_BK, source_B, reduction="mean" if sample_weight_B is None else "none")
        else:
            own_BK = F.one_hot(source_B, self.sources).to(logits_BK.dtype)
            each_B = F.binary_cross_entropy_with_logits(logits_BK, own_BK, reduction="none").sum(dim=1)
        self._loss = each_B.mean() if sample_weight_B is None else mean_of_counted(each_B, sample_weight_B)

    def _in_turn(self, mapped_BI: Tensor) -> Tensor:
        """Logits that one side learns from; the other has no gradient, not one of 0, on which momentum would act."""
        assert self.learns is not None
        learns = bool(self.learns)
        self.requires_grad_(learns)
        logits_BK = self.logits(mapped_BI.detach() if learns else reversed_gradient(mapped_BI))
        self.requires_grad_(True)
        if torch.is_grad_enabled():  # a pass that only measures is nobody's turn
            self.learns.logical_not_()
        return logits_BK

    def penalty(self) -> Tensor:
        """The weighted loss of the last forward pass, which is then forgotten."""
        stored, self._loss = self._loss, None
        assert stored is not None, "a penalty is taken once after each forward pass in training"
        return self.weight * stored

    def accuracy(self, mapped_BI: Tensor, source_B: Tensor) -> Tensor:
        """Share of rows whose source has the highest logit, a scalar."""
        return (self.logits(mapped_BI).argmax(dim=1) == source_B).float().mean()
