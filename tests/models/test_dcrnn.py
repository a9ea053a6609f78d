"""DCRNN: counts, torch's recurrent networks, which position reaches which task, what is shared."""

from typing import Any

import pytest
import torch
from torch import nn

from mtlbench.models.dcrnn import DCRNN
from mtlbench.nn.adaptation import FeatureAdaptation
from mtlbench.nn.recurrent import WindowedRNN, task_windows
from synthetic import plain_schema, random_batch

BATCH = random_batch(plain_schema(), 17)
TORCH = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELLS = ("rnn", "gru", "lstm", "bigru", "bilstm")


def dcrnn(tasks: int = 2, **changes: Any) -> DCRNN:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"embedding_width": 4, "cell_width": 5, "tower_layers": (8,)} | changes
    return DCRNN(plain_schema(tasks=tasks), **arguments)


def dense_count(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)


@pytest.mark.parametrize(("cell", "count"), list(zip(CELLS, (520, 1140, 1450, 2150, 2770), strict=True)))
def test_parameter_counts(cell: str, count: int):
    """S d of A, two linear maps with a bias each per task and direction, towers."""
    assert dense_count(dcrnn(cell=cell)) == count
    assert dense_count(dcrnn(cell=cell, adaptive="none")) == count - 4 * 24
    assert dense_count(dcrnn(cell=cell, adaptive_unit="scalar")) == count - 4 * 24 + 4


def test_parameter_counts_of_readings():
    towers, step = 2 * (5 * 8 + 8 + 8 + 1), 5 * (24 + 5) + 2 * 5
    assert dense_count(dcrnn(cell="rnn", sharing="per_position")) == 4 * 24 + 4 * step + towers
    assert dense_count(dcrnn(cell="rnn", sharing="shared")) == 4 * 24 + step + towers
    assert dense_count(dcrnn(cell="rnn", adaptive="concat")) == 4 * 24 + 2 * (step + 5 * 24) + towers
    assert dense_count(dcrnn(cell="rnn", raw_first=True)) == 3 * 24 + 2 * step + towers
    assert dense_count(dcrnn(cell="rnn", window=5, interval=2)) == 7 * 24 + 2 * step + towers


# --- the block beside torch's


def networks(cell: str, sharing: str = "per_task", tasks: int = 3, **changes: Any) -> WindowedRNN:
    torch.manual_seed(0)
    block = WindowedRNN(task_windows(tasks, 3, 2), 7, 5, cell=cell, sharing=sharing, **changes)  # pyright: ignore[reportArgumentType]
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.4)
    return block


