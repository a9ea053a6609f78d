"""Cross-Stitch: single-task networks whose hidden layers are mixed linearly."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.stacked import Towers
from mtlbench.nn.stitch import StitchedMLP, StitchUnit, stitch_weights
from mtlbench.schema import Batch, Schema


class CrossStitch(nn.Module):
    """One MLP per task, stitched after every layer, then ``s_t = tower_t(h_t)``.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        layers: widths of each task's stitched layers.
        tower_layers: widths of each tower's hidden layers, which are not stitched; none makes it linear.
        stitch_unit: ``scalar``, one mixing matrix per layer, or ``channel``, one for each component.
        stitch_start: initial weight of a task's own features.
        dropout: after every hidden layer.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: no layers, an unknown unit, a start outside [0, 1].

    Paper: Misra, Shrivastava, Gupta, Hebert: Cross-stitch Networks for Multi-task Learning, CVPR 2016.
    Departure: MLPs in place of convolutional networks. The authors train the stitches with a larger learning rate; here
    they have that of the dense parameters.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        layers: Sequence[int],
        tower_layers: Sequence[int],
        stitch_unit: StitchUnit = "scalar",
        stitch_start: float = 0.9,
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        tasks = len(schema.tasks)
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        inputs = len(schema.fields) * embedding_width
        self.networks = StitchedMLP(tasks, inputs, layers, stitch_unit, stitch_start, dropout)
        self.towers = Towers(tasks, self.networks.width, tower_layers, dropout)

    def forward(self, batch: Batch) -> Tensor:
        return self.towers(self.networks(self.fields(batch).flatten(1)[None]))

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``stitch`` ``[layers, T, T]``: weights of a task (row) on each task, averaged over channels."""
        return {"stitch": stitch_weights(self.networks.stitches)}
