"""The training objective: a loss per task, and how they are combined."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mtlbench.balancing.protocol import Balancing
from mtlbench.losses import Error, task_losses
from mtlbench.nn.product import log_odds_of_product
from mtlbench.schema import Task


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Loss settings.

    Attributes:
        pos_weight: factor on the loss of positive labels: one number per task; ``balanced``, the ratio of negatives to
            positives in the training rows (by sample weight), so that both classes have the same weight;
            ``sqrt_balanced``, its square root; ``None``, 1.
        given: how a task with a parent task (such as conversion given click) is trained. ``joint``: on all rows, its
            label being 1 if both happen. ``conditional``: only on rows whose parent label is 1.
        regression: loss of regression tasks on standardised labels: ``squared`` or ``absolute`` error.

    Raises:
        ValueError: a factor that is not a finite number above 0.
    """

    pos_weight: tuple[float, ...] | Literal["balanced", "sqrt_balanced"] | None = None
    given: Literal["joint", "conditional"] = "joint"
    regression: Error = "squared"

    def __post_init__(self) -> None:
        if isinstance(self.pos_weight, tuple) and not all(0 < q < math.inf for q in self.pos_weight):
            raise ValueError(f"loss.pos_weight is {list(self.pos_weight)}; allowed: finite numbers above 0")

    def build(
        self, tasks: Sequence[Task], labels: Tensor, observed: Tensor | None, sample_weight: Tensor | None = None
    ) -> "TaskLosses":
        """The task losses of a data set.

        Args:
            tasks: T tasks.
            labels: labels of all training rows, ``[N, T]``.
            observed: which labels are observed, bool ``[N, T]``, or ``None`` for all.
            sample_weight: ``[N]``, or ``None`` if all rows have weight 1.

        Raises:
            ValueError: the number of factors is not that of tasks, a balanced task lacks a class, a regression task has
                a factor, or `given` or `regression` is set and no task has a parent or is a regression task.
        """
        names = [task.name for task in tasks]
        regression = tuple(t for t, task in enumerate(tasks) if task.kind == "regression")
        if self.regression != "squared" and not regression:
            raise ValueError(
                f"loss.regression={self.regression}, but none of the tasks {', '.join(names)} is a regression task. "
                "Choose loss.regression=squared"
            )
        given = tuple(None if task.given is None else names.index(task.given) for task in tasks)
        if self.given == "joint":
            given = (None,) * len(tasks)
        elif not any(task.given for task in tasks):
            raise ValueError(
                f"loss.given=conditional, but none of the tasks {', '.join(names)} has a parent task. "
                "Choose loss.given=joint"
            )
        mask = TaskLosses(pos_weight=None, given=given).label_mask(labels, observed)
        factors = self._factors(names, labels, mask, sample_weight, [names[t] for t in regression])
        return TaskLosses(pos_weight=factors, given=given, regression=regression, error=self.regression)

    def _factors(
        self,
        names: list[str],
        labels: Tensor,
        mask: Tensor | None,
        sample_weight: Tensor | None,
        regression: Sequence[str],
    ) -> Tensor | None:
        if self.pos_weight is None:
            return None
        if regression and not isinstance(self.pos_weight, tuple):
            raise ValueError(
                f"loss.pos_weight={self.pos_weight} balances positives and negatives, but {', '.join(regression)} is a "
                f"regression task. Set a factor for each of {', '.join(names)}, with 1 for regression tasks"
            )
        if isinstance(self.pos_weight, tuple):
            if len(self.pos_weight) != len(names):
                raise ValueError(
                    f"loss.pos_weight: found {len(self.pos_weight)} factors {list(self.pos_weight)}; expected "
                    f"{len(names)}, one for each of the tasks {', '.join(names)}, in this order"
                )
            for name, factor in zip(names, self.pos_weight, strict=True):
                if name in regression and factor != 1:
                    raise ValueError(
                        f"loss.pos_weight of '{name}' is {factor:g}, but a regression task has no positives; allowed: 1"
                    )
            return torch.tensor(self.pos_weight)
        positive = labels == 1 if mask is None else (labels == 1) & mask
        positives_T = positive.sum(dim=0)
        negatives_T = (len(labels) if mask is None else mask.sum(dim=0)) - positives_T
        for name, positives, negatives in zip(names, positives_T.tolist(), negatives_T.tolist(), strict=True):
            if not positives or not negatives:
                raise ValueError(
                    f"loss.pos_weight={self.pos_weight}: the training rows have {positives:,} positives and "
                    f"{negatives:,} negatives of task '{name}', and both are needed. Set the factors explicitly"
                )
        if sample_weight is not None:  # total weight per class, above 0 (`mtlbench.ingest.fit`)
            weight_N1 = sample_weight[:, None].double()
            counted = weight_N1 if mask is None else weight_N1 * mask
            positives_T, negatives_T = ((counted * those).sum(dim=0).float() for those in (positive, labels == 0))
        ratio_T = (negatives_T / positives_T).float()
        return ratio_T if self.pos_weight == "balanced" else ratio_T.sqrt()


@dataclass(frozen=True, kw_only=True)
class TaskLosses:
    """The losses of all tasks, and the conversion of their logits to log-odds (or standardised predictions).

    Attributes:
        pos_weight: float32 ``[T]``, factor q_t on the loss of positive labels; ``None``: 1.
        given: for each task trained on the positives of its parent task, the column of the parent, which comes earlier.
        regression: columns of the regression tasks, which have a factor of 1 and no parent.
        error: loss of the regression tasks.
    """

    pos_weight: Tensor | None
    given: tuple[int | None, ...]
    regression: tuple[int, ...] = ()
    error: Error = "squared"

    def __call__(
        self, logits: Tensor, labels: Tensor, observed: Tensor | None, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Losses ``[T]`` of a batch, see `task_losses`."""
        return task_losses(
            logits,
            labels,
            self.label_mask(labels, observed),
            self.pos_weight,
            regression=self.regression,
            error=self.error,
            sample_weight=sample_weight,
        )

    def label_mask(self, labels: Tensor, observed: Tensor | None) -> Tensor | None:
        """Mask of the labels that a loss is computed on: bool ``[B, T]``, or ``None`` for all."""
        if not any(column is not None for column in self.given):
            return observed
        mask = torch.ones_like(labels, dtype=torch.bool) if observed is None else observed.clone()
        for task, column in enumerate(self.given):
            if column is not None:
                mask[:, task] &= (labels[:, column] == 1) & (True if observed is None else observed[:, column])
        return mask

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log-odds ``[N, T]`` that the stored labels are 1, from the logits of training.

        Standardised predictions of regression tasks are unchanged.

        The minimum of the weighted loss is at the log-odds plus ln q_t, so ln q_t is subtracted. (A model that imposes
        an order on its tasks, such as a product, can only reach that minimum if the weighted log-odds satisfy the order
        too.) The probability of a conditional task is multiplied by that of its parent.

        Args:
            logits: ``[N, T]``, or ``[N, T, T]`` of `TaskCheckpoints`, where each task uses the logits of its own copy.
        """
        if self.pos_weight is not None:
            logits = logits - self.pos_weight.to(logits).log()
        columns = list(logits.unbind(dim=-1))
        for task, column in enumerate(self.given):
            if column is not None:
                columns[task] = log_odds_of_product(columns[column], columns[task])
        if logits.dim() == 3:
            columns = [column[:, task] for task, column in enumerate(columns)]
        return torch.stack(columns, dim=1)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The losses of all tasks, and the balancing method that combines them."""

    losses: TaskLosses
    balance: Balancing