def reference(block: WindowedRNN, cells: list[int], sequence: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """All states and the last ones of torch's network with the weights of the given cells, one per direction."""
    network = TORCH[block.kind](7, 5, batch_first=True, bidirectional=len(cells) == 2)
    assert block.read.bias is not None
    assert block.keep.bias is not None
    state: dict[str, torch.Tensor] = {}
    for cell, direction in zip(cells, ("", "_reverse"), strict=False):
        state[f"weight_ih_l0{direction}"], state[f"weight_hh_l0{direction}"] = (
            block.read.weight[cell].T,
            block.keep.weight[cell].T,
        )
        state[f"bias_ih_l0{direction}"], state[f"bias_hh_l0{direction}"] = block.read.bias[cell], block.keep.bias[cell]
    network.load_state_dict(state)
    outputs, last = network(sequence)
    return outputs, (last[0] if block.kind == "lstm" else last).transpose(0, 1).flatten(1)


X_BI = torch.randn(11, 7, generator=torch.Generator().manual_seed(1))
A_SI = torch.randn(7, 7, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("sharing", ["per_task", "shared"])
@pytest.mark.parametrize("cell", CELLS)
def test_networks_are_those_of_torch(cell: str, sharing: str):
    """The last state of the backward direction has seen the whole window: it is not the last of the outputs."""
    block = networks(cell, sharing)
    found = block(X_BI, A_SI)
    directions = range(block.directions)
    for task, window in enumerate(task_windows(3, 3, 2)):
        sequence_BLI = X_BI[:, None] + A_SI[list(window)]
        cells = [direction + (0 if sharing == "shared" else task * block.directions) for direction in directions]
        torch.testing.assert_close(found[task], reference(block, cells, sequence_BLI)[1])


@pytest.mark.parametrize("cell", ["gru", "bilstm"])
def test_readouts(cell: str):
    found = {readout: networks(cell, readout=readout)(X_BI, A_SI)[1] for readout in ("last", "mean", "concat")}
    block = networks(cell)
    cells = [block.directions + direction for direction in range(block.directions)]
    outputs_BLH = reference(block, cells, X_BI[:, None] + A_SI[[2, 3, 4]])[0]
    torch.testing.assert_close(found["mean"], outputs_BLH.mean(dim=1))
    for direction in range(block.directions):
        own_BLH = outputs_BLH[..., 5 * direction : 5 * direction + 5]
        read_BLH = own_BLH.flip(1) if direction else own_BLH
        start = 15 * direction
        torch.testing.assert_close(found["concat"][:, start : start + 15], read_BLH.flatten(1))
        torch.testing.assert_close(found["last"][:, 5 * direction : 5 * direction + 5], read_BLH[:, -1])


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_cell_of_each_position_is_a_loop(cell: str):
    block = networks(cell, "per_position")
    assert block.read.bias is not None
    assert block.keep.bias is not None
    step = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}[cell](7, 5)
    found = block(X_BI, A_SI)
    for task, window in enumerate(task_windows(3, 3, 2)):
        state: Any = None
        for p in window:
            step.load_state_dict(
                {
                    "weight_ih": block.read.weight[p].T,
                    "weight_hh": block.keep.weight[p].T,
                    "bias_ih": block.read.bias[p],
                    "bias_hh": block.keep.bias[p],
                }
            )
            state = step(X_BI + A_SI[p], state)
        torch.testing.assert_close(found[task], state[0] if cell == "lstm" else state)


def test_one_position_of_a_plain_cell_is_a_layer():
    model = dcrnn(cell="rnn", window=1, interval=0)
    x_BI = model.fields(BATCH).flatten(1) + model.adaptation.values()[0]  # pyright: ignore[reportOptionalMemberAccess]
    read, keep = model.networks.read, model.networks.keep
    assert read.bias is not None
    assert keep.bias is not None
    expected = [torch.tanh(x_BI @ read.weight[t] + read.bias[t] + keep.bias[t]) for t in range(2)]
    torch.testing.assert_close(model(BATCH), model.towers(torch.stack(expected)))


def test_initial_values():
    block = WindowedRNN(task_windows(1, 3, 1), 7, 5, cell="lstm")
    assert block.read.bias is not None
    assert block.read.bias[0].tolist() == [0] * 5 + [1] * 5 + [0] * 10
    torch.testing.assert_close(block.keep.weight[0] @ block.keep.weight[0].T, torch.eye(5))


# --- what is joined to x


def test_joined_parameters_are_more_columns():
    torch.manual_seed(0)
    sequence = FeatureAdaptation(4, 7, "concat")
    nn.init.normal_(sequence.shifts)
    assert sequence.width == 14
    assert torch.equal(sequence(), torch.cat([torch.zeros(4, 7), sequence.shifts], dim=1))
    block = WindowedRNN(task_windows(2, 3, 1), 14, 5, cell="lstm")
    joined_BI = torch.cat([X_BI, torch.zeros(11, 7)], dim=1)
    torch.testing.assert_close(block(X_BI, sequence()), block(joined_BI, sequence()))
    assert not torch.allclose(block(X_BI, sequence()), block(joined_BI))


@pytest.mark.parametrize("unit", ["vector", "scalar"])
def test_a_raw_first_position(unit: Any):
    sequence = FeatureAdaptation(4, 7, unit=unit, raw_first=True)
    assert sequence().shape == (4, 7)
    assert not sequence()[0].count_nonzero()
    assert sequence()[1:].count_nonzero() == 21
    if unit == "scalar":
        assert torch.equal(sequence()[1:], sequence.shifts.expand(3, 7))


# --- windows


def test_lengths_are_those_of_the_paper():
    assert task_windows(2, 5, 2)[-1].stop == 7
    assert task_windows(2, 3, 1)[-1].stop == 4


@pytest.mark.parametrize("sharing", ["per_task", "per_position"])
@pytest.mark.parametrize("interval", [0, 1, 2, 3])
def test_a_position_teaches_and_learns_from_the_tasks_that_read_it(interval: int, sharing: str):
    """No interval: every position is everybody's. As long as the window: no position has two readers."""
    model = dcrnn(3, cell="gru", interval=interval, sharing=sharing)
    logits = model(random_batch(plain_schema(tasks=3), 17))
    readers = torch.zeros(3, 3 + 2 * interval, dtype=torch.bool)
    for task in range(3):
        (gradient,) = torch.autograd.grad(logits[:, task].sum(), [model.adaptation.shifts], retain_graph=True)  # pyright: ignore[reportOptionalMemberAccess]
        readers[task] = gradient.count_nonzero(dim=1) > 0
        assert readers[task].nonzero()[:, 0].tolist() == list(range(task * interval, task * interval + 3))
    shared = readers.sum(dim=0) > 1
    assert bool(shared.all()) == (interval == 0)
    assert bool(shared.any()) == (interval < 3)


def test_a_cell_of_each_position_makes_one_window_hard_sharing():
    states_TBH = dcrnn(3, cell="lstm", sharing="per_position", interval=0)._states(dcrnn().fields(BATCH))
    assert torch.equal(states_TBH[0], states_TBH[1])
    assert torch.equal(states_TBH[0], states_TBH[2])
    apart_TBH = dcrnn(3, cell="lstm", sharing="per_position", interval=3)._states(dcrnn().fields(BATCH))
    assert not torch.allclose(apart_TBH[0], apart_TBH[1])


def test_without_adaptation_a_network_of_each_task_has_no_use_for_the_interval():
    one, other = dcrnn(adaptive="none", interval=0), dcrnn(adaptive="none", interval=3)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(BATCH), other(BATCH))


