"""AdaTT: levels of gated fusion over all experts, plus a residual of the task's own experts."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from mtlbench.checks import not_empty
from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.fusion import Fusion
from mtlbench.nn.gate import MappedGates
from mtlbench.nn.stacked import StackedMLP, Towers
from mtlbench.schema import Batch, Schema


class AdaTT(nn.Module):
    """States ``z_m = x``, then levels of `Fusion`, then ``s_t = tower_t(z_t)``.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        level_layers: for each level, widths of its experts' layers.
        task_experts: number of experts of each task at each level.
        shared_experts: number of shared experts at each level; 0: AdaTT-sp, in which each expert belongs to a task.
        tower_layers: widths of each tower's hidden layers; none makes it linear.
        native_fusion: whether a task's own experts are added linearly, as a residual; false: the ablation.
        gate_layers: widths of hidden layers of the gates.
        gate_bias: whether the gates' scores have a bias.
        gate_dropout: probability that a gate is closed in training.
        activation: after every layer of experts and every hidden layer of towers.
        dropout: after every hidden layer of experts and towers.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: no levels; numbers or layers of experts that `Fusion` rejects.

    Paper: Li, Zhang, Yuan, Gao, Zhang, Yang, Liu, Yang: AdaTT: Adaptive Task-to-Task Fusion Network for Multitask
    Learning in Recommendations, KDD 2023.
    Departure: that of `Fusion`. Gates have no bias, as in MMoE; the authors' public code has one (``gate_bias``).
    Towers and embeddings are those of the benchmark.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        level_layers: Sequence[Sequence[int]],
        task_experts: int,
        shared_experts: int,
        tower_layers: Sequence[int],
        native_fusion: bool = True,
        gate_layers: Sequence[int] = (),
        gate_bias: bool = False,
        gate_dropout: float = 0.0,
        activation: LayerActivation = "relu",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        not_empty("level_layers", level_layers, "lists of widths, one per level, because AdaTT fuses experts")
        tasks = len(schema.tasks)
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        widths = [len(schema.fields) * embedding_width, *(layers[-1] if layers else 0 for layers in level_layers)]
        self.levels = nn.ModuleList(
            Fusion(
                tasks,
                widths[level],
                layers,
                task_experts=task_experts,
                shared_experts=shared_experts,
                native=native_fusion,
                last=level == len(level_layers) - 1,
                gates=partial(MappedGates, layers=gate_layers, bias=gate_bias, dropout=gate_dropout),
                experts=partial(StackedMLP, dropout=dropout, activation=activation),
            )
            for level, layers in enumerate(level_layers)
        )
        self.towers = Towers(tasks, widths[-1], tower_layers, dropout, activation=activation)
        self.tasks = tasks

    def forward(self, batch: Batch) -> Tensor:
        z_MBI = self.fields(batch).flatten(1)[None]
        for level in self.levels:
            z_MBI = level(z_MBI)
        return self.towers(z_MBI)

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``gate/<level>`` ``[T, B, E]``, levels counted from 0, task experts before shared ones."""
        z_MBI = self.fields(batch).flatten(1)[None]
        found: dict[str, Tensor] = {}
        for number, level in enumerate(self.levels):
            assert isinstance(level, Fusion)
            found[f"gate/{number}"] = level.gate(z_MBI)[: self.tasks]
            z_MBI = level(z_MBI)
        return found
