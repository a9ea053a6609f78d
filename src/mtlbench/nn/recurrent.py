"""Cross networks based on RNNs (CRNN of DCRNN): every step of a recurrent network reads the same fields again."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, one_of
from mtlbench.nn.stacked import StackedLinear

Cell = Literal["rnn", "gru", "lstm", "bigru", "bilstm"]
Sharing = Literal["per_task", "per_position", "shared"]
Readout = Literal["last", "mean", "concat"]

PARTS = {"rnn": 1, "gru": 3, "lstm": 4}
"""Linear maps in a step of each cell: of ``h``; of ``r, z, n``; of ``i, f, g, o``."""


def task_windows(tasks: int, window: int, interval: int) -> list[range]:
    """The positions that each task reads: L of them, starting at ``t I``.

    Raises:
        ValueError: a window below 1, or an interval outside of [0, L].

    Paper: DCRNN, Algorithm 1.
    Departure: its loop "from 0 to n" is read without n, which gives the lengths of 7 and 4 that the paper states.
    """
    at_least("window", window, 1)
    if not 0 <= interval <= window:
        raise ValueError(
            f"interval is {interval}; allowed: 0 (all tasks read the same window) to the window, {window} (no two "
            "tasks have a position in common)"
        )
    return [range(task * interval, task * interval + window) for task in range(tasks)]


class WindowedRNN(nn.Module):
    """T recurrent networks of one layer, each over its own window of a sequence ``X_p = x + A_p``.

    ``H = phi(X W + H' W_h + b)``, from a state of zeros; a bidirectional network reads its window backwards too,
    with other weights, and concatenates both states. All positions hold the same x, so its products are computed once:
    ``X_p W = x W + A_p W``. Without A all positions are equal, and where a window begins matters only for
    ``per_position``.

    ================  =================================================================================
    sharing           what has its own weights
    ================  =================================================================================
    ``per_task``      each task
    ``per_position``  each position, for all tasks that read it: identical windows are hard parameter
                      sharing, windows without overlap no sharing
    ``shared``        nothing: one network reads all windows
    ================  =================================================================================

    Shape: x ``[B, I]`` and A ``[S, inputs]`` -> ``[T, B, width]``. Where I is less than `inputs`, x ends in zeros.

    Args:
        windows: positions that each task reads, the same number for all.
        inputs: width of a position.
        units: width of a state.
        cell: the recurrent cell; with the prefix ``bi``, in both directions.
        sharing: see above.
        readout: the ``last`` state, the ``mean`` of all, or all of them in the order of reading (``concat``).

    Attributes:
        width: of the output.

    Raises:
        ValueError: an unknown option, a width below 1, or a bidirectional cell with ``per_position``.

    Paper: Zhou, Yu: DCRNN, Eqs. 5 to 7.
    Departure: which states the towers read is not stated: here the last one of each direction (``readout``).
    Initial values are those of Keras (Xavier for W, orthogonal for W_h, 1 for the bias of a forget gate), biases those
    of PyTorch, two for each map. The equations index W alone by position, not W_h: ``per_position`` goes further, and
    ``per_task`` is the text's "separately for each task".
    """

    positions: Tensor
    cells: Tensor

    def __init__(
        self,
        windows: Sequence[range],
        inputs: int,
        units: int,
        *,
        cell: Cell = "bilstm",
        sharing: Sharing = "per_task",
        readout: Readout = "last",
    ) -> None:
        super().__init__()
        one_of("cell", cell, Cell)
        one_of("sharing", sharing, Sharing)
        one_of("readout", readout, Readout)
        at_least("cell_width", units, 1)
        if sharing == "per_position" and cell.startswith("bi"):
            raise ValueError(
                f"cell is {cell!r} with sharing=per_position; allowed: rnn, gru, lstm, because a position has one "
                "cell, which passes its state in one direction"
            )
        self.kind, self.directions, self.readout = cell.removeprefix("bi"), 1 + cell.startswith("bi"), readout
        self.one_cell_each = sharing == "per_task"
        self.width = units * self.directions * (len(windows[0]) if readout == "concat" else 1)
        # Networks are the directions of the first task, then those of the second, ...
        positions = [list(read) for each in windows for read in (each, reversed(each))[: self.directions]]
        cells = {
            "per_task": [[network] * len(read) for network, read in enumerate(positions)],
            "per_position": positions,
            "shared": [[network % self.directions] * len(read) for network, read in enumerate(positions)],
        }[sharing]
        self.register_buffer("positions", torch.tensor(positions), persistent=False)
        self.register_buffer("cells", torch.tensor(cells), persistent=False)
        count, outputs = max(map(max, cells)) + 1, PARTS[self.kind] * units
        self.read = StackedLinear(count, inputs, outputs)
        self.keep = StackedLinear(count, units, outputs)
        for weight_HO in self.keep.weight:
            nn.init.orthogonal_(weight_HO)
        if self.kind == "lstm":
            assert self.read.bias is not None
            self.read.bias.data[:, units : 2 * units] = 1

    def forward(self, x_BI: Tensor, shifts_SI: Tensor | None = None) -> Tensor:
        assert self.read.bias is not None
        assert self.keep.bias is not None
        weight_CIO = self.read.weight[:, : x_BI.shape[1]]
        read_CBO = torch.baddbmm(self.read.bias[:, None], x_BI.expand(len(weight_CIO), -1, -1), weight_CIO)
        h_NBH = c_NBH = x_BI.new_zeros(len(self.cells), x_BI.shape[0], self.keep.weight.shape[1])
        shift_SCO = None if shifts_SI is None else torch.einsum("si,cio->sco", shifts_SI, self.read.weight)
        states: list[Tensor] = []
        for positions_N, cells_N in zip(self.positions.T, self.cells.T, strict=True):
            read_NBO = read_CBO if self.one_cell_each else read_CBO[cells_N]
            bias_NO = self.keep.bias[cells_N]
            if shift_SCO is not None:
                shift_NO = shift_SCO[positions_N, cells_N]
                if self.kind == "gru":  # whose reset gate multiplies only the recurrent part
                    read_NBO = read_NBO + shift_NO[:, None]
                else:
                    bias_NO = bias_NO + shift_NO
            kept_NBO = torch.baddbmm(bias_NO[:, None], h_NBH, self.keep.weight[cells_N])
            h_NBH, c_NBH = _step(self.kind, read_NBO, kept_NBO, h_NBH, c_NBH)
            states.append(h_NBH)
        if self.readout == "mean":
            h_NBH = torch.stack(states).mean(dim=0)
        elif self.readout == "concat":
            h_NBH = torch.cat(states, dim=2)
        return h_NBH.unflatten(0, (-1, self.directions)).transpose(1, 2).flatten(2)


def _step(kind: str, read: Tensor, kept: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The next state h, and an LSTM's memory c, from ``X W + b`` and ``H' W_h + b'``."""
    if kind == "rnn":
        return torch.tanh(read + kept), c
    if kind == "gru":
        units = h.shape[-1]
        r, z = torch.sigmoid(read + kept)[..., : 2 * units].chunk(2, dim=-1)
        n = torch.tanh(read[..., 2 * units :] + r * kept[..., 2 * units :])
        return (1 - z) * n + z * h, c
    i, f, g, o = (read + kept).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c
