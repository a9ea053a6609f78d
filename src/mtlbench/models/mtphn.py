"""MT-PHN: deep, cross and field experts with soft selection gates on their inputs, shared or task-specific."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, one_of
from mtlbench.nn.activations import Activation
from mtlbench.nn.attention import AttentionResidual
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.gate import MappedGates, mix
from mtlbench.nn.heterogeneous import (
    CrossChoice,
    HeterogeneousExperts,
    Interactions,
    Residual,
    SelectionScope,
    Structure,
    by_task,
)
from mtlbench.nn.selection import Squash
from mtlbench.nn.stacked import Towers
from mtlbench.nn.virtual_gradient import VirtualGradient
from mtlbench.schema import Batch, Schema

GateInput = Literal["raw", "deep"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Which structures are public, in which proportions of experts, and which are private to each task."""

    public: Mapping[Structure, int]
    private: tuple[Structure, ...] = ()


PLACEMENTS: dict[str, Placement] = {
    "Dpub_CFpub": Placement(public={"deep": 2, "cross": 1, "field": 1}),
    "Dpri_CFpub": Placement(public={"cross": 1, "field": 1}, private=("deep",)),
    "Dpub_CFpri": Placement(public={"deep": 1}, private=("cross", "field")),
    "Dpub": Placement(public={"deep": 1}),
}
"""The three rows of DEPHN's Table I, and deep experts only: MMoE with soft selection."""


