"""AITM: the attention by hand, the calibrator, and which task learns from which."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mtlbench.models.aitm import AITM
from mtlbench.nn.transfer import InformationTransfer
from mtlbench.schema import Batch, Schema
from synthetic import plain_schema, random_batch


def funnel(tasks: int = 2) -> Schema:
    """Each task is given the one before it."""
    plain = plain_schema(tasks=tasks)
    names = [None, *(task.name for task in plain.tasks)]
    return replace(plain, tasks=tuple(replace(t, given=g) for t, g in zip(plain.tasks, names, strict=False)))


def aitm(tasks: int = 2, **changes: Any) -> AITM:
    torch.manual_seed(0)
    return AITM(funnel(tasks), **({"embedding_width": 4, "layers": (16, 8)} | changes))


BATCH = random_batch(funnel(), 17)


def twice(batch: Batch) -> Batch:
    values = {name: getattr(batch, name) for name in batch.__slots__}
    return Batch(**{name: None if value is None else torch.cat([value, value]) for name, value in values.items()})


def test_parameter_counts():
    def count(model: nn.Module) -> int:
        return sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)

    assert count(aitm()) == 1354
    assert count(aitm(3)) == 3 * 536 + 2 * (64 + 8) + 3 * 64 + 3 * 9
    assert count(aitm(3, shared_attention=False)) == count(aitm(3)) + 3 * 64


def test_hand_numbers():
    block = InformationTransfer(1)
    with torch.no_grad():
        block.value_query_key.weight.copy_(torch.tensor([2.0, 1.0, 3.0]).view(3, 1, 1))
    x_UBH = torch.tensor([0.0, 1.0]).view(2, 1, 1)  # scores 0 and 3, values 0 and 2
    torch.testing.assert_close(block(x_UBH), 2 * torch.tensor([[3.0]]).sigmoid())


def test_without_queries_the_tokens_are_averaged():
    block = InformationTransfer(5)
    with torch.no_grad():
        block.value_query_key.weight[1].zero_()
    x_UBH = torch.randn(2, 7, 5)
    torch.testing.assert_close(block(x_UBH), (x_UBH @ block.value_query_key.weight[0]).mean(dim=0))


@pytest.mark.parametrize("shared", [True, False])
def test_the_model_is_a_loop(shared: bool):
    model = aitm(3, shared_attention=shared)
    batch = random_batch(funnel(3), 17)
    x_BI = model.fields(batch).flatten(1)
    z_BH = torch.zeros(())
    for task in range(3):
        q_BH = x_BI
        for layer in model.bottoms.layers:
            q_BH = torch.relu(q_BH @ layer.weight[task] + layer.bias[task])
        if task == 0:
            z_BH = q_BH
        else:
            told = model.told[task - 1]
            tokens = [torch.relu(z_BH @ told.weight[0] + told.bias[0]), q_BH]
            h_1, h_2, h_3 = model.attention[0 if shared else task - 1].value_query_key.weight
            scores = [((u @ h_2) * (u @ h_3)).sum(dim=1) / 8**0.5 for u in tokens]
            weights = torch.stack(scores).softmax(dim=0)
            z_BH = sum(weights[u][:, None] * (tokens[u] @ h_1) for u in range(2))
        logit_B = z_BH @ model.heads.head.weight[task, :, 0] + model.heads.head.bias[task]
        torch.testing.assert_close(model(batch)[:, task], logit_B)


def calibrator(bias: list[float], batch: Batch = BATCH) -> float:
    """Of a model whose probabilities are those of its biases."""
    model = aitm(len(bias))
    nn.init.zeros_(model.heads.head.weight)
    with torch.no_grad():
        model.heads.head.bias.copy_(torch.tensor(bias).logit()[:, None])
    model(batch)
    return model.penalty().item()


def test_the_calibrator_by_hand():
    assert calibrator([0.3, 0.1]) == 0
    assert calibrator([0.1, 0.3]) == pytest.approx(0.6 * 0.2)
    assert calibrator([0.1, 0.3, 0.7]) == pytest.approx(0.6 * (0.2 + 0.4))
    assert calibrator([0.1, 0.3, 0.2]) == pytest.approx(0.6 * 0.2)
    assert calibrator([0.1, 0.3], twice(BATCH)) == pytest.approx(0.6 * 0.2), "a mean over rows, no sum"


def test_the_calibrator_teaches_and_is_taken_once():
    model = aitm()
    with torch.no_grad():
        model.heads.head.bias[1] += 2
    model(BATCH)
    model.penalty().backward()
    gradient = model.heads.head.bias.grad
    assert gradient is not None
    assert gradient[0] < 0 < gradient[1]
    with pytest.raises(AssertionError, match="taken once"):
        model.penalty()


def test_a_task_teaches_those_before_it_and_none_behind():
    for task, reached in ((0, [True, False]), (1, [True, True])):
        model = aitm()
        model(BATCH)[:, task].sum().backward()
        gradient = model.bottoms.layers[0].weight.grad
        assert [bool(part.count_nonzero()) for part in gradient] == reached


def test_refusals():
    with pytest.raises(ValueError, match=r"'task1' is not given 'task0'.*Set model.calibrator_weight=0"):
        AITM(plain_schema(), embedding_width=4, layers=(8,))
    assert AITM(plain_schema(), embedding_width=4, layers=(8,), calibrator_weight=0)(BATCH).shape == (17, 2)
    with pytest.raises(ValueError, match="layers is empty"):
        aitm(layers=())
    with pytest.raises(ValueError, match=r"calibrator_weight is -1; allowed: 0 or more"):
        aitm(calibrator_weight=-1)
