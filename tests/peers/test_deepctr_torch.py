"""deepctr-torch's models with our weights: the same probabilities and gradients.

Its DCN has a weight per id beside the network, which the paper lacks: zero here. Its compressed interaction network has
a bias for every map: zero too. Its ESMM has one bias for both towers; here each is given its own. Its PLE counts shared
experts by the number of specific ones; tests say what follows.
"""

import warnings
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from mtlbench.models.dcn import DCN
from mtlbench.models.esmm import ESMM
from mtlbench.models.mmoe import MMoE
from mtlbench.models.nfm import NFM
from mtlbench.models.ple import PLE
from mtlbench.models.shared_bottom import SharedBottom
from mtlbench.models.widedeep import WideDeep
from mtlbench.models.xdeepfm import XDeepFM
from peers.compare import FIELDS, IDS, WIDTH, Comparison, Pair, compare, linear, perceptron, rows, schema, tables

pytestmark = pytest.mark.peers
# As it is imported it asks the package index for its newest version, in a thread; and it imports what is deprecated.
with patch("threading.Thread.start"), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peer = pytest.importorskip(
        "deepctr_torch.models", reason="deepctr-torch is not installed: pip install 'mtlbench[bench]'"
    )
    from deepctr_torch.inputs import SparseFeat


def features() -> list[SparseFeat]:
    return [SparseFeat(f"id{f}", IDS, embedding_dim=WIDTH) for f in range(FIELDS)]


def reading(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """It takes ids as floats."""
    return lambda ids_BF: model(ids_BF.double())


def embeddings(model: nn.Module) -> list[nn.Embedding]:
    return [model.embedding_dict[f"id{f}"] for f in range(FIELDS)]


def weights_per_id(model: nn.Module) -> list[nn.Embedding]:
    return [model.linear_model.embedding_dict[f"id{f}"] for f in range(FIELDS)]


def columns(number: Callable[[Tensor], Tensor], theirs: nn.Linear) -> Pair:
    """Some inputs of the head, whose others stand elsewhere in the peer."""
    return Pair("head.head.weight", number, theirs.weight)


def widedeep() -> Comparison:
    ours = WideDeep(schema(1), embedding_width=WIDTH, layers=[16, 8])
    theirs = peer.WDL(features(), features(), dnn_hidden_units=(16, 8))
    pairs = [
        *tables("fields.embedding", embeddings(theirs)),
        *tables("wide.fields.embedding", weights_per_id(theirs)),
        *perceptron("tower.hidden", 0, theirs.dnn.linears),
        *linear("tower.head", 0, theirs.dnn_linear, bias=theirs.out.bias),
    ]
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=1)


def nfm() -> Comparison:
    ours = NFM(schema(1), embedding_width=WIDTH, layers=[16, 8], interaction_batch_norm=False, interaction_dropout=0.0)
    theirs = peer.NFM(features(), features(), dnn_hidden_units=(16, 8))
    pairs = [
        *tables("fields.embedding", embeddings(theirs)),
        *tables("wide.fields.embedding", weights_per_id(theirs)),
        *perceptron("tower.hidden", 0, theirs.dnn.linears),
        *linear("tower.head", 0, theirs.dnn_linear, bias=theirs.out.bias),
    ]
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=1)


def xdeepfm(maps: tuple[int, int], split_half: bool, activation: str) -> Comparison:
    ours = XDeepFM(
        schema(1), embedding_width=WIDTH, layers=[16, 8], interaction_layers=maps, interaction_split_half=split_half,
        interaction_activation="relu" if activation == "relu" else "none",
    )  # fmt: skip
    theirs = peer.xDeepFM(
        features(), features(), dnn_hidden_units=(16, 8), cin_layer_size=maps, cin_split_half=split_half,
        cin_activation=activation,
    )  # fmt: skip
    pooled = ours.interaction.width
    pairs = [
        *tables("fields.embedding", embeddings(theirs)),
        *tables("wide.fields.embedding", weights_per_id(theirs)),
        *perceptron("deep.stack", 0, theirs.dnn.linears),
        columns(lambda w: w[0, :pooled].T, theirs.cin_linear),
        columns(lambda w: w[0, pooled:].T, theirs.dnn_linear),
        Pair("head.head.bias", lambda b: b[0], theirs.out.bias),
        *(Pair(f"interaction.weights.{n}", lambda w: w[..., None], conv.weight)
          for n, conv in enumerate(theirs.cin.conv1ds)),
    ]  # fmt: skip
    extra = [(conv.bias, 0.0) for conv in theirs.cin.conv1ds]
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=1, extra=extra)