class MTPHN(nn.Module):
    """Fields -> attention -> soft selection per structure -> experts -> mixture of public ones, plus private ones.

    ``f_t = sum_k g_tk(x) e_k`` over the public experts, ``s_t = w_t . f_t + sum_k' w_tk' . r_tk' + b_t``.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        placement: key of `PLACEMENTS`.
        public_experts: how many public experts in all, in the proportions of the placement.
        private_experts: how many for each private structure and task.
        expert_layers: widths of a deep expert's layers; the last one is the output width of all experts.
        cross_kind: layers of cross experts, ``v2``, ``v1``, or both side by side, ``v1+v2``.
        cross_depth: number of cross layers.
        field_depth: number of field interaction layers.
        residual: where the "residual link with trainable parameters" is: ``layer``, in each cross and field layer;
            ``logit_skip``, a linear map of the raw fields in each logit; ``none``.
        projection_activation: after the last, linear layer of cross and field experts.
        attention_heads: of the self-attention over fields.
        attention_residual: ``none``, or ``autoint``.
        selection_scope: one vector G per ``structure``, per ``expert``, or per task (``task_structure``).
        selection_squash: ``none``, or ``sigmoid``.
        selection_start: initial value of G.
        gate_input: what the gates read: the ``raw`` fields, or the input of the ``deep`` experts.
        tower_layers: widths of hidden layers of each task's towers, one for the public and one for the private part.
        dropout: after every hidden layer of deep experts and towers.
        embedding_std: see `FieldEmbedding`.
        virtual_gradient: scales the gradient of the gates; gate differences are taken row by row.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: an argument outside its allowed values.

    Paper: DEPHN III-A and IV-B, Table I.
    Departure: number of experts, widths, heads, initial values and towers are not stated. Towers with hidden layers
    process the public and the private part separately, so that the parts of Fig. 3(b) always exist. The bias b_t
    belongs to neither part in the paper; it is added to the public one, and counts there in Fig. 3(b). Selection gates
    and cross layers are read as in `mtlbench.models.dephn.DEPHN`.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        expert_layers: Sequence[int],
        placement: str = "Dpub_CFpri",
        public_experts: int = 4,
        private_experts: int = 1,
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
        gate_input: GateInput = "raw",
        tower_layers: Sequence[int] = (),
        dropout: float = 0.0,
        embedding_std: float | None = None,
        virtual_gradient: VirtualGradient | None = None,
    ) -> None:
        super().__init__()
        public = _public_experts(placement, public_experts)
        private = PLACEMENTS[placement].private
        at_least("private_experts", private_experts, 1, also="placement=Dpub, which has none")
        one_of("gate_input", gate_input, GateInput)
        if gate_input == "deep" and selection_scope != "structure":
            raise ValueError(
                f"gate_input=deep needs selection_scope=structure; found {selection_scope!r}, under which "
                "the deep experts do not all have the same input"
            )
        tasks, inputs = len(schema.tasks), len(schema.fields) * embedding_width
        self.public, self.private, self.gate_input, self.tasks = tuple(public), private, gate_input, tasks
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.experts = HeterogeneousExperts(
            len(schema.fields),
            embedding_width,
            public | dict.fromkeys(private, tasks * private_experts),
            dict.fromkeys(public, 1) | dict.fromkeys(private, tasks),
            Interactions(
                expert_layers=expert_layers,
                cross_kind=cross_kind,
                cross_depth=cross_depth,
                field_depth=field_depth,
                residual=residual,
                projection_activation=projection_activation,
                dropout=dropout,
                attention_heads=attention_heads,
                attention_residual=attention_residual,
                selection_scope=selection_scope,
                selection_squash=selection_squash,
                selection_start=selection_start,
            ),
        )
        self.gates = MappedGates(tasks, inputs, public_experts)
        self.virtual_gradient = None if virtual_gradient is None else virtual_gradient.between(schema.tasks)
        self.public_towers = Towers(tasks, self.experts.width, tower_layers, dropout)
        width = len(private) * private_experts * self.experts.width
        self.private_towers = Towers(tasks, width, tower_layers, dropout, bias=False) if private else None
        self.skip = Towers(tasks, inputs, (), bias=False) if residual == "logit_skip" else None

    def forward(self, batch: Batch) -> Tensor:
        public_BT, private_BT, _ = self._parts(batch)
        return public_BT + private_BT

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """In evaluation mode: public and private parts of the logits ``[B, T]``, gates, selection gates, relevance."""
        assert not self.training, "diagnostics are taken in evaluation mode"
        public_BT, private_BT, gate_TBE = self._parts(batch)
        found = {"public_logits": public_BT, "private_logits": private_BT, "gate": gate_TBE}
        found |= self.experts.diagnostics(self.fields(batch))
        if self.virtual_gradient is not None:
            found |= self.virtual_gradient.diagnostics(gate_TBE, batch.labels, batch.observed)
        return found

    def _parts(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        x_BFD = self.fields(batch)
        x_BI = x_BFD.flatten(1)
        selected = self.experts.select(x_BFD)
        expert = self.experts(selected)
        gate_TBE = self.gates(x_BI if self.gate_input == "raw" else selected["deep"][0])
        if self.virtual_gradient is not None:
            gate_TBE = self.virtual_gradient(gate_TBE, batch.labels, batch.observed)
        public_EBH = torch.cat([expert[structure] for structure in self.public])
        public_BT = self.public_towers(mix(gate_TBE, public_EBH))
        private_BT = torch.zeros_like(public_BT)
        if self.private_towers is not None:
            private_BT = self.private_towers(by_task([expert[structure] for structure in self.private], self.tasks))
        if self.skip is not None:
            private_BT = private_BT + self.skip(x_BI[None])
        return public_BT, private_BT, gate_TBE


def _public_experts(placement: str, experts: int) -> dict[Structure, int]:
    one_of("placement", placement, PLACEMENTS)
    parts = PLACEMENTS[placement].public
    unit, rest = divmod(experts, sum(parts.values()))
    if unit < 1 or rest:
        raise ValueError(
            f"public_experts is {experts}; allowed for placement={placement}: a multiple of "
            f"{sum(parts.values())}, because its structures have experts in the proportions {dict(parts)}"
        )
    return {structure: part * unit for structure, part in parts.items()}
