"""Virtual gradient: scales the gradient of each task's gates by task relatedness."""

import math
from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from mtlbench.checks import in_range, one_of
from mtlbench.distributed.sums import sum_over_ranks
from mtlbench.schema import Task, refuse_missing, refuse_regression

Interaction = Literal["add", "mul"]
Shape = Literal["sqrt", "abs", "cos", "square"]
Relevance = Literal["pearson", "cosine"]
Multiplicative = Literal["2xy", "xy", "2sqrt"]
Implementation = Literal["surrogate", "literal_ratio"]
Undefined = Literal["plain_gradient", "irrelevant"]

EPSILON = 1e-6
"""Keeps the literal ratio and its derivative finite where a coefficient is 0. The surrogate does not need it."""


class VirtualGradient(nn.Module):
    """Gates pass unchanged; their gradient is multiplied by ``Gamma_t = prod_{j != t} gamma_tj`` (Eq. 8).

    ``gamma_tj = g(u(x, y))`` with the relevance x of the labels of tasks t and j within the batch and the difference
    ``y = min(1, |G_t - G_j|)`` of their gates, both in [0, 1]:

    * interaction ``add``: u = x + y; ``mul``: u = 2xy (or as `multiplicative` says);
    * shape ``cos``: g = cos(pi u) + 1 (with ``add``, this is Eq. 9); ``abs``: 2|u - 1|; ``square``: 2(u - 1)^2;
      ``sqrt``: 2 sqrt|u - 1|. All are 2 at u = 0 and 2, and 0 at u = 1.

    In evaluation mode, or without labels, the gradient is unchanged too.

    Shape: gates ``[T, ...]`` (free gates, or ``[T, B, E]`` that differ by row), labels ``[B, T]`` or ``None``, observed
    ``[B, T]`` or ``None`` -> gates ``[T, ...]``.

    Args:
        interaction: how x and y become u.
        shape: g.
        relevance: absolute ``pearson`` correlation or ``cosine`` similarity of two tasks' labels, over the rows where
            both are observed.
        relevance_ema: weight of the past in a running mean of the relevance over batches; 0: only the current batch.
        multiplicative: u of the interaction ``mul``; ``2sqrt`` is 2 sqrt(xy).
        implementation: ``surrogate`` is Eq. 8. ``literal_ratio`` is the product with the coefficient, divided by a
            frozen copy of it, as III-C describes; its gradient is 1 + G gamma'(G) / gamma(G), which is not Eq. 8.
        undefined: what to do where the relevance is undefined (a constant label, fewer than two rows that observe
            both): gamma := 1, or the running mean if it has a value; or x := 0, also in the running mean.

    Attributes:
        relevance: ``[T, T]``, the last (or running) relevance; 0 where it never had a value.
        undefined: ``[T, T]``, in how many batches the relevance had no value.
        batches: how many batches there were.

    Raises:
        ValueError: an argument outside its allowed values.

    Paper: DEPHN III-C, Eqs. 7-9 and Fig. 4.
    Departure: the eight functions are reconstructed from the properties that IV-C describes; Fig. 4 names only the
    additive cosine. The paper does not say what to do in a batch without a conversion: 0 would make Gamma jump in most
    steps of a rare task, hence gamma := 1.
    """

    relevance: Tensor
    undefined: Tensor
    batches: Tensor

    def __init__(
        self,
        *,
        interaction: Interaction = "add",
        shape: Shape = "sqrt",
        relevance: Relevance = "pearson",
        relevance_ema: float = 0.0,
        multiplicative: Multiplicative = "2xy",
        implementation: Implementation = "surrogate",
        undefined: Undefined = "plain_gradient",
    ) -> None:
        super().__init__()
        one_of("virtual_gradient.interaction", interaction, Interaction)
        one_of("virtual_gradient.shape", shape, Shape)
        one_of("virtual_gradient.relevance", relevance, Relevance)
        one_of("virtual_gradient.multiplicative", multiplicative, Multiplicative)
        one_of("virtual_gradient.undefined", undefined, Undefined)
        one_of("virtual_gradient.implementation", implementation, Implementation)
        in_range("virtual_gradient.relevance_ema", relevance_ema, ge=0, lt=1)  # at 1 no batch would count
        self.interaction, self.multiplicative = interaction, multiplicative
        self.shape: Shape = shape
        self.measure: Relevance = relevance
        self.relevance_ema = relevance_ema
        self.implementation, self.undefined_rule = implementation, undefined

    def between(self, tasks: Sequence[Task]) -> Self:
        """This module, set up for the tasks, which its configuration does not know. A model calls it once.

        Raises:
            ValueError: a regression task, or labels that are missing: of tasks that are labelled on different rows,
                the relevance would say how these rows differ.
        """
        refuse_regression(
            tasks, "a virtual gradient is made of the relevance of labels of 0 and 1", "Choose virtual_gradient=none"
        )
        refuse_missing(
            tasks, "a virtual gradient compares the labels of all tasks row by row", "Choose virtual_gradient=none"
        )
        pairs = len(tasks), len(tasks)
        self.register_buffer("relevance", torch.zeros(pairs))
        self.register_buffer("undefined", torch.zeros(pairs, dtype=torch.int64))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        return self

    def forward(self, gates_T: Tensor, labels_BT: Tensor | None, observed_BT: Tensor | None) -> Tensor:
        if not self.training or labels_BT is None:
            return gates_T
        relevance_TT, defined_TT = self._current_relevance(labels_BT, observed_BT)
        self._remember(relevance_TT, defined_TT)
        frozen_T = gates_T.detach()
        if self.implementation == "literal_ratio":
            factor_T = self._coefficients(gates_T, relevance_TT) + EPSILON
            return gates_T * factor_T / factor_T.detach()
        return frozen_T + self._coefficients(frozen_T, relevance_TT) * (gates_T - frozen_T)

    @torch.no_grad()
    def coefficients(self, gates_T: Tensor, labels_BT: Tensor, observed_BT: Tensor | None) -> Tensor:
        """Gamma ``[T, ...]`` as `forward` would apply it in training. No state is updated."""
        relevance_TT, _ = self._current_relevance(labels_BT, observed_BT)
        return self._coefficients(gates_T, relevance_TT)

    def diagnostics(self, gates_T: Tensor, labels_BT: Tensor | None, observed_BT: Tensor | None) -> dict[str, Tensor]:
        """``relevance`` as last seen in training, ``undefined`` as a share of batches, ``coefficient`` now."""
        found = {"relevance": self.relevance.clone(), "undefined": self.undefined / self.batches.clamp(min=1)}
        if labels_BT is not None:
            found["coefficient"] = self.coefficients(gates_T, labels_BT, observed_BT)
        return found

    def _current_relevance(self, labels_BT: Tensor, observed_BT: Tensor | None) -> tuple[Tensor, Tensor]:
        """The relevance to apply (NaN: gamma is 1), and where this batch defined it."""
        counts = label_counts(labels_BT, observed_BT)
        counts = sum_over_ranks(counts) if self.training else counts  # of the whole batch
        batch_TT = relevance_of(counts, self.measure).to(self.relevance.dtype)
        defined_TT = ~batch_TT.isnan()
        if self.undefined_rule == "irrelevant":
            batch_TT = batch_TT.nan_to_num(nan=0.0)
        if self.relevance_ema == 0:
            return batch_TT, defined_TT
        seen_TT = self.batches > (self.undefined if self.undefined_rule == "plain_gradient" else 0)
        mean_TT = torch.lerp(batch_TT, self.relevance, self.relevance_ema)
        relevance_TT = torch.where(seen_TT, torch.where(batch_TT.isnan(), self.relevance, mean_TT), batch_TT)
        return relevance_TT, defined_TT

    def _remember(self, relevance_TT: Tensor, defined_TT: Tensor) -> None:
        self.relevance.copy_(torch.where(relevance_TT.isnan(), self.relevance, relevance_TT))
        self.undefined += ~defined_TT
        self.batches += 1

    def _coefficients(self, gates_T: Tensor, relevance_TT: Tensor) -> Tensor:
        tasks = len(gates_T)
        y_TT = (gates_T[:, None] - gates_T[None]).abs().clamp(max=1)
        x_TT = relevance_TT.to(gates_T.dtype).view(tasks, tasks, *[1] * (gates_T.dim() - 1))
        gamma_TT = self.gamma(x_TT.nan_to_num(nan=0.0), y_TT)
        same_TT = torch.eye(tasks, dtype=torch.bool, device=gates_T.device).view_as(x_TT)
        return torch.where(same_TT | x_TT.isnan(), 1, gamma_TT).prod(dim=1)

    def gamma(self, x: Tensor, y: Tensor) -> Tensor:
        """The coefficient of a pair of tasks, of relevance x and gate difference y."""
        # Square roots have no derivative at 0; only the literal ratio needs one.
        least = EPSILON if self.implementation == "literal_ratio" else 0.0
        if self.interaction == "add":
            u = x + y
        else:
            u = {"2xy": 2 * x * y, "xy": x * y, "2sqrt": 2 * (x * y).clamp(min=least).sqrt()}[self.multiplicative]
        match self.shape:
            case "cos":
                return torch.cos(math.pi * u) + 1
            case "abs":
                return 2 * (u - 1).abs()
            case "square":
                return 2 * (u - 1).square()
            case "sqrt":
                return 2 * (u - 1).abs().clamp(min=least).sqrt()


