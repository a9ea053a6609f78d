"""torch-rechub's models with our weights: the same probabilities and gradients, once batch normalisation is taken out.

Its perceptrons all end their layers with BatchNorm, those of the gates too, softmax(BN(Wx)), which no paper has; a test
says what follows from it. Its AITM has no calibrator, so ours has none here.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mtlbench.metrics.evaluate import evaluate
from mtlbench.models.aitm import AITM
from mtlbench.models.dcn import DCN
from mtlbench.models.esmm import ESMM
from mtlbench.models.mmoe import MMoE
from mtlbench.models.ple import PLE
from mtlbench.models.shared_bottom import SharedBottom
from mtlbench.models.widedeep import WideDeep
from peers.compare import (
    FIELDS,
    FLAT,
    IDS,
    WIDTH,
    Comparison,
    Pair,
    compare,
    linear,
    linears,
    perceptron,
    rows,
    schema,
    tables,
    without_batch_norm,
)

pytestmark = pytest.mark.peers
pytest.importorskip("torch_rechub", reason="torch-rechub is not installed: pip install 'mtlbench[bench]'")

from torch_rechub.basic.features import SparseFeature  # noqa: E402
from torch_rechub.basic.metric import gauc_score  # noqa: E402
from torch_rechub.models import multi_task, ranking  # noqa: E402


def features(width: int = WIDTH, prefix: str = "id") -> list[SparseFeature]:
    return [SparseFeature(f"{prefix}{f}", vocab_size=IDS, embed_dim=width) for f in range(FIELDS)]


def reading(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda ids_BF: model({f"id{f}": ids_BF[:, f] for f in range(FIELDS)})


def embeddings(model: nn.Module, prefix: str = "id") -> list[nn.Embedding]:
    return [model.embedding.embed_dict[f"{prefix}{f}"] for f in range(FIELDS)]


def shared_bottom() -> Comparison:
    ours = SharedBottom(schema(2), embedding_width=WIDTH, bottom_layers=[16, 8], tower_layers=[7])
    peer = multi_task.SharedBottom(features(), ["classification"] * 2, {"dims": [16, 8]}, [{"dims": [7]}] * 2)
    theirs = without_batch_norm(peer)
    pairs = [
        *tables("fields.embedding", embeddings(theirs)),
        *perceptron("bottom.stack", 0, linears(theirs.bottom_mlp)),
        *towers(theirs.towers),
    ]
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=2)


def towers(theirs: nn.ModuleList, hidden: str = "towers.hidden", head: str = "towers.head") -> list[Pair]:
    found = []
    for t, tower in enumerate(theirs):
        *layers, last = linears(tower)
        found += [*perceptron(hidden, t, layers), *linear(head, t, last)]
    return found


def mmoe() -> Comparison:
    ours = MMoE(schema(3), embedding_width=WIDTH, experts=5, expert_layers=[16, 8], tower_layers=[7], gate_bias=True)
    theirs = without_batch_norm(published_mmoe())
    pairs = [*tables("fields.embedding", embeddings(theirs)), *towers(theirs.towers)]
    for e, expert in enumerate(theirs.experts):
        pairs += perceptron("experts", e, linears(expert))
    for t, gate in enumerate(theirs.gates):
        pairs += linear("gates.scores", t, *linears(gate))
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=3)


def published_mmoe() -> nn.Module:
    return multi_task.MMOE(features(), ["classification"] * 3, 5, {"dims": [16, 8]}, [{"dims": [7]}] * 3)


def ple() -> Comparison:
    ours = PLE(
        schema(2), embedding_width=WIDTH, level_layers=[[16, 8], [16, 8]], shared_experts=3, task_experts=2,
        tower_layers=[7], gate_bias=True,
    )  # fmt: skip
    peer = multi_task.PLE(features(), ["classification"] * 2, 2, 2, 3, {"dims": [16, 8]}, [{"dims": [7]}] * 2)
    theirs = without_batch_norm(peer)
    pairs = [*tables("fields.embedding", embeddings(theirs)), *towers(theirs.towers)]
    for number, level in enumerate(theirs.cgc_layers):
        for e, expert in enumerate(level.experts_specific):
            pairs += perceptron(f"levels.{number}.own", e, linears(expert))
        for e, expert in enumerate(level.experts_shared):
            pairs += perceptron(f"levels.{number}.shared", e, linears(expert))
        for t, gate in enumerate(level.gates_specific):
            pairs += linear(f"levels.{number}.gates.scores", t, *linears(gate))
        if number == 0:
            pairs += linear(f"levels.{number}.shared_gate.scores", 0, *linears(level.gate_shared))
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=2)


def esmm() -> Comparison:
    ours = ESMM(schema(2), embedding_width=WIDTH, layers=[16, 8])
    every = features()
    theirs = without_batch_norm(multi_task.ESMM(every[:2], every[2:], {"dims": [16, 8]}, {"dims": [16, 8]}))
    pairs = [
        *tables("fields.embedding", embeddings(theirs)),
        *towers(nn.ModuleList([theirs.tower_ctr, theirs.tower_cvr])),
    ]
    read = reading(theirs)  # conversion given a click, click, both
    return Comparison(ours, theirs, pairs, lambda ids_BF: read(ids_BF)[:, 1:], tasks=2)


def aitm() -> Comparison:
    ours = AITM(schema(3), embedding_width=WIDTH, layers=[16, 8], calibrator_weight=0, shared_attention=False)
    theirs = without_batch_norm(multi_task.AITM(features(), 3, {"dims": [16, 8]}, [{"dims": []}] * 3))
    pairs = [*tables("fields.embedding", embeddings(theirs))]
    for t, (bottom, tower) in enumerate(zip(theirs.bottoms, theirs.towers, strict=True)):
        pairs += [*perceptron("bottoms", t, linears(bottom)), *linear("heads.head", t, *linears(tower))]
    for pair, (gate, attention) in enumerate(zip(theirs.info_gates, theirs.aits, strict=True)):
        pairs += linear(f"told.{pair}", 0, *linears(gate))
        for number, layer in enumerate((attention.v_layer, attention.q_layer, attention.k_layer)):
            pairs += linear(f"attention.{pair}.value_query_key", number, layer)
    return Comparison(ours, theirs, pairs, reading(theirs), tasks=3)


def widedeep() -> Comparison:
    """Its wide part is a linear map of embeddings: with one component each and all weights 1, a weight per id."""
    ours = WideDeep(schema(1), embedding_width=WIDTH, layers=[16, 8])
    theirs = without_batch_norm(ranking.WideDeep(features(1, "wide"), features(), {"dims": [16, 8]}))
    *layers, last = linears(theirs.mlp)
    pairs = [
        *tables("fields.embedding", embeddings(theirs)),
        *tables("wide.fields.embedding", embeddings(theirs, "wide")),
        *perceptron("tower.hidden", 0, layers),
        *linear("tower.head", 0, last),
    ]

    def probabilities(ids_BF: Tensor) -> Tensor:
        columns = {f"{prefix}{f}": ids_BF[:, f] for prefix in ("id", "wide") for f in range(FIELDS)}
        return theirs(columns)[:, None]

    extra = [(theirs.linear.fc.weight, 1.0), (theirs.linear.fc.bias, 0.0)]
    return Comparison(ours, theirs, pairs, probabilities, tasks=1, extra=extra)


def dcn() -> Comparison:
    ours = DCN(schema(1), embedding_width=WIDTH, layers=[16, 8], cross_kind="v1", cross_depth=3)
    theirs = without_batch_norm(ranking.DCN(features(), 3, {"dims": [16, 8]}))
    pairs = [
        *tables("fields.embedding", embeddings(theirs)),
        *perceptron("deep.stack", 0, linears(theirs.mlp)),
        *linear("head.head", 0, theirs.linear.fc),
    ]
    for layer in range(3):
        pairs += linear(f"cross.layers.{layer}", 0, theirs.cn.w[layer])
        pairs.append(Pair(f"cross.biases.{layer}", lambda b: b[0], theirs.cn.b[layer]))
    read = reading(theirs)
    return Comparison(ours, theirs, pairs, lambda ids_BF: read(ids_BF)[:, None], tasks=1)


COMPARISONS = [shared_bottom, mmoe, ple, esmm, aitm, widedeep, dcn]


def test_everything_is_compared():
    assert len(COMPARISONS) == 7
    assert FLAT == 24


@pytest.mark.parametrize("build", COMPARISONS, ids=lambda build: build.__name__)
def test_same_weights_same_probabilities_and_gradients(build: Callable[[], Comparison]):
    compare(build())


def test_published_gates_depend_on_the_other_rows_of_a_batch_and_ours_do_not():
    batch, ids_BF, _ = rows(tasks=3)
    published, ours = reading(published_mmoe().train()), mmoe().ours.train()
    assert (published(ids_BF)[:9] - published(ids_BF[:9])).abs().max() > 1e-3
    first = type(batch)(**{name: None if (v := getattr(batch, name)) is None else v[:9] for name in batch.__slots__})
    torch.testing.assert_close(ours(batch)[:9], ours(first), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Only one class is present:sklearn.exceptions.UndefinedMetricWarning")
def test_gauc_is_the_same_until_a_user_has_one_class():
    random = np.random.default_rng(0)
    user, logits = random.integers(0, 20, 400), random.standard_normal(400).astype(np.float32)
    label = random.random(400) < 0.4
    assert all(0 < label[user == u].mean() < 1 for u in range(20))

    def both() -> tuple[float, float]:
        ours = evaluate(logits[:, None], label[:, None], None, schema(1).tasks, group=user).values["task0/gauc"]
        return ours, gauc_score(label, logits, user)

    ours, theirs = both()
    assert ours == pytest.approx(theirs, rel=1e-12)
    label[user == 7] = True
    ours, theirs = both()
    assert np.isnan(theirs)
    assert 0 < ours < 1
