import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtlbench.balancing.constant import Equal, Fixed
from mtlbench.losses import predicted_labels, task_losses
from mtlbench.schema import Task

TASKS = (Task(name="click", label="click"), Task(name="conversion", label="buy", given="click"))


def no_gramian() -> Tensor:
    pytest.fail("constant weights need no gradients")


def draw(rows: int = 7, tasks: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(rows, tasks, generator=generator, dtype=dtype, requires_grad=True)
    labels = (torch.rand(rows, tasks, generator=generator) < 0.5).to(dtype)
    observed = torch.rand(rows, tasks, generator=generator) < 0.6
    return logits, labels, observed


def test_losses_by_hand():
    # Logit 0: ln 2 whatever the label. Logit ln 3 with label 1: -ln(3/4); with label 0: -ln(1/4).
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    labels = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    expected = torch.tensor([math.log(2), -(math.log(3 / 4) + math.log(1 / 4)) / 2])
    torch.testing.assert_close(task_losses(logits, labels), expected)
    weighted = torch.tensor([(5 + 1) * math.log(2) / 2, -(2 * math.log(3 / 4) + math.log(1 / 4)) / 2])
    torch.testing.assert_close(task_losses(logits, labels, pos_weight=torch.tensor([5.0, 2.0])), weighted)


def test_mask_equals_leaving_rows_out():
    logits, labels, observed = draw()
    losses = task_losses(logits, labels, observed)
    for t in range(3):
        rows = observed[:, t]
        expected = functional.binary_cross_entropy_with_logits(logits[rows, t], labels[rows, t])
        torch.testing.assert_close(losses[t], expected)


def test_what_is_unobserved_has_no_effect_even_if_it_is_no_number():
    logits, labels, observed = draw()
    expected = task_losses(logits, labels, observed)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), logits)
    spoiled = logits.detach().where(observed, torch.inf).requires_grad_()
    losses = task_losses(spoiled, labels.where(observed, torch.nan), observed)
    (gradient,) = torch.autograd.grad(losses.sum(), spoiled)
    assert torch.equal(losses, expected)
    assert torch.equal(gradient, expected_gradient)


def test_a_task_without_observed_rows_has_loss_and_gradient_zero():
    logits, labels, observed = draw()
    observed[:, 1] = False
    losses = task_losses(logits, labels, observed)
    losses.sum().backward()
    assert losses[1] == 0
    assert logits.grad is not None
    assert (logits.grad[:, 1] == 0).all()
    assert (logits.grad[:, 0] != 0).any()
    assert torch.equal(task_losses(logits[:0], labels[:0]), torch.zeros(3))


def test_float32_under_autocast_and_float64_where_asked():
    logits, labels, _ = draw()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = task_losses(logits.bfloat16(), labels)
    for losses in (half, task_losses(logits.bfloat16(), labels.bfloat16())):
        assert losses.dtype == torch.float32
        assert torch.equal(losses, task_losses(logits.bfloat16().float(), labels))
    precise, labels, observed = draw(dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: task_losses(s, labels, observed), (precise,))


def test_wrong_shapes_are_refused():
    logits, labels, observed = draw()
    with pytest.raises(ValueError, match=r"logits have shape \(7,\), labels \(7, 3\); both must be \[rows, tasks\]"):
        task_losses(logits[:, 0], labels)
    with pytest.raises(ValueError, match=r"labels \(7,\)"):
        task_losses(logits[:, 0], labels[:, 0])
    with pytest.raises(ValueError, match=r"observed has shape \(7,\)"):
        task_losses(logits, labels, observed[:, 0])
    with pytest.raises(ValueError, match=r"pos_weight has shape \(2,\); expected one per task: \(3,\)"):
        task_losses(logits, labels, pos_weight=torch.ones(2))


def test_equal_is_fixed_with_ones_and_weights_scale_each_gradient():
    losses = torch.tensor([0.5, 0.25], requires_grad=True)
    assert Equal(tasks=TASKS)(losses, no_gramian) == Fixed(tasks=TASKS, weights=[1, 1])(losses, no_gramian) == 0.75
    total = Fixed(tasks=TASKS, weights=[1, 0.02])(losses, no_gramian)
    total.backward()
    torch.testing.assert_close(total, torch.tensor(0.505))
    assert losses.grad is not None
    torch.testing.assert_close(losses.grad, torch.tensor([1, 0.02]))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], r"found 1 weights \[1.0\]; expected 2, one for each of the tasks click, conversion"),
        ([1.0, -1.0], "the weight of task 'conversion' is -1.0"),
        ([math.nan, 1.0], "the weight of task 'click' is nan"),
        ([0.0, 0.0], "all are 0"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: list[float], message: str):
    with pytest.raises(ValueError, match=message):
        Fixed(tasks=TASKS, weights=weights)


@pytest.mark.parametrize("error", ["squared", "absolute"])
def test_a_regression_loss_has_the_gradient_of_a_masked_mean(error: str):
    """Beside binary tasks, row by row; what is not observed may be NaN."""
    logits, labels, observed = draw(dtype=torch.float64)
    labels[:, 1] = torch.linspace(-2, 2, len(labels), dtype=torch.float64)
    reference = logits.detach().clone().requires_grad_()
    losses = []
    for t in range(3):
        rows = [b for b in range(len(labels)) if observed[b, t]]
        if t == 1:
            apart = [reference[b, t] - labels[b, t] for b in rows]
            each = [x * x if error == "squared" else x.abs() for x in apart]
        else:
            each = [functional.binary_cross_entropy_with_logits(reference[b, t], labels[b, t]) for b in rows]
        losses.append(sum(each, torch.zeros((), dtype=torch.float64)) / len(rows))
    hidden = labels.where(observed, torch.nan)
    found = task_losses(logits, hidden, observed, regression=(1,), error=error)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(found, torch.stack(losses))
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    (found * weights).sum().backward()
    (torch.stack(losses) * weights).sum().backward()
    torch.testing.assert_close(logits.grad, reference.grad)


def test_binary_losses_do_not_move_beside_a_regression_task():
    logits, labels, observed = draw()
    alone = task_losses(logits, labels, observed)
    beside = task_losses(logits, labels, observed, regression=(1,))
    assert torch.equal(alone[[0, 2]], beside[[0, 2]])
    assert not torch.equal(alone[1], beside[1])


def test_predictions_are_probabilities_or_in_the_units_of_the_label():
    tasks = (TASKS[0], Task(name="watch", label="seconds", kind="regression", mean=100.0, deviation=20.0))
    found = predicted_labels(torch.tensor([[0.0, 0.0], [math.log(3), -1.5]]), tasks)
    torch.testing.assert_close(found, torch.tensor([[0.5, 100.0], [0.75, 70.0]]))
