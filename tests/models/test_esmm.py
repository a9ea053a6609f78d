"""ESMM: the product in log-odds, and which tower learns from what."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mtlbench.models.esmm import ESMM
from mtlbench.nn.product import log_odds_of_product
from mtlbench.schema import Schema
from synthetic import plain_schema, random_batch


def funnel(tasks: int = 2) -> Schema:
    """Each task is given the one before it."""
    plain = plain_schema(tasks=tasks)
    return replace(
        plain, tasks=tuple(replace(t, given=plain.tasks[i - 1].name if i else None) for i, t in enumerate(plain.tasks))
    )


def esmm(schema: Schema | None = None) -> ESMM:
    torch.manual_seed(0)
    return ESMM(schema or funnel(), embedding_width=4, layers=(16, 8))


BATCH = random_batch(funnel(), 17)


def test_hand_numbers():
    a, b = torch.tensor([0.0, 3.0]).log1p(), torch.tensor([0.0, 0.0])  # p = 1/2, 4/5; 1/2, 1/2
    torch.testing.assert_close(log_odds_of_product(a, b).sigmoid(), torch.tensor([0.25, 0.4]))


def test_extreme_log_odds_keep_their_digits():
    extreme = torch.tensor([-60.0, -20.0, 20.0, 60.0])
    a, b = torch.meshgrid(extreme, extreme, indexing="ij")
    found = log_odds_of_product(a, b)
    p, q = a.double().sigmoid(), b.double().sigmoid()
    # 1 - pq = (1 - p) + p (1 - q), which is exact where p and q round to 1
    expected = (p * q).log() - ((-a.double()).sigmoid() + p * (-b.double()).sigmoid()).log()
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)


def test_the_loss_of_log_odds_is_the_loss_of_the_product():
    model = esmm()
    own_BT = model.diagnostics(BATCH)["conditional_logits"].double().sigmoid()
    assert BATCH.labels is not None
    expected = F.binary_cross_entropy(own_BT.prod(dim=1), BATCH.labels[:, 1].double())
    found = F.binary_cross_entropy_with_logits(model(BATCH)[:, 1], BATCH.labels[:, 1])
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_parameter_count_and_no_more_than_what_it_is_given():
    model = esmm(funnel(3))
    assert sum(p.numel() for n, p in esmm().named_parameters() if "embedding" not in n) == 1090
    logits = model(random_batch(funnel(3), 17))
    assert (logits[:, 1] < logits[:, 0]).all()
    assert (logits[:, 2] < logits[:, 1]).all()


def test_the_product_teaches_both_towers_and_the_click_its_own():
    for task, reached in ((0, [True, False]), (1, [True, True])):
        model = esmm()
        model(BATCH)[:, task].sum().backward()
        gradient = model.towers.head.weight.grad
        assert gradient is not None
        assert [bool(part.count_nonzero()) for part in gradient] == reached


def test_a_task_given_none_is_its_tower_alone():
    """A funnel and a task beside it."""
    plain = plain_schema(tasks=3)
    schema = replace(plain, tasks=(*funnel(2).tasks, plain.tasks[2]))
    model, batch = esmm(schema), random_batch(plain, 17)
    assert torch.equal(model(batch)[:, 2], model.diagnostics(batch)["conditional_logits"][:, 2])


def test_tasks_that_follow_from_nothing_are_refused():
    with pytest.raises(ValueError, match="none of task0, task1 is given another: choose a data set"):
        esmm(plain_schema())
    assert esmm(plain_schema(tasks=1))(BATCH).shape == (17, 1)
