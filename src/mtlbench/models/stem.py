"""STEM: task-specific and shared embeddings, and gates that stop the gradients to other tasks' experts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, not_empty
from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.gate import MappedGates, mix
from mtlbench.nn.stacked import StackedMLP, Towers
from mtlbench.schema import Batch, Schema


class STEM(nn.Module):
    """``z_t = sum_e g_te h_e``, ``s_t = tower_t(z_t)``, in which h_e of other tasks has no gradient from task t.

    A task's experts read its own embeddings, ``h_e = f_e(x_t)``, shared experts the shared ones, ``h_e = f_e(x_s)``.
    All tasks mix all experts, ``g_t = softmax((x_t + x_s) W_t)``; in the backward pass, a task trains only its own and
    the shared experts and embeddings (all forward task-specific backward gating).

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding, of each of the T + 1 tables.
        task_experts: number of experts of each task.
        shared_experts: number of shared experts.
        expert_layers: widths of each expert's layers; the last one has an activation too.
        tower_layers: widths of each tower's hidden layers; none makes it linear.
        stop_gradient: false, the ablation: a task also trains the experts and embeddings of other tasks.
        gate_layers: widths of hidden layers of the gates.
        gate_bias: whether the gates' scores have a bias.
        gate_dropout: probability that a gate is closed in training.
        activation: after every layer of experts and every hidden layer of towers.
        dropout: after every hidden layer of experts and towers.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: no experts of a task or no shared ones, or experts without layers.

    Paper: Su, Pan, Wang, Xiao, Quan, Chen, Jiang: STEM: Unleashing the Power of Embeddings for Multi-task
    Recommendation, AAAI 2024; the model is its STEM-Net.
    Departure: one level of experts, as in the authors' configurations; their code can stack levels, through whose
    shared state tasks train each other's embeddings after all. Gates are one matrix without bias; in the code they have
    biases, and hidden layers of 128 and 64 (``gate_bias``, ``gate_layers``). Number fields have weights in each of the
    T + 1 embeddings. Towers and the initial values of embeddings are those of the benchmark.
    """

    _learns: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        task_experts: int,
        shared_experts: int,
        expert_layers: Sequence[int],
        tower_layers: Sequence[int],
        stop_gradient: bool = True,
        gate_layers: Sequence[int] = (),
        gate_bias: bool = False,
        gate_dropout: float = 0.0,
        activation: LayerActivation = "relu",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        at_least("task_experts", task_experts, 1)
        at_least("shared_experts", shared_experts, 1)
        not_empty("expert_layers", expert_layers, "widths, because experts without layers are the input itself")
        tasks = len(schema.tasks)
        own, inputs = tasks * task_experts, len(schema.fields) * embedding_width
        self.task_experts, self.stop_gradient = task_experts, stop_gradient
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.task_fields = nn.ModuleList(FieldEmbedding(schema, embedding_width, embedding_std) for _ in schema.tasks)
        self.experts = StackedMLP(own + shared_experts, inputs, expert_layers, dropout, activation)
        self.gates = MappedGates(
            tasks, inputs, own + shared_experts, layers=gate_layers, bias=gate_bias, dropout=gate_dropout
        )
        self.towers = Towers(tasks, self.experts.width, tower_layers, dropout, activation=activation)
        # Which experts learn from which task: 1 for its own and the shared ones.
        own_TE, shared_TE = torch.eye(tasks).repeat_interleave(task_experts, dim=1), torch.ones(tasks, shared_experts)
        self.register_buffer("_learns", torch.cat([own_TE, shared_TE], dim=1), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        x_TBI, shared_BI = self._inputs(batch)
        gate_TBE = self.gates(x_TBI + shared_BI)
        shared = self._learns.shape[1] - len(x_TBI) * self.task_experts
        own_EBI = x_TBI.repeat_interleave(self.task_experts, dim=0)
        h_EBH = self.experts(torch.cat([own_EBI, shared_BI.expand(shared, -1, -1)]))
        if not self.stop_gradient:
            return self.towers(mix(gate_TBE, h_EBH))
        learns_T1E = self._learns[:, None]
        return self.towers(mix(gate_TBE * learns_T1E, h_EBH) + mix(gate_TBE * (1 - learns_T1E), h_EBH.detach()))

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``gate`` ``[T, B, E]``, task experts before shared ones."""
        x_TBI, shared_BI = self._inputs(batch)
        return {"gate": self.gates(x_TBI + shared_BI)}

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Embeddings of each task ``[T, B, I]``, and the shared ones ``[B, I]``."""
        return torch.stack([fields(batch).flatten(1) for fields in self.task_fields]), self.fields(batch).flatten(1)
