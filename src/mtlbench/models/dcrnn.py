"""DCRNN: recurrent networks as cross networks over the fields; tasks share positions where their windows overlap."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mtlbench.nn.adaptation import AdaptiveOperation, AdaptiveUnit, FeatureAdaptation
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.recurrent import Cell, Readout, Sharing, WindowedRNN, task_windows
from mtlbench.nn.stacked import Towers
from mtlbench.schema import Batch, Schema


class DCRNN(nn.Module):
    """``X_p = x + A_p``, ``H_t = RNN_t(X_tI, ..., X_(tI+L-1))``, ``s_t = tower_t(H_t)``.

    Tasks are ordered: neighbouring tasks share L - I positions, more distant ones fewer or none.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        tower_layers: widths of each tower's hidden layers; none makes it linear.
        cell: rnn, gru, lstm, bigru or bilstm.
        cell_width: of a state, in each direction.
        window: L, positions that a task reads.
        interval: I, from a task's window to the next one's; 0 to L.
        sharing: per_task, per_position or shared, see `WindowedRNN`.
        adaptive: none, or the operation of `FeatureAdaptation`; "+Ada" in the tables is add.
        adaptive_unit, raw_first: see `FeatureAdaptation`.
        readout: last, mean or concat, of a network's states.
        dropout: on the states read out, and after every hidden layer of towers.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Raises:
        ValueError: what `task_windows`, `WindowedRNN` and `FeatureAdaptation` reject; adaptation options without an
            adaptation.

    Paper: Zhou, Yu: DCRNN: A Deep Cross approach based on RNN for Partial Parameter Sharing in Multi-task Learning. Not
    the DCRNN of Li et al. (2018) for traffic forecasting.
    Departure: those of the blocks; the last state is read out and A_p is a vector, since the paper states neither.
    Without adaptation and with sharing=per_task, tasks share only the embeddings, whatever the interval.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        tower_layers: Sequence[int],
        cell: Cell = "bilstm",
        cell_width: int = 64,
        window: int = 3,
        interval: int = 1,
        sharing: Sharing = "per_task",
        adaptive: AdaptiveOperation | Literal["none"] = "add",
        adaptive_unit: AdaptiveUnit = "vector",
        raw_first: bool = False,
        readout: Readout = "last",
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        if adaptive == "none" and (raw_first or adaptive_unit != "vector"):
            raise ValueError(
                f"raw_first is {raw_first} and adaptive_unit is {adaptive_unit!r} with adaptive=none; allowed: false "
                "and vector, as there is no adaptation to change"
            )
        tasks, inputs = len(schema.tasks), len(schema.fields) * embedding_width
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        windows = task_windows(tasks, window, interval)
        self.adaptation = None
        if adaptive != "none":
            self.adaptation = FeatureAdaptation(windows[-1].stop, inputs, adaptive, adaptive_unit, raw_first)
            inputs = self.adaptation.width
        self.networks = WindowedRNN(windows, inputs, cell_width, cell=cell, sharing=sharing, readout=readout)
        self.towers = Towers(tasks, self.networks.width, tower_layers, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Tensor:
        return self.towers(self.dropout(self._states(self.fields(batch))))

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """``state`` ``[T, B, width]``; with adaptation, ``adaptive``: A ``[S, F, D]``, or ``[S, 1, 1]`` if scalar."""
        x_BFD = self.fields(batch)
        found = {"state": self._states(x_BFD)}
        if self.adaptation is not None:
            values_SI = self.adaptation.values()
            found["adaptive"] = values_SI.unflatten(1, x_BFD.shape[1:] if values_SI.shape[1] > 1 else (1, 1))
        return found

    def _states(self, x_BFD: Tensor) -> Tensor:
        return self.networks(x_BFD.flatten(1), None if self.adaptation is None else self.adaptation())
