"""Heterogeneous interaction layer: deep, cross and field experts with soft selection gates (MT-PHN, DEPHN)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import not_empty, one_of
from mtlbench.nn.activations import Activation, activation_of
from mtlbench.nn.attention import AttentionResidual, FieldAttention
from mtlbench.nn.cross import CrossKind, CrossLayers
from mtlbench.nn.field import FieldLayers
from mtlbench.nn.selection import SoftSelection, Squash
from mtlbench.nn.stacked import StackedLinear, StackedMLP

Structure = Literal["deep", "cross", "field"]
SelectionScope = Literal["structure", "expert", "task_structure"]
Residual = Literal["layer", "logit_skip", "none"]
CrossChoice = Literal["v2", "v1", "v1+v2"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Interactions:
    """Settings of `HeterogeneousExperts`, which `mtlbench.models.mtphn.MTPHN` explains."""

    expert_layers: Sequence[int]
    attention_heads: int = 2
    attention_residual: AttentionResidual = "none"
    selection_scope: SelectionScope = "structure"
    selection_squash: Squash = "none"
    selection_start: float = 0.5
    cross_kind: CrossChoice = "v2"
    cross_depth: int = 2
    field_depth: int = 2
    residual: Residual = "layer"
    deep_activation: Activation = "relu"
    projection_activation: Activation = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        not_empty("expert_layers", self.expert_layers, "widths; experts of all structures end in the last, to be mixed")
        one_of("cross_kind", self.cross_kind, CrossChoice)
        one_of("residual", self.residual, Residual)
        one_of("selection_scope", self.selection_scope, SelectionScope)


def cross_kinds(choice: CrossChoice) -> tuple[CrossKind, ...]:
    """The kinds of cross networks that a choice puts side by side."""
    return ("v1", "v2") if choice == "v1+v2" else (choice,)


class CrossExperts(nn.Module):
    """E experts: cross layers, then ``activation(c W + b)``. Shape: ``[E or 1, B, in]`` -> ``[E, B, H]``."""

    def __init__(self, stacks: int, width: int, make: Interactions) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            CrossLayers(stacks, width, make.cross_depth, kind, trained_residual=make.residual == "layer")
            for kind in cross_kinds(make.cross_kind)
        )
        self.projection = StackedLinear(stacks, width * len(self.networks), make.expert_layers[-1])
        self.activation = activation_of(make.projection_activation)

    def forward(self, x_EBI: Tensor) -> Tensor:
        crossed_EBI = torch.cat([network(x_EBI) for network in self.networks], dim=-1)
        return self.activation(self.projection(crossed_EBI))


class FieldExperts(nn.Module):
    """E experts: field layers, then ``activation(v W + b)``. Shape: ``[E or 1, B, in]`` -> ``[E, B, H]``."""

    def __init__(self, stacks: int, fields: int, width: int, make: Interactions) -> None:
        super().__init__()
        self.fields = fields
        self.layers = FieldLayers(stacks, fields, make.field_depth, trained_residual=make.residual == "layer")
        self.projection = StackedLinear(stacks, width, make.expert_layers[-1])
        self.activation = activation_of(make.projection_activation)

    def forward(self, x_EBI: Tensor) -> Tensor:
        v_EBFD = self.layers(x_EBI.unflatten(-1, (self.fields, -1)))
        return self.activation(self.projection(v_EBFD.flatten(2)))


class HeterogeneousExperts(nn.Module):
    """Experts of several structures that read raw and attended fields, each structure in its own mixture.

    ``attended = MSA(x)``; per structure ``z = G * attended + (1 - G) * x`` (Eq. 1) and E experts on z, all with the
    same output width H. There is one MSA, and a vector G per structure, per expert of it, or per task.

    Shape: ``[B, F, D]`` -> for each structure ``[E_structure, B, H]``.

    Args:
        fields: F.
        width: D.
        experts: E of each structure.
        tasks: number of equal groups, one per task, of a structure's experts; 1 for public structures.
        make: settings. Under ``selection_scope=task_structure`` the public experts of a structure, which
            belong to no task, share one G.

    Raises:
        ValueError: the attention's heads do not divide D, or another argument that its block rejects.

    Paper: DEPHN III-A and IV-B.
    Departure: none.
    """

    def __init__(
        self,
        fields: int,
        width: int,
        experts: Mapping[Structure, int],
        tasks: Mapping[Structure, int],
        make: Interactions,
    ) -> None:
        super().__init__()
        inputs = fields * width
        self.width = make.expert_layers[-1]
        self.attention = FieldAttention(width, make.attention_heads, make.attention_residual)
        self.selection = nn.ModuleDict()
        self.experts = nn.ModuleDict()
        for structure, stacks in experts.items():
            readers = {"structure": 1, "expert": stacks, "task_structure": tasks[structure]}[make.selection_scope]
            self.selection[structure] = SoftSelection(readers, inputs, make.selection_squash, make.selection_start)
            match structure:
                case "deep":
                    self.experts[structure] = StackedMLP(
                        stacks, inputs, make.expert_layers, make.dropout, last_activation=make.deep_activation
                    )
                case "cross":
                    self.experts[structure] = CrossExperts(stacks, inputs, make)
                case "field":
                    self.experts[structure] = FieldExperts(stacks, fields, inputs, make)
        self.stacks = dict(experts)

    def select(self, x_BFD: Tensor) -> dict[Structure, Tensor]:
        """Input of each structure: ``[readers, B, F * D]``."""
        attended_BFD = self.attention(x_BFD)
        return {structure: self.selection[structure](x_BFD, attended_BFD) for structure in self.stacks}

    def forward(self, selected: Mapping[Structure, Tensor]) -> dict[Structure, Tensor]:
        """Outputs ``[E, B, H]`` of each structure's experts on the result of `select`."""
        return {
            structure: self.experts[structure](_one_each(z, self.stacks[structure]))
            for structure, z in selected.items()
        }

    def diagnostics(self, x_BFD: Tensor) -> dict[str, Tensor]:
        """``selection/<structure>`` ``[readers, F, D]``: the share of attended fields in a structure's input.
        ``attention/fields`` ``[heads, F, F]``: how much a field attends to another, averaged over rows.
        """
        found = {"attention/fields": self.attention.weights(x_BFD).mean(dim=0)}
        for structure, selection in self.selection.items():
            assert isinstance(selection, SoftSelection)
            found[f"selection/{structure}"] = selection.share.detach().unflatten(1, (-1, self.attention.width))
        return found


def _one_each(z_NBI: Tensor, stacks: int) -> Tensor:
    """An input for each expert, unless all read the same; the experts of a reader are consecutive."""
    return z_NBI if len(z_NBI) == 1 else z_NBI.repeat_interleave(stacks // len(z_NBI), dim=0)


def by_task(outputs: Sequence[Tensor], tasks: int) -> Tensor:
    """Outputs of each task's private experts, concatenated: several ``[T * E, B, H]`` -> ``[T, B, sum of E * H]``."""
    parts = [expert.unflatten(0, (tasks, -1)).transpose(1, 2).flatten(2) for expert in outputs]
    return torch.cat(parts, dim=-1)