def label_relevance(labels_BT: Tensor, observed_BT: Tensor | None, measure: Relevance) -> Tensor:
    """Absolute correlation (or cosine) of the labels of every two tasks over the rows that observe both.

    Shape: labels ``[B, T]``, observed ``[B, T]`` or ``None`` -> float64 ``[T, T]``, NaN where it is undefined.
    """
    return relevance_of(label_counts(labels_BT, observed_BT), measure)


def label_counts(labels_BT: Tensor, observed_BT: Tensor | None) -> Tensor:
    """Sums over the rows that observe task t and task j: 1, y_t, y_t squared, y_t y_j; float64 ``[4, T, T]``.

    Counts of 0/1 labels are integers, hence exact in float64, also under autocast.
    """
    y_BT = labels_BT.double()
    m_BT = torch.ones_like(y_BT) if observed_BT is None else observed_BT.double()
    y_BT = torch.where(m_BT > 0, y_BT, 0)  # labels that are not observed may be anything, NaN too
    return torch.stack([m_BT.T @ m_BT, y_BT.T @ m_BT, y_BT.square().T @ m_BT, y_BT.T @ y_BT])


def relevance_of(counts_4TT: Tensor, measure: Relevance) -> Tensor:
    """`label_relevance` from `label_counts`."""
    rows_TT, sum_TT, square_TT, product_TT = counts_4TT
    if measure == "pearson":
        product_TT = rows_TT * product_TT - sum_TT * sum_TT.T
        square_TT = rows_TT * square_TT - sum_TT.square()
    norm_TT = (square_TT * square_TT.T).clamp(min=0).sqrt()
    defined_TT = (norm_TT > 0) & (rows_TT >= 2)
    return torch.where(defined_TT, (product_TT / norm_TT).abs().clamp(max=1), torch.nan)
