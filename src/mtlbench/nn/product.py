"""Log-odds of products of probabilities, for tasks that are conditional on others."""

import torch
from torch import Tensor, nn

from mtlbench.schema import Schema, refuse_missing, refuse_regression


def log_odds_of_product(a: Tensor, b: Tensor) -> Tensor:
    """Log-odds of ``sigmoid(a) sigmoid(b)``, element-wise: ``-log(e^-a + e^-b + e^(-a-b))``.

    All is computed in logarithms, so neither a product near 0 nor one near 1 loses precision.

    Shape: equal shapes -> that shape.
    """
    return -torch.logsumexp(torch.stack([-a, -b, -a - b]), dim=0)


class GivenProducts(nn.Module):
    """``p_t = sigmoid(a_t) p_given(t)``, from log-odds to log-odds; a task without a parent keeps its log-odds.

    Shape: ``[B, T]`` -> ``[B, T]``.

    Args:
        schema: `Task.given` names a task's parent.

    Attributes:
        given: for each task, the column of its parent task, or ``None``.
        joint: logits are of joint probabilities by construction: no loss may take them as conditional.

    Raises:
        ValueError: several tasks, none of which has a parent; a regression task; labels that are missing.

    Paper: Ma et al.: ESMM, SIGIR 2018.
    Departure: any number of tasks.
    """

    joint = True

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        refuse_regression(schema.tasks, "a product of probabilities is made of binary tasks")
        refuse_missing(
            schema.tasks, "a product of probabilities is learnt over the entire space, from labels of every row"
        )
        names = [task.name for task in schema.tasks]
        self.given = [None if task.given is None else names.index(task.given) for task in schema.tasks]
        if len(names) > 1 and not any(task.given for task in schema.tasks):
            raise ValueError(
                f"a task's probability is multiplied by its parent's, but none of {', '.join(names)} is given another: "
                "choose a data set with tasks that are given others (aliccp), or another model"
            )

    def forward(self, logits_BT: Tensor) -> Tensor:
        products: list[Tensor] = []
        for own_B, given in zip(logits_BT.unbind(1), self.given, strict=True):
            products.append(own_B if given is None else log_odds_of_product(own_B, products[given]))
        return torch.stack(products, dim=1)
