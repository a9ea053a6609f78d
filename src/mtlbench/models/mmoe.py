"""MMoE: shared experts mixed by a gate per task; with one gate for all tasks, OMoE."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.checks import at_least, not_empty
from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.gate import MappedGates, mix
from mtlbench.nn.stacked import StackedMLP, Towers
from mtlbench.nn.virtual_gradient import VirtualGradient
from mtlbench.schema import Batch, Schema


class MMoE(nn.Module):
    """``f_t = sum_e g_te(x) f_e(x)``, ``g_t = softmax(x W_t)``, ``s_t = tower_t(f_t)``.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        experts: how many experts.
        expert_layers: widths of each expert's layers; the last one has an activation too.
        tower_layers: widths of each tower's hidden layers; none makes it linear.
        shared_gate: one gate for all tasks (OMoE).
        gate_layers: widths of hidden layers of the gates.
        gate_bias: whether the gates' scores have a bias.
        gate_dropout: probability that a gate is closed in training.
        activation: after every layer of experts and every hidden layer of towers.
        dropout: after every hidden layer of experts and towers.
        embedding_std: see `FieldEmbedding`.
        virtual_gradient: scales the gradient of the gates; gate differences are taken row by row.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: no experts, or experts without layers; a virtual gradient where all tasks share one gate.

    Paper: Ma, Zhao, Yi, Chen, Hong, Chi: Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts, KDD 2018. With a virtual gradient: DEPHN Fig. 5.
    Departure: none.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        experts: int,
        expert_layers: Sequence[int],
        tower_layers: Sequence[int],
        shared_gate: bool = False,
        gate_layers: Sequence[int] = (),
        gate_bias: bool = False,
        gate_dropout: float = 0.0,
        activation: LayerActivation = "relu",
        dropout: float = 0.0,
        embedding_std: float | None = None,
        virtual_gradient: VirtualGradient | None = None,
    ) -> None:
        super().__init__()
        at_least("experts", experts, 1)
        not_empty("expert_layers", expert_layers, "widths, because experts without layers are the input itself")
        if shared_gate and virtual_gradient is not None:
            raise ValueError(
                "a virtual gradient needs a gate per task, but shared_gate is true: tasks that share one "
                "gate have no difference of gates. Choose virtual_gradient=none, or shared_gate=false"
            )
        tasks = len(schema.tasks)
        inputs = len(schema.fields) * embedding_width
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.experts = StackedMLP(experts, inputs, expert_layers, dropout, activation)
        self.gates = MappedGates(
            1 if shared_gate else tasks, inputs, experts, layers=gate_layers, bias=gate_bias, dropout=gate_dropout
        )
        self.virtual_gradient = None if virtual_gradient is None else virtual_gradient.between(schema.tasks)
        self.towers = Towers(tasks, self.experts.width, tower_layers, dropout, activation=activation)

    def forward(self, batch: Batch) -> Tensor:
        x_BI = self.fields(batch).flatten(1)
        gate_TBE = self.gates(x_BI)
        if self.virtual_gradient is not None:
            gate_TBE = self.virtual_gradient(gate_TBE, batch.labels, batch.observed)
        return self.towers(mix(gate_TBE, self.experts(x_BI[None])))

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``gate`` ``[T, B, E]`` (``[1, B, E]`` where all tasks share one), and ``relevance`` of the labels."""
        found = {"gate": self.gates(self.fields(batch).flatten(1))}
        if self.virtual_gradient is not None:
            found |= self.virtual_gradient.diagnostics(found["gate"], batch.labels, batch.observed)
        return found