def dcn(kind: str) -> Comparison:
    ours = DCN(
        schema(1), embedding_width=WIDTH, layers=[16, 8], cross_kind="v1" if kind == "vector" else "v2", cross_depth=3
    )
    theirs = peer.DCN(features(), features(), cross_num=3, cross_parameterization=kind, dnn_hidden_units=(16, 8))
    pairs = [
        *tables("fields.embedding", embeddings(theirs)),
        *perceptron("deep.stack", 0, theirs.dnn.linears),
        *linear("head.head", 0, theirs.dnn_linear, bias=theirs.out.bias),
    ]
    for layer in range(3):  # the layers of a cross network are one parameter
        pairs += [
            Pair(f"cross.layers.{layer}.weight", lambda w: w[0] if kind == "vector" else w[0].T,
                 theirs.crossnet.kernels, partial(torch.select, dim=0, index=layer)),
            Pair(f"cross.biases.{layer}", lambda b: b[0, :, None],
                 theirs.crossnet.bias, partial(torch.select, dim=0, index=layer)),
        ]  # fmt: skip
    extra = [(table.weight, 0.0) for table in weights_per_id(theirs)]
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=1, extra=extra)


def shared_bottom() -> Comparison:
    ours = SharedBottom(schema(2), embedding_width=WIDTH, bottom_layers=[16, 8], tower_layers=[7])
    theirs = peer.SharedBottom(features(), bottom_dnn_hidden_units=(16, 8), tower_dnn_hidden_units=(7,))
    pairs = [
        *tables("fields.embedding", embeddings(theirs)),
        *perceptron("bottom.stack", 0, theirs.bottom_dnn.linears),
        *towers(theirs),
    ]
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=2)


def esmm() -> Comparison:
    ours = ESMM(schema(2), embedding_width=WIDTH, layers=[16, 8])
    theirs = peer.ESMM(features(), tower_dnn_hidden_units=(16, 8))
    pairs = [*tables("fields.embedding", embeddings(theirs))]
    for t, (tower, last) in enumerate(
        ((theirs.ctr_dnn, theirs.ctr_dnn_final_layer), (theirs.cvr_dnn, theirs.cvr_dnn_final_layer))
    ):
        last.bias = nn.Parameter(torch.zeros(1))
        pairs += [*perceptron("towers.hidden", t, tower.linears), *linear("towers.head", t, last)]
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=2, extra=[(theirs.out.bias, 0.0)])


def mmoe() -> Comparison:
    ours = MMoE(schema(3), embedding_width=WIDTH, experts=5, expert_layers=[16, 8], tower_layers=[7])
    theirs = peer.MMOE(
        features(), num_experts=5, expert_dnn_hidden_units=(16, 8), gate_dnn_hidden_units=(),
        tower_dnn_hidden_units=(7,), task_types=["binary"] * 3, task_names=["a", "b", "c"],
    )  # fmt: skip
    pairs = [*tables("fields.embedding", embeddings(theirs)), *towers(theirs)]
    for e, expert in enumerate(theirs.expert_dnn):
        pairs += perceptron("experts", e, expert.linears)
    for t, gate in enumerate(theirs.gate_dnn_final_layer):
        pairs += linear("gates.scores", t, gate)
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=3)


def published_ple(specific: int, shared: int) -> nn.Module:
    return peer.PLE(
        features(), shared_expert_num=shared, specific_expert_num=specific, num_levels=2,
        expert_dnn_hidden_units=(16, 8), gate_dnn_hidden_units=(), tower_dnn_hidden_units=(7,),
        task_types=["binary"] * 2, task_names=["a", "b"],
    )  # fmt: skip


