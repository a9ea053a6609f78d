"""ESCM2: its two estimators by hand, what they teach, and the ESMM that it contains."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mtlbench.models.escm2 import ESCM2
from mtlbench.models.esmm import ESMM
from mtlbench.nn.counterfactual import doubly_robust_risk, inverse_propensity_risk
from mtlbench.schema import Schema
from synthetic import plain_schema, random_batch


def funnel(tasks: int = 2) -> Schema:
    """Each task is given the one before it."""
    plain = plain_schema(tasks=tasks)
    names = [None, *(task.name for task in plain.tasks)]
    return replace(plain, tasks=tuple(replace(t, given=g) for t, g in zip(plain.tasks, names, strict=False)))


def escm2(tasks: int = 2, **changes: Any) -> ESCM2:
    torch.manual_seed(0)
    return ESCM2(funnel(tasks), **({"embedding_width": 4, "layers": (16, 8)} | changes))


BATCH = random_batch(funnel(), 17)
assert BATCH.labels is not None
LABELS = BATCH.labels


def test_hand_numbers():
    loss, clicked, propensity = (
        torch.tensor([3.0, 5.0, 2.0]),
        torch.tensor([1.0, 0.0, 1.0]),
        torch.tensor([0.5, 0.5, 0.01]),
    )
    torch.testing.assert_close(inverse_propensity_risk(loss, clicked, propensity, 0.1), torch.tensor([6.0, 0.0, 20.0]))
    imputed = torch.tensor([1.0, 4.0, 2.0])  # errors 2, unknown, 0
    torch.testing.assert_close(
        doubly_robust_risk(loss, clicked, propensity, 0.1, imputed), torch.tensor([1 + 2 / 0.5 + 4 / 0.5, 4.0, 2.0])
    )


def test_logits_are_those_of_esmm():
    for estimator in ("ips", "dr"):
        model = escm2(estimator=estimator)
        torch.manual_seed(0)
        esmm = ESMM(funnel(), embedding_width=4, layers=(16, 8))
        esmm.load_state_dict({n: v for n, v in model.state_dict().items() if "imputation" not in n})
        assert torch.equal(esmm(BATCH), model(BATCH))
    assert sum(p.numel() for n, p in escm2().named_parameters() if "embedding" not in n) == 1090
    assert sum(p.numel() for n, p in escm2(estimator="dr").named_parameters() if "embedding" not in n) == 3 * 545


def test_where_every_click_is_certain_clicked_rows_are_averaged_over_all():
    model = escm2(counterfactual_weight=0.5)
    with torch.no_grad():
        model.towers.head.weight[0] = 0
        model.towers.head.bias[0] = 50
    model(BATCH)
    own_B = model.towers(model.fields(BATCH).flatten(1)[None])[:, 1]
    clicked_B = LABELS[:, 0] > 0
    mean = F.binary_cross_entropy_with_logits(own_B[clicked_B], LABELS[clicked_B, 1])
    torch.testing.assert_close(model.penalty(), 0.5 * mean * clicked_B.float().mean())


@pytest.mark.parametrize("estimator", ["ips", "dr"])
def test_the_risk_teaches_the_conversion_and_not_its_propensity(estimator: str):
    model = escm2(estimator=estimator)
    model(BATCH)
    model.penalty().backward()
    gradient = model.towers.head.weight.grad
    assert gradient is not None
    assert [bool(part.count_nonzero()) for part in gradient] == [False, True]
    if model.imputation is not None:
        assert all(p.grad is not None and p.grad.count_nonzero() for p in model.imputation.parameters())
    with pytest.raises(AssertionError, match="taken once"):
        model.penalty()


@pytest.mark.parametrize("estimator", ["ips", "dr"])
def test_rows_that_are_not_observed_count_for_nothing(estimator: str):
    model = escm2(estimator=estimator)
    observed = torch.ones(17, 2, dtype=torch.bool)
    observed[11:, 1] = False
    model(replace(BATCH, observed=observed, labels=torch.where(observed, LABELS, torch.nan)))
    risk = model.penalty()
    values = {name: getattr(BATCH, name) for name in BATCH.__slots__}
    model(type(BATCH)(**{name: None if value is None else value[:11] for name, value in values.items()}))
    torch.testing.assert_close(risk, model.penalty())


def test_an_imputation_that_is_right_is_the_risk():
    loss, clicked = torch.rand(7), torch.tensor([1.0, 0, 0, 1, 0, 1, 1])
    risk = doubly_robust_risk(loss, clicked, torch.rand(7), 0.01, loss)
    torch.testing.assert_close(risk, loss)


def test_more_and_fewer_tasks():
    for estimator in ("ips", "dr"):
        for tasks in (1, 3):
            model = escm2(tasks, estimator=estimator)
            assert model(random_batch(funnel(tasks), 17)).shape == (17, tasks)
            assert bool(model.penalty() > 0) == (tasks > 1)


def test_refusals():
    with pytest.raises(ValueError, match="estimator is 'mips'; allowed: ips, dr"):
        escm2(estimator="mips")
    with pytest.raises(ValueError, match="propensity_clip is 0"):
        escm2(propensity_clip=0)
    with pytest.raises(ValueError, match="counterfactual_weight is -1"):
        escm2(counterfactual_weight=-1)
    with pytest.raises(ValueError, match="none of task0, task1 is given another"):
        ESCM2(plain_schema(), embedding_width=4, layers=(8,))
