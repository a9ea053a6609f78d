"""Task losses of a batch and predictions, from logits."""

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from mtlbench.distributed.sums import global_mean
from mtlbench.schema import Task

Error = Literal["squared", "absolute"]
"""Elementwise loss of a regression task."""


def task_losses(
    logits: Tensor,
    labels: Tensor,
    observed: Tensor | None = None,
    pos_weight: Tensor | None = None,
    *,
    regression: Collection[int] = (),
    error: Error = "squared",
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Mean loss of each task over its observed labels; B rows, T tasks.

    loss_t = sum over observed b of w_b l(logit_bt, label_bt) / sum over observed b of w_b

    where w_b is the row's weight, 1 by default: a row of weight 2 counts twice. l is the binary cross-entropy in nats,
    or for a regression task the squared (or absolute) difference of standardised numbers, so that the best constant has
    a squared error of about 1 on training rows.

    Both sums are over the rows of all processes (see `global_mean`). Computed in float32 even under autocast (in
    float64 if the logits are). A task without observed labels (of weight above 0) has loss 0 and gradient 0; values of
    unobserved labels, including NaN, have no effect.

    Args:
        logits: ``[B, T]``, log-odds that the label is 1; for a regression task, the standardised prediction.
        labels: ``[B, T]``, 0 or 1 if observed; for a regression task, standardised.
        observed: bool ``[B, T]``, or ``None`` for all.
        pos_weight: ``[T]``, factor on the loss of positive labels. It shifts predictions, which then estimate the
            log-odds plus ``ln pos_weight``; subtract it before reporting a log loss.
        regression: columns of the regression tasks.
        error: loss of the regression tasks.
        sample_weight: float32 ``[B]``, 0 or more.

    Returns:
        ``[T]``.

    Raises:
        ValueError: `logits` and `labels` (or `observed`) are not of the same two-dimensional shape, or `pos_weight`
            does not have one value per task.
    """
    if logits.dim() != 2 or labels.shape != logits.shape:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}, labels {tuple(labels.shape)}; both must be [rows, tasks]"
        )
    if observed is not None and observed.shape != logits.shape:
        raise ValueError(f"observed has shape {tuple(observed.shape)}; the logits have {tuple(logits.shape)}")
    if pos_weight is not None and pos_weight.shape != logits.shape[1:]:
        raise ValueError(
            f"pos_weight has shape {tuple(pos_weight.shape)}; expected one per task: {tuple(logits.shape[1:])}"
        )
    precise = torch.promote_types(logits.dtype, torch.float32)
    logits, labels = logits.to(precise), labels.to(precise)
    if observed is not None:
        # Both are replaced before the loss, not only masked after it, since 0 * NaN is NaN, also in the gradient.
        logits, labels = logits.where(observed, 0.0), labels.where(observed, 0.0)
    loss_BT = functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=pos_weight, reduction="none")
    if regression:
        apart_BT = logits - labels
        error_BT = apart_BT.square() if error == "squared" else apart_BT.abs()
        chosen = [error_BT if task in regression else loss_BT for task in range(logits.shape[1])]
        loss_BT = torch.stack([each[:, task] for task, each in enumerate(chosen)], dim=1)
    if observed is not None:
        loss_BT = loss_BT.where(observed, 0.0)
    if sample_weight is not None:
        weight_BT = sample_weight.to(precise)[:, None].expand_as(loss_BT)
        weight_BT = weight_BT if observed is None else weight_BT.where(observed, 0.0)
        return global_mean((weight_BT * loss_BT).sum(dim=0), weight_BT.sum(dim=0))
    return global_mean(loss_BT.sum(dim=0), len(logits) if observed is None else observed.sum(dim=0))


def predicted_labels(logits: Tensor, tasks: Sequence[Task]) -> Tensor:
    """Predictions from log-odds: probabilities, and for a regression task numbers in the units of its label.

    Shape: ``[N, T]`` -> ``[N, T]``.
    """
    if all(task.kind == "binary" for task in tasks):
        return torch.sigmoid(logits)
    columns = zip(tasks, logits.unbind(dim=1), strict=True)
    return torch.stack(
        [torch.sigmoid(z) if task.kind == "binary" else z * task.deviation + task.mean for task, z in columns], dim=1
    )
