"""PLE: levels of task-specific and shared experts; with one level, CGC."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from mtlbench.checks import not_empty
from mtlbench.nn.activations import LayerActivation
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.extraction import Extraction
from mtlbench.nn.gate import MappedGates
from mtlbench.nn.stacked import StackedMLP, Towers
from mtlbench.schema import Batch, Schema


class PLE(nn.Module):
    """States ``z_t = z_s = x``, then levels of `Extraction`, then ``s_t = tower_t(z_t)``.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        level_layers: for each level, widths of its experts' layers; one level is CGC.
        shared_experts: number of shared experts at each level; 0: tasks share only the embeddings.
        task_experts: number of experts of each task at each level; 0, with one level: MMoE.
        tower_layers: widths of each tower's hidden layers; none makes it linear.
        gate_layers: widths of hidden layers of the gates.
        gate_bias: whether the gates' scores have a bias.
        gate_dropout: probability that a gate is closed in training.
        activation: after every layer of experts and every hidden layer of towers.
        dropout: after every hidden layer of experts and towers.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: no levels; numbers or layers of experts that `Extraction` rejects.

    Paper: Tang, Liu, Zhao, Gong: Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for
    Personalized Recommendations, RecSys 2020.
    Departure: none. The gates of a level read that level's states, and the last level mixes no shared state, which
    would not be used.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        level_layers: Sequence[Sequence[int]],
        shared_experts: int,
        task_experts: int,
        tower_layers: Sequence[int],
        gate_layers: Sequence[int] = (),
        gate_bias: bool = False,
        gate_dropout: float = 0.0,
        activation: LayerActivation = "relu",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        not_empty("level_layers", level_layers, "lists of widths, one per level, because PLE mixes experts")
        tasks = len(schema.tasks)
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        widths = [len(schema.fields) * embedding_width, *(layers[-1] if layers else 0 for layers in level_layers)]
        self.levels = nn.ModuleList(
            Extraction(
                tasks,
                widths[level],
                layers,
                task_experts=task_experts,
                shared_experts=shared_experts,
                last=level == len(level_layers) - 1,
                gates=partial(MappedGates, layers=gate_layers, bias=gate_bias, dropout=gate_dropout),
                experts=partial(StackedMLP, dropout=dropout, activation=activation),
            )
            for level, layers in enumerate(level_layers)
        )
        self.towers = Towers(tasks, widths[-1], tower_layers, dropout, activation=activation)

    def forward(self, batch: Batch) -> Tensor:
        return self.towers(self._states(batch)[-1])

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``gate/<level>`` ``[T, B, E]``, levels from 0, a task's own experts before the shared ones."""
        states = self._states(batch)[:-1]
        found: dict[str, Tensor] = {}
        for number, (level, z_TBI) in enumerate(zip(self.levels, states, strict=True)):
            assert isinstance(level, Extraction)
            gate_TBE = level.gates(z_TBI)
            found[f"gate/{number}"] = gate_TBE
        return found

    def _states(self, batch: Batch) -> list[Tensor]:
        """The tasks' states before each level (``[1, B, I]`` before the first), and after the last."""
        states = [self.fields(batch).flatten(1)[None]]
        shared_1BI = states[0]
        for level in self.levels:
            z_TBI, mixed_1BI = level(states[-1], shared_1BI)
            states.append(z_TBI)
            shared_1BI = shared_1BI if mixed_1BI is None else mixed_1BI
        return states
