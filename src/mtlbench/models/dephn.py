"""DEPHN: shared (public) deep experts with explicit mappings and gates, private cross and field experts per task."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.checks import at_least, each_once, one_of
from mtlbench.nn.activations import Activation
from mtlbench.nn.attention import AttentionResidual
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.gate import GateNorm, MappedGates
from mtlbench.nn.heterogeneous import (
    CrossChoice,
    HeterogeneousExperts,
    Interactions,
    Residual,
    SelectionScope,
    Structure,
    by_task,
)
from mtlbench.nn.mappings import MAPPINGS, explicit_mappings
from mtlbench.nn.selection import Squash
from mtlbench.nn.stacked import Towers
from mtlbench.nn.virtual_gradient import VirtualGradient
from mtlbench.schema import Batch, Schema, refuse_regression

Combine = Literal["logit_sum", "prob_mean", "prob_sum_clamped"]
GateKind = Literal["TVG", "MG"]
GateStart = Literal["uniform", "zeros", "mean", "ones"]

CLAMP = 1e-6
"""Distance from 1 at which a sum of two probabilities is clamped: well above the spacing of float32 there, 6e-8."""


class DEPHN(nn.Module):
    """Fields -> attention -> soft selection -> K public deep experts a_k, and private cross and field experts r_tk'.

    ``public_t = sum_kp G_tkp <W_tkp, f_p(a_k)> + b_t`` (Eq. 4) with fixed mappings f_p and trained gates G,
    ``private_t = sum_k' <W_tk', r_tk'>`` (Eq. 5), ``s_t = public_t + private_t`` (our reading of Eq. 6). In training, a
    virtual gradient multiplies the gates' gradient (Eqs. 8 and 9).

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        expert_layers: widths of a public expert's layers; the last one is m, the output width of all experts and the
            width of W (1: one activation value per expert, as in Eq. 3).
        public_experts: K.
        private_experts: number of cross experts, and of field experts, per task.
        mappings: names from `mtlbench.nn.mappings.MAPPINGS`.
        combine: how two parts become one prediction: ``logit_sum``, one sigmoid of their sum; ``prob_mean``, the mean
            of their sigmoids; ``prob_sum_clamped``, the sum of their sigmoids (Eq. 6), clamped below 1.
        gate: ``TVG``, trained values, the same for all rows; ``MG``, mapped from the raw fields of each row.
        gate_norm: of MG, over the K * P entries (ordered k * P + p).
        gate_vector: of TVG, one gate for each component of an expert's output instead of one for all.
        gate_start: initial values of TVG: ``uniform`` in [0, 1), ``zeros``, ``mean`` (1 / KP), ``ones``.
        deep_activation: after the last layer of public experts; a ReLU there would make cos(a) = 1 for half of all a.
        cross_kind, cross_depth, field_depth, residual, projection_activation, attention_heads, attention_residual,
        selection_scope, selection_squash, selection_start: as in `mtlbench.models.mtphn.MTPHN`.
        tower_layers: widths of hidden layers between the gated (and the private) values and their weights W, if any.
        dropout: after every hidden layer of deep experts and towers.
        embedding_std: see `FieldEmbedding`.
        virtual_gradient: scales the gradient of the gates.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: an argument outside its allowed values.

    Paper: DEPHN III and IV-D, Table II.
    Departure: Eq. 6 as printed adds two sigmoids; a sum above 1 has no log-odds and no cross entropy, so it exists only
    clamped (``prob_sum_clamped``), and one sigmoid of the sum is the default: Eq. 7 is its derivative, and IV-B speaks
    of activations before *the final* activation function. Numbers, widths and initial values are not stated. The skip
    of ``residual=logit_skip`` counts as private. Of the explicit mappings, "Taylor or Fourier terms", the paper names
    the identity, sine and cosine, which are the default; further terms are options (``mappings``). The soft selection
    "after sharing embedding" has one gate for each structure after one self-attention, as in IV-B and the three maps of
    Fig. 3(a), not one for all (``selection_scope``). The kind of cross layer is not stated: DCNv2's, which contains
    DCN's (``cross_kind``).
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        expert_layers: Sequence[int],
        public_experts: int = 4,
        private_experts: int = 1,
        mappings: Sequence[str] = ("identity", "sin", "cos"),
        combine: Combine = "logit_sum",
        gate: GateKind = "TVG",
        gate_norm: GateNorm = "softmax",
        gate_vector: bool = False,
        gate_start: GateStart = "uniform",
        deep_activation: Activation = "none",
        cross_kind: CrossChoice = "v2",
        cross_depth: int = 2,
        field_depth: int = 2,
        residual: Residual = "layer",
        projection_activation: Activation = "relu",
        attention_heads: int = 2,
        attention_residual: AttentionResidual = "none",
        selection_scope: SelectionScope = "structure",
        selection_squash: Squash = "none",
        selection_start: float = 0.5,
        tower_layers: Sequence[int] = (),
        dropout: float = 0.0,
        embedding_std: float | None = None,
        virtual_gradient: VirtualGradient | None = None,
    ) -> None:
        super().__init__()
        at_least("public_experts", public_experts, 1)
        at_least("private_experts", private_experts, 1)
        each_once("mappings", mappings, MAPPINGS)
        one_of("combine", combine, Combine)
        if combine != "logit_sum":
            refuse_regression(
                schema.tasks, f"model.combine={combine} adds probabilities", "Choose model.combine=logit_sum"
            )
        one_of("gate", gate, GateKind)
        one_of("gate_start", gate_start, GateStart)
        if gate == "MG" and gate_vector:
            raise ValueError("gate_vector is true with gate=MG; allowed with gate=TVG only, mapped gates are scalars")
        tasks, inputs = len(schema.tasks), len(schema.fields) * embedding_width
        self.mappings, self.tasks = tuple(mappings), tasks
        self.combine: Combine = combine
        private = 2 * private_experts  # of a task: cross and field experts
        experts: dict[Structure, int] = {
            "deep": public_experts,
            "cross": tasks * private_experts,
            "field": tasks * private_experts,
        }
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.experts = HeterogeneousExperts(
            len(schema.fields),
            embedding_width,
            experts,
            {"deep": 1, "cross": tasks, "field": tasks},
            Interactions(
                expert_layers=expert_layers,
                cross_kind=cross_kind,
                cross_depth=cross_depth,
                field_depth=field_depth,
                residual=residual,
                deep_activation=deep_activation,
                projection_activation=projection_activation,
                dropout=dropout,
                attention_heads=attention_heads,
                attention_residual=attention_residual,
                selection_scope=selection_scope,
                selection_squash=selection_squash,
                selection_start=selection_start,
            ),
        )
        width, maps = self.experts.width, len(self.mappings)
        if gate == "TVG":
            shape = (tasks, public_experts, maps, width if gate_vector else 1)
            self.gate: nn.Parameter | MappedGates = nn.Parameter(_initial_gates(shape, gate_start))
        else:
            self.gate = MappedGates(tasks, inputs, public_experts * maps, norm=gate_norm)
        self.virtual_gradient = None if virtual_gradient is None else virtual_gradient.between(schema.tasks)
        self.public_towers = Towers(tasks, public_experts * maps * width, tower_layers, dropout)
        self.private_towers = Towers(tasks, private * width, tower_layers, dropout, bias=combine != "logit_sum")
        self.skip = Towers(tasks, inputs, (), bias=False) if residual == "logit_skip" else None

    def forward(self, batch: Batch) -> Tensor:
        public_BT, private_BT, _ = self._parts(batch)
        return combine_logits(public_BT, private_BT, self.combine)

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """In evaluation mode: logit parts ``[B, T]``, gates, selection gates, relevance and Gamma of the labels.

        ``gate`` and ``coefficient`` are ``[T, 1, K, P, 1]``; MG has B in place of the first 1, a vector gate has m in
        place of the last.
        """
        assert not self.training, "diagnostics are taken in evaluation mode"
        public_BT, private_BT, gate = self._parts(batch)
        found = {"public_logits": public_BT, "private_logits": private_BT, "gate": gate}
        found |= self.experts.diagnostics(self.fields(batch))
        if self.virtual_gradient is not None:
            found |= self.virtual_gradient.diagnostics(gate, batch.labels, batch.observed)
        return found

    def _parts(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        x_BFD = self.fields(batch)
        x_BI = x_BFD.flatten(1)
        expert = self.experts(self.experts.select(x_BFD))
        mapped_BKPH = explicit_mappings(self.mappings, expert["deep"].transpose(0, 1), dim=2)
        gate_TBKPH = self._gates(x_BI)
        if self.virtual_gradient is not None:
            gate_TBKPH = self.virtual_gradient(gate_TBKPH, batch.labels, batch.observed)
        public_BT = self._public(gate_TBKPH, mapped_BKPH)
        private_BT = self.private_towers(by_task([expert["cross"], expert["field"]], self.tasks))
        if self.skip is not None:
            private_BT = private_BT + self.skip(x_BI[None])
        return public_BT, private_BT, gate_TBKPH

    def _public(self, gate_TBKPH: Tensor, mapped_BKPH: Tensor) -> Tensor:
        """Logits ``[B, T]`` of the gated, mapped public experts, Eq. 4."""
        if isinstance(self.gate, MappedGates):
            return self.public_towers((gate_TBKPH * mapped_BKPH).flatten(2))
        scale_TKPH = gate_TBKPH[:, 0].expand(-1, *mapped_BKPH.shape[1:])
        return self.public_towers.scaled(mapped_BKPH.flatten(1), scale_TKPH.flatten(1))

    def _gates(self, x_BI: Tensor) -> Tensor:
        """One value per task, row, expert, mapping and component; axes on which it does not depend have size 1."""
        if isinstance(self.gate, MappedGates):
            return self.gate(x_BI).unflatten(-1, (-1, len(self.mappings)))[..., None]
        return self.gate[:, None]


def combine_logits(public: Tensor, private: Tensor, combine: Combine) -> Tensor:
    """Log-odds of two parts combined into one prediction, element-wise; see `DEPHN`."""
    if combine == "logit_sum":
        return public + private
    log_sum = torch.logaddexp(F.logsigmoid(public), F.logsigmoid(private))
    if combine == "prob_mean":  # the factors 1/2 of p and of 1 - p cancel
        return log_sum - torch.logaddexp(F.logsigmoid(-public), F.logsigmoid(-private))
    log_sum = log_sum.clamp(max=math.log1p(-CLAMP))
    return log_sum - torch.log(-torch.expm1(log_sum))


def _initial_gates(shape: tuple[int, ...], start: GateStart) -> Tensor:
    match start:
        case "uniform":
            return torch.rand(shape)
        case "zeros":
            return torch.zeros(shape)
        case "ones":
            return torch.ones(shape)
        case "mean":
            return torch.full(shape, 1 / (shape[1] * shape[2]))
