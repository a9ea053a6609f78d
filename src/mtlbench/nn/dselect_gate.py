"""DSelect-k gates: sparse and continuously differentiable, with weight on at most k experts."""

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, in_range
from mtlbench.distributed.sums import mean_of_counted
from mtlbench.nn.stacked import StackedLinear

EPSILON = 1e-6
"""Keeps a logarithm and a quotient finite at 0; the value of the authors' code."""


class DSelectGates(nn.Module):
    """T gates over E experts, each a mixture of k one-expert selectors: ``g_t = sum_i softmax(a_t)_i r(z_ti)``.

    A selector encodes the number of an expert in binary: ``r(z)_e = prod_j (S(z_j) if b_j(e) else 1 - S(z_j))``,
    b_j(e) the j-th of the ``m = ceil(log2 E)`` digits of e = 0 .. E - 1, lowest first, and S the `smooth_step`. Once
    every z_j is outside the step, r selects exactly one expert, and a gate has at most k entries above 0. Per-example
    gates have ``a_t = x A_t`` and ``z_ti = x Z_ti``; static gates have one a_t and z_ti per task, for all rows.

    Penalties (see `penalty`) are (weighted) means over rows, summed over gates and selectors: the entropy of r pulls a
    selector to one expert. If E is no power of 2, some codes stand for no expert and ``sum_e r_e`` may fall below 1;
    its inverse, less 1, keeps selectors away from them.

    Shape: ``[B, in]`` -> ``[T, B, E]``, 0 or more; gates sum to 1 if E is a power of 2, else to at most 1.

    Args:
        gates: T.
        inputs: width of x.
        experts: E, 2 or more.
        selected: k.
        per_example: whether gates depend on the row; otherwise they are static.
        bias: whether biases are added to ``x A_t`` and ``x Z_ti``.
        step_width: gamma, the width of the smooth step.
        entropy_weight: of the entropy; the other penalty has weight 1.

    Raises:
        ValueError: a number out of range; a bias of static gates, which it would not change.

    Paper: Hazimeh, Zhao, Chowdhery, Sathiamoorthy, Chen, Mazumder, Hong, Chi: DSelect-k: Differentiable Selection in
    the Mixture of Experts with Applications to Multi-Task Learning, NeurIPS 2021. Initial values are those of the
    authors' public code: uniform in +-gamma / 100 for Z, +-0.05 for A.
    Departure: the public code sums penalties over the rows of a batch; here they are averaged, as the losses are, so
    that a weight does not depend on the batch size. The minimum of ``1 / sum_e r_e``, 1, is subtracted; that does not
    change the gradient. The code's per-example gates have biases (``bias``). Its entropy penalty is off by default, and
    has weight 1e-6 otherwise; summed over about a thousand rows that is our 0.001. A single selector (k = 1) has no
    scores: their softmax is 1.
    """

    def __init__(
        self,
        gates: int,
        inputs: int,
        experts: int,
        *,
        selected: int = 2,
        per_example: bool = True,
        bias: bool = False,
        step_width: float = 1.0,
        entropy_weight: float = 0.001,
    ) -> None:
        super().__init__()
        at_least("experts", experts, 2)
        in_range("selected_experts", selected, ge=1, le=experts)
        in_range("step_width", step_width, gt=0)
        at_least("entropy_weight", entropy_weight, 0)
        if bias and not per_example:
            raise ValueError("gate_bias is true with per_example=false; allowed: false, as static gates read no input")
        self.experts, self.selected, self.per_example, self.step_width = experts, selected, per_example, step_width
        self.digits, self.entropy_weight = (experts - 1).bit_length(), entropy_weight
        inputs = inputs if per_example else 1
        self.codes = StackedLinear(gates, inputs, selected * self.digits, bias)
        self.scores = StackedLinear(gates, inputs, selected, bias) if selected > 1 else None
        for parameter in self.codes.parameters():
            nn.init.uniform_(parameter, -step_width / 100, step_width / 100)
        for parameter in () if self.scores is None else self.scores.parameters():
            nn.init.uniform_(parameter, -0.05, 0.05)
        self._penalty: Tensor | None = None

    def forward(self, x_BI: Tensor, sample_weight_B: Tensor | None = None) -> Tensor:
        # A static gate is a per-example gate whose input is always 1.
        x_1BI = x_BI[None] if self.per_example else x_BI.new_ones(1, 1, 1)
        z_TBKM = _at_least_float32(self.codes(x_1BI)).unflatten(-1, (self.selected, self.digits))
        r_TBKE = _selectors(smooth_step(z_TBKM, self.step_width))[..., : self.experts]
        if self.training:
            self._penalty = self._penalty_of(r_TBKE, sample_weight_B)
        if self.scores is None:
            gate_TBE = r_TBKE[..., 0, :]
        else:
            share_TBK = torch.softmax(_at_least_float32(self.scores(x_1BI)), dim=-1)
            gate_TBE = (share_TBK[..., None] * r_TBKE).sum(dim=-2)
        return gate_TBE.expand(-1, x_BI.shape[0], -1)

    def penalty(self) -> Tensor:
        """The weighted penalties of the last forward pass in training; the call clears them."""
        stored, self._penalty = self._penalty, None
        assert stored is not None, "a penalty is taken once after each forward pass in training"
        return stored

    def _penalty_of(self, r_TBKE: Tensor, sample_weight_B: Tensor | None) -> Tensor:
        entropy_TBK = -(r_TBKE * (r_TBKE + EPSILON).log()).sum(dim=-1)
        charged_TBK = self.entropy_weight * entropy_TBK
        if self.experts < 2**self.digits:
            charged_TBK = charged_TBK + 1 / r_TBKE.sum(dim=-1).clamp_min(EPSILON) - 1
        if sample_weight_B is None or not self.per_example:
            return charged_TBK.mean(dim=1).sum()
        return mean_of_counted(charged_TBK.sum(dim=(0, 2)), sample_weight_B)


def smooth_step(t: Tensor, width: float = 1.0) -> Tensor:
    """Cubic step, 0 up to ``-width / 2`` and 1 from ``width / 2`` on, exactly: ``1/2 + 3/2 u - 2 u^3``, u = t / width.

    Element-wise; its derivative is continuous, and 0 outside of the step.
    """
    u = (t / width).clamp(-0.5, 0.5)
    return 0.5 + 1.5 * u - 2 * u**3


def _selectors(on_TBKM: Tensor) -> Tensor:
    """Weights of all 2^m numbers, ``[..., 2^m]``, from the value in [0, 1] of each of their digits, ``[..., m]``."""
    r = torch.ones_like(on_TBKM[..., :1])
    for on in on_TBKM.split(1, dim=-1):
        r = torch.cat([r * (1 - on), r * on], dim=-1)
    return r


def _at_least_float32(x: Tensor) -> Tensor:
    # Under autocast too: eight bits are too few for a cubic step, and gates are compared with one another.
    return x.to(torch.promote_types(x.dtype, torch.float32))
