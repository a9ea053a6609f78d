"""Self-attention over the fields of a row."""

from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of
from mtlbench.nn.stacked import StackedLinear

AttentionResidual = Literal["none", "autoint"]


class FieldAttention(nn.Module):
    """Multi-head self-attention over fields, ``concat_h(softmax(Q_h K_h^T / sqrt(D/heads)) V_h) W_o``.

    No bias, no normalisation and no residual: Eq. 1 of DEPHN mixes the raw fields in afterwards. With
    ``residual="autoint"`` the result is ``relu(attention + x W_r)``.

    Shape: ``[B, F, D]`` -> ``[B, F, D]``.

    Raises:
        ValueError: the heads do not divide the width.

    Paper: DEPHN III-A ("traditional multi-head self-attention"; its number of heads is not stated).
    Departure: none.
    """

    def __init__(self, width: int, heads: int, residual: AttentionResidual = "none") -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(
                f"attention_heads is {heads} at a width of {width}; allowed: a divisor of the width, "
                "because every head reads an equal part of it"
            )
        one_of("attention_residual", residual, AttentionResidual)
        self.heads, self.width = heads, width
        self.query_key_value = StackedLinear(3, width, width, bias=False)
        self.output = StackedLinear(1, width, width, bias=False)
        self.residual = StackedLinear(1, width, width, bias=False) if residual == "autoint" else None

    def forward(self, x_BFD: Tensor) -> Tensor:
        rows, fields, width = x_BFD.shape
        weight_BHFF, value_BHFD = self._attend(x_BFD)
        mixed_BHFD = weight_BHFF.to(value_BHFD.dtype) @ value_BHFD
        out_BFD = self.output(mixed_BHFD.transpose(1, 2).reshape(1, -1, width)).view(rows, fields, width)
        if self.residual is None:
            return out_BFD
        return torch.relu(out_BFD + self.residual(x_BFD.reshape(1, -1, width)).view(rows, fields, width))

    def weights(self, x_BFD: Tensor) -> Tensor:
        """How much each field (third axis) attends to each (fourth): ``[B, heads, F, F]``, rows sum to 1."""
        return self._attend(x_BFD)[0]

    def _attend(self, x_BFD: Tensor) -> tuple[Tensor, Tensor]:
        rows, fields, width = x_BFD.shape
        query, key, value = (
            self.query_key_value(x_BFD.reshape(1, -1, width))
            .view(3, rows, fields, self.heads, -1)
            .transpose(2, 3)
            .unbind(0)
        )
        # Not torch's fused attention: with a few dozen fields its CPU kernel takes six times as long under bf16.
        # The scale goes to the queries, which are smaller than the scores.
        score_BHFF = (query * (width // self.heads) ** -0.5) @ key.transpose(-1, -2)
        return torch.softmax(score_BHFF, dim=-1), value
