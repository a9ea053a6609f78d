"""A row of weight 2 is the row twice in the loss of every model in ``conf/``, and one of weight 0 is not there.

In float64; task losses and penalties, with missing labels. Statistics of a batch (batch normalisation, Dice) count
rows: models that have them are told apart by their modules.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from contracts.test_models import GATED, NAMES, build, every_model
from mtlbench.losses import task_losses
from mtlbench.nn.dice import Dice
from mtlbench.schema import Batch
from mtlbench.train.objective import LossSettings, TaskLosses
from mtlbench.train.step import penalties_of
from rank_pair import rows_of
from synthetic import random_batch, rich_schema

SCHEMA = rich_schema(3)
TIMES = torch.tensor([1, 2, 0, 3, 1, 1, 0, 2, 1, 1, 2])


def batch_of() -> Batch:
    batch = random_batch(SCHEMA, len(TIMES), seed=1)
    assert batch.labels is not None
    observed = torch.rand(batch.labels.shape, generator=torch.Generator().manual_seed(1)) < 0.8
    return replace(batch, labels=batch.labels.where(observed, torch.nan), observed=observed)


def repeated(batch: Batch) -> Batch:
    return rows_of(batch, torch.arange(len(batch)).repeat_interleave(TIMES))


def terms(model: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor | None]]:
    """Losses and penalties, and the gradients of their sum."""
    torch.manual_seed(5)
    model.zero_grad()
    losses = TaskLosses(pos_weight=torch.tensor([2.0, 0.5, 3.0]), given=(None, 0, None))
    logits = model(batch)
    assert batch.labels is not None
    losses_T = losses(logits, batch.labels, batch.observed, batch.sample_weight)
    found = torch.stack([*losses_T, *(penalty().double() for penalty in penalties_of(model).values())])
    found.sum().backward()
    return found.detach(), [None if p.grad is None else p.grad.to_dense() for p in model.parameters()]


@every_model
def test_a_weight_is_a_number_of_rows(name: str) -> None:
    model = build(name, SCHEMA, *("virtual_gradient=none",) * (name in GATED)).double().train()
    if any(isinstance(module, (nn.modules.batchnorm._BatchNorm, Dice)) for module in model.modules()):
        pytest.skip("statistics of a batch count rows")
    batch = batch_of()
    by_weight, gradients = terms(model, replace(batch, sample_weight=TIMES.float()))
    by_copies, expected = terms(model, repeated(batch))
    torch.testing.assert_close(by_weight, by_copies, rtol=1e-9, atol=1e-12)
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-7, atol=1e-10)


def test_all_models_were_asked() -> None:
    assert len(NAMES) >= 40


@pytest.mark.parametrize("error", ["squared", "absolute"])
def test_regression_and_masked_labels(error: str) -> None:
    batch = batch_of()
    assert batch.labels is not None
    assert batch.observed is not None
    logits = torch.randn(len(TIMES), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    copies = torch.arange(len(TIMES)).repeat_interleave(TIMES)
    weighted = task_losses(
        logits, batch.labels, batch.observed, regression=[1], error=error, sample_weight=TIMES.float()
    )
    again = task_losses(logits[copies], batch.labels[copies], batch.observed[copies], regression=[1], error=error)
    torch.testing.assert_close(weighted, again, rtol=1e-12, atol=0)
    ones = task_losses(logits, batch.labels, batch.observed, regression=[1], error=error, sample_weight=TIMES**0.0)
    assert torch.equal(ones, task_losses(logits, batch.labels, batch.observed, regression=[1], error=error))
    none = task_losses(logits, batch.labels, batch.observed, regression=[1], error=error, sample_weight=TIMES * 0.0)
    assert none.tolist() == [0, 0, 0]


@pytest.mark.parametrize("how", ["balanced", "sqrt_balanced"])
def test_balance_counts_weights(how: str) -> None:
    batch, copies = batch_of(), repeated(batch_of())
    assert batch.labels is not None
    assert copies.labels is not None
    settings = LossSettings(pos_weight=how)
    weighted = settings.build(SCHEMA.tasks, batch.labels, batch.observed, TIMES.float()).pos_weight
    again = settings.build(SCHEMA.tasks, copies.labels, copies.observed).pos_weight
    assert weighted is not None
    assert again is not None
    assert torch.equal(weighted, again)
    ones = settings.build(SCHEMA.tasks, batch.labels, batch.observed, TIMES**0.0).pos_weight
    plain = settings.build(SCHEMA.tasks, batch.labels, batch.observed).pos_weight
    assert ones is not None
    assert plain is not None
    assert torch.equal(ones, plain)