def ple() -> Comparison:
    ours = PLE(
        schema(2), embedding_width=WIDTH, level_layers=[[16, 8], [16, 8]], shared_experts=2, task_experts=2,
        tower_layers=[7],
    )  # fmt: skip
    theirs = published_ple(specific=2, shared=2)
    pairs = [*tables("fields.embedding", embeddings(theirs)), *towers(theirs)]
    for level in range(2):
        for t, experts in enumerate(theirs.specific_experts[level]):
            for e, expert in enumerate(experts):
                pairs += perceptron(f"levels.{level}.own", 2 * t + e, expert.linears)
        for e, expert in enumerate(theirs.shared_experts[level][0]):
            pairs += perceptron(f"levels.{level}.shared", e, expert.linears)
        for t, gate in enumerate(theirs.specific_gate_dnn_final_layer[level]):
            pairs += linear(f"levels.{level}.gates.scores", t, gate)
    pairs += linear("levels.0.shared_gate.scores", 0, theirs.shared_gate_dnn_final_layer[0])
    # The last level has a gate for a shared state that nobody reads.
    extra = [(theirs.shared_gate_dnn_final_layer[1].weight, 0.3)]
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=2, extra=extra)


def towers(theirs: nn.Module) -> list[Pair]:
    found = []
    for t, (tower, last, out) in enumerate(
        zip(theirs.tower_dnn, theirs.tower_dnn_final_layer, theirs.out, strict=True)
    ):
        found += [*perceptron("towers.hidden", t, tower.linears), *linear("towers.head", t, last, bias=out.bias)]
    return found


COMPARISONS = {
    "widedeep": widedeep,
    "nfm": nfm,
    "xdeepfm": partial(xdeepfm, (10, 6), split_half=False, activation="linear"),
    "xdeepfm, relu": partial(xdeepfm, (10, 6), split_half=False, activation="relu"),
    "xdeepfm, halves": partial(xdeepfm, (10, 6), split_half=True, activation="linear"),
    "xdeepfm, halves, relu": partial(xdeepfm, (10, 6), split_half=True, activation="relu"),
    "dcn": partial(dcn, "vector"),
    "dcnv2": partial(dcn, "matrix"),
    "shared_bottom": shared_bottom,
    "esmm, a bias for each tower": esmm,
    "mmoe": mmoe,
    "ple": ple,
}


def test_everything_is_compared():
    assert len(COMPARISONS) == 12


@pytest.mark.parametrize("build", COMPARISONS.values(), ids=COMPARISONS)
def test_same_weights_same_probabilities_and_gradients(build: Callable[[], Comparison]):
    compare(build())


def test_the_weights_per_id_of_its_dcn_are_trained_though_the_paper_has_none():
    theirs = dcn("vector").theirs
    _, ids_BF, _ = rows(tasks=1)
    theirs(ids_BF.float()).sum().backward()
    assert all(table.weight.grad.abs().sum() > 0 for table in weights_per_id(theirs))


def test_the_shared_gate_of_the_last_level_of_its_ple_is_never_trained_and_ours_has_none():
    comparison = ple()
    compare(comparison)
    ((gate, _),) = comparison.extra
    assert gate.grad is None
    assert not any("levels.1.shared_gate" in name for name, _ in comparison.ours.named_parameters())


def test_its_ple_makes_as_many_shared_experts_as_specific_ones_whatever_is_asked_for():
    batch, ids_BF, _ = rows(tasks=2)
    with pytest.raises(IndexError):
        published_ple(specific=1, shared=2)(ids_BF.float())
    fewer = published_ple(specific=2, shared=1)
    fewer(ids_BF.float()).sum().backward()
    assert len(fewer.shared_experts[0][0]) == 2
    assert fewer.shared_experts[0][0][1].linears[0].weight.grad is None
    for own, shared in ((1, 2), (2, 1)):
        ours = PLE(
            schema(2), embedding_width=WIDTH, level_layers=[[8], [8]], shared_experts=shared, task_experts=own,
            tower_layers=[7],
        )  # fmt: skip
        ours(batch).sum().backward()
        assert ours.levels[0].shared.layers[0].weight.shape[0] == shared
        assert all(p.grad is not None for p in ours.parameters())
