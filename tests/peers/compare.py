"""A model beside a peer's: the same weights in both, the same rows, then the same probabilities and gradients."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.schema import Batch, Schema
from synthetic import plain_schema, random_batch

FIELDS, IDS, WIDTH, ROWS = 6, 11, 4, 37
FLAT = FIELDS * WIDTH


def schema(tasks: int) -> Schema:
    """Six fields; each task is given the one before it."""
    plain = plain_schema(fields=FIELDS, cardinality=IDS, tasks=tasks)
    given = [None, *(task.name for task in plain.tasks)]
    return replace(plain, tasks=tuple(replace(t, given=g) for t, g in zip(plain.tasks, given, strict=False)))


@dataclass(frozen=True)
class Pair:
    """A part of one of our parameters that is the same as a part of one of the peer's; parts are views."""

    name: str
    part: Callable[[Tensor], Tensor]
    theirs: nn.Parameter
    their_part: Callable[[Tensor], Tensor] = torch.Tensor.detach


@dataclass(frozen=True)
class Comparison:
    """Our model, the peer's, and how they belong together.

    Attributes:
        ours, theirs: models; weights are copied from ours.
        pairs: every parameter of either, except for `extra` ones.
        probabilities: the peer's ``[B, T]`` for ids ``[B, F]`` that count from 0 in every field.
        tasks: how many.
        extra: parameters that only the peer has, with the value that makes them nothing.
    """

    ours: nn.Module
    theirs: nn.Module
    pairs: Sequence[Pair]
    probabilities: Callable[[Tensor], Tensor]
    tasks: int
    extra: Sequence[tuple[nn.Parameter, float]] = field(default_factory=tuple)


def compare(comparison: Comparison) -> None:
    """Assert that both models are the same function with the same gradient, in float64 and with no parameter left."""
    torch.manual_seed(5)
    for parameter in comparison.ours.parameters():  # as drawn, biases are zero and would prove nothing
        nn.init.normal_(parameter, std=0.4)
    comparison.ours.double().train()
    comparison.theirs.double().train()
    _check_coverage(comparison)
    mine = dict(comparison.ours.named_parameters())
    with torch.no_grad():
        for pair in comparison.pairs:
            pair.their_part(pair.theirs).copy_(pair.part(mine[pair.name]))
        for parameter, value in comparison.extra:
            parameter.fill_(value)
    batch, ids_BF, label_BT = rows(comparison.tasks)
    logits_BT = comparison.ours(batch).reshape(ROWS, comparison.tasks)
    theirs_BT = comparison.probabilities(ids_BF)
    assert logits_BT.std() > 0.1, "rows are told apart"
    # Not closer, because a peer takes a square root in float32.
    torch.testing.assert_close(logits_BT.sigmoid(), theirs_BT, rtol=0, atol=1e-7)
    F.binary_cross_entropy_with_logits(logits_BT, label_BT).backward()
    F.binary_cross_entropy(theirs_BT, label_BT).backward()
    for pair in comparison.pairs:
        gradient = mine[pair.name].grad
        assert gradient is not None, pair.name
        assert pair.theirs.grad is not None, pair.name
        theirs = pair.their_part(pair.theirs.grad)
        torch.testing.assert_close(pair.part(gradient), theirs, rtol=1e-5, atol=1e-8, msg=pair.name)
        assert gradient.any(), f"{pair.name} has no gradient to compare"


def rows(tasks: int) -> tuple[Batch, Tensor, Tensor]:
    """Random rows: a batch, their ids ``[B, F]`` counted from 0 in every field, and labels ``[B, T]``."""
    ours = schema(tasks)
    batch = random_batch(ours, ROWS, seed=3)
    first = torch.tensor([ours.offsets[f.name] for f in ours.fields])
    assert batch.labels is not None
    return batch, batch.ids.long() - first, batch.labels.double()


def tables(name: str, theirs: Sequence[nn.Embedding]) -> Iterator[Pair]:
    """A table of all fields, row 0 being padding, and one table for each field."""
    for f, table in enumerate(theirs):
        yield Pair(name, lambda w, f=f: w[1 + f * IDS : 1 + (f + 1) * IDS], table.weight)  # pyright: ignore[reportArgumentType]


def linear(name: str, number: int, theirs: nn.Linear, *, bias: nn.Parameter | None = None) -> Iterator[Pair]:
    """Map `number` of a stack ``[E, in, out]``, and a layer ``[out, in]``, whose bias may stand elsewhere."""
    yield Pair(f"{name}.weight", lambda w: w[number].T, theirs.weight)  # pyright: ignore[reportArgumentType]
    if (theirs_bias := theirs.bias if bias is None else bias) is not None:
        yield Pair(f"{name}.bias", lambda b: b[number], theirs_bias)  # pyright: ignore[reportArgumentType]


def perceptron(name: str, number: int, theirs: Sequence[nn.Linear]) -> Iterator[Pair]:
    """Perceptron `number` of a stack, and a peer's layers."""
    for position, layer in enumerate(theirs):
        yield from linear(f"{name}.layers.{position}", number, layer)


def without_batch_norm(model: nn.Module) -> nn.Module:
    """The model with the identity in the place of every batch normalisation."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d):
                setattr(parent, name, nn.Identity())
    return model


def linears(model: nn.Module) -> list[nn.Linear]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]


def _check_coverage(comparison: Comparison) -> None:
    """Every number of either model is in exactly one pair, but for the row of padding and what is extra."""
    mine = {name: torch.zeros_like(p).detach() for name, p in comparison.ours.named_parameters()}
    theirs = {parameter: torch.zeros_like(parameter).detach() for parameter in comparison.theirs.parameters()}
    for name, count in mine.items():
        if name.endswith("fields.embedding"):
            count[0] += 1
    for parameter, _ in comparison.extra:
        theirs[parameter] += 1
    for pair in comparison.pairs:
        pair.part(mine[pair.name]).add_(1)
        pair.their_part(theirs[pair.theirs]).add_(1)
    wrong = [name for name, count in mine.items() if not (count == 1).all()]
    wrong += [name for name, p in comparison.theirs.named_parameters() if not (theirs[p] == 1).all()]
    assert not wrong, f"not compared exactly once: {wrong}"
