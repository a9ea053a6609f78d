"""Losses as configured: factors on positives and what they do to log-odds, tasks that are learnt given another."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mtlbench.cli.compose import compose
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.objects import build_loss_settings
from mtlbench.experiment.run import train
from mtlbench.schema import Task
from mtlbench.train.objective import LossSettings, TaskLosses

TASKS = (Task(name="click", label="click"), Task(name="conversion", label="buy", given="click"))
FREE = (Task(name="a", label="a"), Task(name="b", label="b"))
LABELS = torch.tensor([[1, 1], [1, 0], [1, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]], dtype=torch.int8)


def minimiser(losses: TaskLosses, labels: Tensor, observed: Tensor | None = None) -> Tensor:
    """The constant logits ``[T]`` of least loss."""
    logit_T = torch.zeros(labels.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logit_T], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = losses(logit_T.expand(len(labels), -1), labels.double(), observed).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return logit_T.detach()


def log_odds(rate: float) -> float:
    return math.log(rate / (1 - rate))


def test_without_settings_it_is_the_plain_loss():
    losses = LossSettings().build(TASKS, LABELS, None)
    assert (losses.pos_weight, losses.given) == (None, (None, None))
    logits = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    expected = binary_cross_entropy_with_logits(logits, LABELS.float(), reduction="none").mean(dim=0)
    torch.testing.assert_close(losses(logits, LABELS.float(), None), expected)
    assert torch.equal(losses.log_odds(logits), logits)


def test_the_weighted_loss_is_least_at_log_odds_plus_the_logarithm_of_the_factor():
    losses = LossSettings(pos_weight=(24.0, 4584.0)).build(TASKS, LABELS, None)
    found = minimiser(losses, LABELS)
    rates = torch.tensor([log_odds(3 / 8), log_odds(1 / 8)]).double()
    torch.testing.assert_close(found, rates + torch.tensor([24.0, 4584.0]).double().log(), rtol=0, atol=1e-4)
    torch.testing.assert_close(losses.log_odds(found[None])[0], rates, rtol=0, atol=1e-4)


def test_balanced_factors_are_negatives_over_positives_of_observed_labels():
    observed = torch.ones_like(LABELS, dtype=torch.bool)
    observed[0, 0] = observed[7, 0] = False  # one positive and one negative of the first task
    for mask, expected in ((None, [5 / 3, 7.0]), (observed, [4 / 2, 7.0])):
        losses = LossSettings(pos_weight="balanced").build(FREE, LABELS, mask)
        torch.testing.assert_close(losses.pos_weight, torch.tensor(expected))
        root = LossSettings(pos_weight="sqrt_balanced").build(FREE, LABELS, mask)
        torch.testing.assert_close(root.pos_weight, torch.tensor(expected).sqrt())
        # Both classes weigh the same: a constant does best at one half.
        torch.testing.assert_close(minimiser(losses, LABELS, mask), torch.zeros(2).double(), rtol=0, atol=1e-5)


def test_a_conditional_task_is_learnt_on_the_positives_of_the_other_alone():
    losses = LossSettings(given="conditional").build(TASKS, LABELS, None)
    logits = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    clicks = LABELS[:, 0] == 1
    found = losses(logits, LABELS.float(), None)
    expected = binary_cross_entropy_with_logits(logits[clicks, 1], LABELS[clicks, 1].float())
    torch.testing.assert_close(found[1], expected)
    torch.testing.assert_close(found[0], LossSettings().build(TASKS, LABELS, None)(logits, LABELS.float(), None)[0])
    least = minimiser(losses, LABELS)
    torch.testing.assert_close(least, torch.tensor([log_odds(3 / 8), log_odds(1 / 3)]).double(), rtol=0, atol=1e-5)
    # Of stored labels: a conversion is a click and a conversion.
    torch.testing.assert_close(
        losses.log_odds(least[None])[0], torch.tensor([log_odds(3 / 8), log_odds(1 / 8)]).double(), rtol=0, atol=1e-5
    )


def test_a_conditional_task_needs_both_labels_observed():
    losses = LossSettings(given="conditional").build(TASKS, LABELS, None)
    observed = torch.ones_like(LABELS, dtype=torch.bool)
    observed[0, 0] = observed[1, 1] = False
    counted = losses.label_mask(LABELS, observed)
    assert counted is not None
    assert counted[:, 1].tolist() == [False, False, True, False, False, False, False, False]
    assert torch.equal(counted[:, 0], observed[:, 0])
    assert observed[0, 1], "the mask of the batch is left as it is"


def test_balance_and_condition_together():
    losses = LossSettings(pos_weight="balanced", given="conditional").build(TASKS, LABELS, None)
    torch.testing.assert_close(losses.pos_weight, torch.tensor([5 / 3, 2.0]))  # two of three clicks do not convert
    least = minimiser(losses, LABELS)
    torch.testing.assert_close(
        losses.log_odds(least[None])[0], torch.tensor([log_odds(3 / 8), log_odds(1 / 8)]).double(), rtol=0, atol=1e-5
    )


def test_a_chain_of_conditions_multiplies_along_the_chain():
    chain = (*TASKS, Task(name="refund", label="refund", given="conversion"))
    losses = LossSettings(given="conditional").build(chain, torch.ones(2, 3), None)
    found = losses.log_odds(torch.tensor([[log_odds(0.5), log_odds(0.4), log_odds(0.3)]]))
    torch.testing.assert_close(found.sigmoid(), torch.tensor([[0.5, 0.2, 0.06]]))


@pytest.mark.parametrize(
    ("settings", "tasks", "message"),
    [
        (
            {"pos_weight": (1.0,)},
            TASKS,
            r"loss.pos_weight: found 1 .*; expected 2, one for each of the tasks click, conv",
        ),
        ({"given": "conditional"}, FREE, "loss.given=conditional, but none of the tasks a, b has a parent task"),
        ({"pos_weight": "balanced"}, TASKS, "the training rows have 0 positives and 3 negatives of task 'conversion'"),
    ],
)
def test_what_the_data_cannot_feed_is_refused(settings: dict[str, str], tasks: tuple[Task, ...], message: str):
    labels = torch.tensor([[1, 0], [0, 0], [1, 0]])
    with pytest.raises(ValueError, match=message):
        LossSettings(**settings).build(tasks, labels, None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
def test_factors_that_make_no_sense_are_refused(factor: float):
    with pytest.raises(ValueError, match=r"loss.pos_weight is .*; allowed: finite numbers above 0"):
        LossSettings(pos_weight=(1.0, factor))


def test_the_configuration_says_it(tmp_path: Path):
    assert build_loss_settings(compose([])) == LossSettings()
    assert build_loss_settings(compose(["loss=balanced"])) == LossSettings(pos_weight="balanced")
    assert build_loss_settings(compose(["loss.pos_weight=[24,4584]"])) == LossSettings(pos_weight=(24.0, 4584.0))
    assert build_loss_settings(compose(["profile=dcrnn"])).pos_weight == (24.0, 4584.0)
    with pytest.raises(ConfigError, match=r"loss\.pos_weight: 'even'"):
        build_loss_settings(compose(["loss.pos_weight=even"]))
    with pytest.raises(ConfigError, match=r"loss\.given: 'clicks'"):
        build_loss_settings(compose(["loss.given=clicks"]))


@pytest.mark.parametrize("model", ["esmm", "escm2", "aitm"])
def test_models_that_make_joint_probabilities_are_not_learnt_conditionally(model: str, tmp_path: Path):
    places = [f"run.data={tmp_path}/data", f"run.folder={tmp_path}/runs", "dataset.source=simulated"]
    small = ["dataset.simulator.rows=3000", "dataset.min_count=1", "trainer.epochs=1", "tracker=none"]
    with pytest.raises(ConfigError, match=r"loss\.given=conditional: \w+ itself computes the joint probability"):
        train(compose([f"model={model}", "loss.given=conditional", *places, *small]))