@pytest.mark.parametrize("cell", CELLS)
def test_an_adaptation_of_zeros_is_none(cell: str):
    adapted, plain = dcrnn(cell=cell), dcrnn(cell=cell, adaptive="none")
    plain.load_state_dict({k: v for k, v in adapted.state_dict().items() if "adaptation" not in k})
    assert not torch.allclose(adapted(BATCH), plain(BATCH), rtol=0, atol=1e-6)
    with torch.no_grad():
        adapted.adaptation.shifts.zero_()  # pyright: ignore[reportOptionalMemberAccess]
    torch.testing.assert_close(adapted(BATCH), plain(BATCH))


def test_diagnostics():
    found = dcrnn(cell="bigru").eval().diagnostics(BATCH)
    assert {name: tuple(value.shape) for name, value in found.items()} == {"state": (2, 17, 10), "adaptive": (4, 6, 4)}
    assert dcrnn(adaptive_unit="scalar").eval().diagnostics(BATCH)["adaptive"].shape == (4, 1, 1)
    assert set(dcrnn(adaptive="none").eval().diagnostics(BATCH)) == {"state"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interval": 4}, r"interval is 4; allowed: 0 .* to the window, 3"),
        ({"interval": -1}, "interval is -1"),
        ({"window": 0, "interval": 0}, "window is 0; allowed: 1 or more"),
        ({"cell": "birnn"}, "cell is 'birnn'; allowed: rnn, gru, lstm, bigru, bilstm"),
        ({"cell_width": 0}, "cell_width is 0"),
        ({"sharing": "none"}, "sharing is 'none'; allowed: per_task, per_position, shared"),
        ({"sharing": "per_position"}, "cell is 'bilstm' with sharing=per_position; allowed: rnn, gru, lstm"),
        ({"adaptive": "multiply"}, "adaptive is 'multiply'; allowed: add, concat, or none"),
        ({"adaptive_unit": "matrix"}, "adaptive_unit is 'matrix'; allowed: vector, scalar"),
        ({"adaptive": "none", "raw_first": True}, "raw_first is True .* with adaptive=none"),
        ({"adaptive": "none", "adaptive_unit": "scalar"}, "adaptive_unit is 'scalar' with adaptive=none"),
        ({"window": 1, "interval": 0, "raw_first": True}, "one position in all"),
        ({"readout": "first"}, "readout is 'first'; allowed: last, mean, concat"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        dcrnn(**changes)
