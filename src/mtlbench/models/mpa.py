"""MPA: a mixture of experts with multi-perspective attention; each perspective can be switched off."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn

from mtlbench.checks import at_least, not_empty, one_of
from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.adversary import Discriminator, Mode, SourceDiscriminator
from mtlbench.nn.attention_gate import AttentionGates, FineReduce, Query, QueryNorm
from mtlbench.nn.boosting import BoostingExperts, Link
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.expert_interaction import ExpertInteraction, Merge
from mtlbench.nn.gate import MappedGates, mix
from mtlbench.nn.histories import FieldsAndHistories, History
from mtlbench.nn.interest import ActivationUnit, HistoryWeights, Interests
from mtlbench.nn.stacked import MLP, StackedMLP, Towers
from mtlbench.nn.time_vector import SIX, Angular, TimeUnit, TimeVector
from mtlbench.nn.virtual_gradient import VirtualGradient
from mtlbench.schema import Batch, Schema

Gate = Literal["mapped", "coarse", "fine"]
GateOn = Literal["interacted", "raw"]


class MPA(nn.Module):
    """``z = S(sequence(fields))``, ``y_e = f_e(z)``, ``y^ = interact(y)``, ``s_t = tower_t(sum_e g_te y^_e)``.

    With all switches off it is MMoE:

    ============================  ===========================================================================  =====
    name                          what is switched on                                                          paper
    ============================  ===========================================================================  =====
    coarse-grained attention      ``gate=coarse``: a task's query attends to the experts' outputs              3.1
    fine-grained attention        ``gate=fine``: a query for each task, expert and unit                        3.2
    expert with boost mode        ``boost=last``: an expert also reads the output of the one before            3.3
    auto interact layer           ``interaction=hadamard``: experts attend to each other                       3.4
    sequence MMoE                 ``sequence=true``: histories are compared with the candidate (DIN)           3.5
    improved (cognitive) loss     ``cognitive=kway``: a mapping S hides the source of a row                    3.6
    all but fine and boost        coarse, interaction, sequence and cognitive together                         4.5
    ============================  ===========================================================================  =====

    Args:
        schema: the fields, tasks and sources.
        embedding_width: components of a field embedding.
        experts: how many experts.
        expert_layers: widths of each expert's layers; the last one has an activation too.
        tower_layers: widths of each tower's hidden layers; none makes it linear.
        activation: after the layers of experts, towers and S.
        gate: ``mapped`` from z as in MMoE, or one of `AttentionGates`.
        gate_query, gate_norm, gate_scale, fine_reduce: see `AttentionGates`.
        gate_on: which expert outputs queries attend to: ``interacted``, after the interaction, or ``raw``, y before it.
        boost: what an expert reads besides z, see `BoostingExperts`; ``none``: nothing.
        boost_detach: see `BoostingExperts`.
        interaction: how an expert's output and the attended one are merged, see `ExpertInteraction`; or ``none``.
        interaction_heads, interaction_scale: see `ExpertInteraction`.
        sequence: whether histories are read by attention as in DIN; otherwise they are pooled like all bags.
        attention_layers, attention_activation, attention_softmax: see `ActivationUnit`.
        history_weights, place_fields: see `Interests`.
        time_operations, time_window, time_unit, time_angular: see `TimeVector`, with history_weights=days.
        cognitive: kind of `SourceDiscriminator`; ``none``: neither it nor S.
        cognitive_weight: of its loss.
        cognitive_mode: whether it and S are trained at once or in turns.
        mapping_layers: widths of S.
        discriminator_layers: widths of the discriminator's hidden layers.
        dropout: after every hidden layer of S, experts and towers.
        embedding_std: see `FieldEmbedding`.
        virtual_gradient: scales the gradient of the gates; gate differences are taken row by row.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: no experts, or experts without layers; a schema without the histories or sources that a switch
            needs; the fine gate together with boosting, or boosting with interaction; an option of a part that is
            switched off; what the parts reject.

    Paper: Wang, Zhang, Wulamu: A Multitask Learning Model with Multiperspective Attention and Its Application in
    Recommendation, 2021, section 3.
    Departure: those of the parts. Ali-CCP, the data of the paper's tables, has neither times nor an order of past
    events: its sequences are bags of categories, shops, brands and intentions, with weights and without a time vector.
    3.6 maps each source with its own network; here all sources share one. As in 4.5, boosting and interaction are not
    combined.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        experts: int,
        expert_layers: Sequence[int],
        tower_layers: Sequence[int],
        activation: LayerActivation = "relu",
        gate: Gate = "mapped",
        gate_query: Query = "direct",
        gate_norm: QueryNorm = "softmax",
        gate_scale: bool = False,
        gate_on: GateOn = "interacted",
        fine_reduce: FineReduce = "none",
        boost: Link | Literal["none"] = "none",
        boost_detach: bool = False,
        interaction: Merge | Literal["none"] = "none",
        interaction_heads: int = 2,
        interaction_scale: bool = False,
        sequence: bool = False,
        attention_layers: Sequence[int] = (80, 40),
        attention_activation: LayerActivation = "sigmoid",
        attention_softmax: bool = False,
        history_weights: HistoryWeights = "given",
        place_fields: Sequence[str] = (),
        time_operations: Sequence[str] = SIX,
        time_window: float = 14.0,
        time_unit: TimeUnit = "window",
        time_angular: Angular = "raw",
        cognitive: Discriminator | Literal["none"] = "none",
        cognitive_weight: float = 0.1,
        cognitive_mode: Mode = "reversal",
        mapping_layers: Sequence[int] = (),
        discriminator_layers: Sequence[int] = (64,),
        dropout: float = 0.0,
        embedding_std: float | None = None,
        virtual_gradient: VirtualGradient | None = None,
    ) -> None:
        super().__init__()
        at_least("experts", experts, 1)
        not_empty("expert_layers", expert_layers, "widths of each expert's layers")
        _refuse_switches(gate, gate_on, boost, interaction)
        attentive, interacting, days = gate != "mapped", interaction != "none", history_weights == "days"
        _refuse_unread(
            {
                "gate_query": (gate_query != "direct", attentive, "gate=coarse or fine"),
                "gate_norm": (gate_norm != "softmax", attentive, "gate=coarse or fine"),
                "gate_scale": (gate_scale, attentive, "gate=coarse or fine"),
                "gate_on": (gate_on == "raw", attentive and interacting, "an interaction and gate=coarse or fine"),
                "fine_reduce": (fine_reduce != "none", gate == "fine", "gate=fine"),
                "boost_detach": (boost_detach, boost != "none", "boost=last or all"),
                "interaction_scale": (interaction_scale, interacting, "an interaction"),
                "attention_softmax": (attention_softmax, sequence, "sequence=true"),
                "history_weights": (history_weights != "given", sequence, "sequence=true"),
                "place_fields": (bool(place_fields), sequence, "sequence=true"),
                "time_operations": (tuple(time_operations) != SIX, days, "history_weights=days"),
                "time_window": (time_window != 14, days, "history_weights=days"),
                "time_unit": (time_unit != "window", days, "history_weights=days"),
                "cognitive_mode": (cognitive_mode != "reversal", cognitive != "none", "cognitive=kway or binary"),
                "time_angular": (time_angular != "raw", days, "history_weights=days"),
            }
        )
        tasks, width = len(schema.tasks), expert_layers[-1]
        self.interests = None
        if sequence:
            units = partial(
                ActivationUnit, layers=attention_layers, activation=attention_activation, softmax=attention_softmax
            )
            time = TimeVector(time_operations, time_window, time_unit, time_angular)
            self.fields = FieldsAndHistories(schema, embedding_width, embedding_std)
            self.interests = Interests(self.fields, embedding_width, units, history_weights, time, place_fields)
            inputs = self.interests.width
        else:
            self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
            inputs = len(schema.fields) * embedding_width
        self.mapping = self.discriminator = None
        if cognitive != "none":
            self.mapping = MLP(inputs, mapping_layers, dropout, activation)
            inputs = self.mapping.width
            self.discriminator = SourceDiscriminator(
                schema.source,
                inputs,
                discriminator_layers,
                kind=cognitive,
                weight=cognitive_weight,
                mode=cognitive_mode,
            )
        if boost == "none":
            self.experts = StackedMLP(experts, inputs, expert_layers, dropout, activation)
        else:
            self.experts = BoostingExperts(
                experts, inputs, expert_layers, link=boost, detach=boost_detach, dropout=dropout, activation=activation
            )
        self.interaction = None
        if interaction != "none":
            self.interaction = ExpertInteraction(width, interaction_heads, interaction, interaction_scale)
        if gate == "mapped":
            self.gates = MappedGates(tasks, inputs, experts)
        else:
            self.gates = AttentionGates(
                tasks,
                experts,
                width,
                fine=gate == "fine",
                reduce=fine_reduce,
                query=gate_query,
                norm=gate_norm,
                scale=gate_scale,
            )
        self.gate_on: GateOn = gate_on
        self.virtual_gradient = None if virtual_gradient is None else virtual_gradient.between(schema.tasks)
        self.towers = Towers(tasks, width, tower_layers, dropout, activation=activation)

    def forward(self, batch: Batch) -> Tensor:
        # The fields are called here and not in a helper, so that they are the only break in a compiled graph.
        z_BI = self._mapped(self.fields(batch))
        if self.discriminator is not None and self.training:
            self.discriminator(z_BI, batch.source, batch.sample_weight)
        gate_TBE, expert_EBH = self._mixture(z_BI)
        if self.virtual_gradient is not None:
            gate_TBE = self.virtual_gradient(gate_TBE, batch.labels, batch.observed)
        return self.towers(mix(gate_TBE, expert_EBH))

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """In evaluation mode, for the parts that are switched on:

        ``gate`` ``[T, B, E]`` (of a fine gate ``[T, B, E, H]``), ``attention/<history>`` ``[B, L]``, ``interaction``
        ``[B, heads, E, E]``, ``discriminator_accuracy``, and for comparison ``largest_source``, the share of the most
        frequent source; relevance and Gamma of the labels.
        """
        assert not self.training, "diagnostics are taken in evaluation mode"
        fields = self.fields(batch)
        z_BI = self._mapped(fields)
        found = {"gate": self._mixture(z_BI)[0]}
        if self.interests is not None:
            found |= self.interests.diagnostics(*fields)
        if self.interaction is not None:
            found["interaction"] = self.interaction.attend(self.experts(z_BI[None]))[1]
        if self.discriminator is not None and batch.source is not None:
            found["discriminator_accuracy"] = self.discriminator.accuracy(z_BI, batch.source)
            found["largest_source"] = batch.source.bincount().max() / len(batch)
        if self.virtual_gradient is not None:
            found |= self.virtual_gradient.diagnostics(found["gate"], batch.labels, batch.observed)
        return found

    def _mapped(self, fields: Tensor | tuple[Tensor, list[History]]) -> Tensor:
        """The experts' input, z ``[B, I]``."""
        if isinstance(fields, Tensor):
            x_BI = fields.flatten(1)
        else:
            assert self.interests is not None
            x_BI = self.interests(*fields)
        return x_BI if self.mapping is None else self.mapping(x_BI)

    def _mixture(self, z_BI: Tensor) -> tuple[Tensor, Tensor]:
        """Gates, and the expert outputs that they mix, after the interaction."""
        raw_EBH = self.experts(z_BI[None])
        expert_EBH = raw_EBH if self.interaction is None else self.interaction(raw_EBH)
        if isinstance(self.gates, MappedGates):
            return self.gates(z_BI), expert_EBH
        return self.gates(raw_EBH if self.gate_on == "raw" else expert_EBH), expert_EBH


def _refuse_switches(gate: Gate, gate_on: GateOn, boost: str, interaction: str) -> None:
    one_of("gate", gate, Gate)
    one_of("gate_on", gate_on, GateOn)
    if boost != "none" and (gate == "fine" or interaction != "none"):
        raise ValueError(
            f"boost is {boost} with gate={gate} and interaction={interaction}; allowed: boosting with neither a fine "
            "gate nor an interaction. The paper's combination (4.5) has an interaction and a coarse gate"
        )


def _refuse_unread(options: Mapping[str, tuple[bool, bool, str]]) -> None:
    """Raise for an option that was changed (first) but is not read (second) without a switch (third)."""
    for name, (changed, read, switch) in options.items():
        if changed and not read:
            raise ValueError(f"{name} is set, but nothing reads it without {switch}: set that, or leave {name} out")
