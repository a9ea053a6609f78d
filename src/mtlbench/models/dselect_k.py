"""DSelect-k: MMoE with sparse gates, each of which selects at most k experts."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.checks import not_empty
from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.dselect_gate import DSelectGates
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.gate import mix
from mtlbench.nn.stacked import StackedMLP, Towers
from mtlbench.schema import Batch, Schema


class DSelectK(nn.Module):
    """``f_t = sum_e g_te f_e(x)``, ``s_t = tower_t(f_t)``, g_t one of `DSelectGates`.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        experts: how many experts.
        expert_layers: widths of each expert's layers; the last one has an activation too.
        tower_layers: widths of each tower's hidden layers; none makes it linear.
        selected_experts: k, the most experts that a gate ends up with.
        per_example: gates that read the row; false: one static gate per task.
        gate_bias: whether the gates' linear maps have a bias.
        step_width: gamma of the smooth step.
        entropy_weight: of the selectors' entropy, in training.
        activation: after every layer of experts and every hidden layer of towers.
        dropout: after every hidden layer of experts and towers.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: experts without layers; what `DSelectGates` rejects.

    Paper: Hazimeh, Zhao, Chowdhery, Sathiamoorthy, Chen, Mazumder, Hong, Chi: DSelect-k: Differentiable Selection in
    the Mixture of Experts with Applications to Multi-Task Learning, NeurIPS 2021.
    Departure: those of the gates. Every expert is computed for every row, even where its gate is 0: only the gates are
    sparse, which saves no time.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        experts: int,
        expert_layers: Sequence[int],
        tower_layers: Sequence[int],
        selected_experts: int = 2,
        per_example: bool = True,
        gate_bias: bool = False,
        step_width: float = 1.0,
        entropy_weight: float = 0.001,
        activation: LayerActivation = "relu",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        not_empty("expert_layers", expert_layers, "widths, because experts without layers are the input itself")
        tasks = len(schema.tasks)
        inputs = len(schema.fields) * embedding_width
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.gates = DSelectGates(
            tasks,
            inputs,
            experts,
            selected=selected_experts,
            per_example=per_example,
            bias=gate_bias,
            step_width=step_width,
            entropy_weight=entropy_weight,
        )
        self.experts = StackedMLP(experts, inputs, expert_layers, dropout, activation)
        self.towers = Towers(tasks, self.experts.width, tower_layers, dropout, activation=activation)

    def forward(self, batch: Batch) -> Tensor:
        x_BI = self.fields(batch).flatten(1)
        return self.towers(mix(self.gates(x_BI, batch.sample_weight), self.experts(x_BI[None])))

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``gate`` ``[T, B, E]``, and ``gate_closed`` ``[T]``, the share of a task's gates that are exactly 0."""
        gate_TBE = self.gates(self.fields(batch).flatten(1))
        return {"gate": gate_TBE, "gate_closed": (gate_TBE == 0).float().mean(dim=(1, 2))}
