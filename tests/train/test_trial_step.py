"""A trial step finds optimizers that cannot train, and says how large their state is."""

from functools import partial

import pytest
import torch

from mtlbench.train.optimizers import LazyAdam, OptimizerFactory, trial_step


@pytest.mark.parametrize(
    ("factory", "sparse", "copies"),
    [
        (partial(torch.optim.SGD, lr=0.1), False, 0),
        (partial(torch.optim.SGD, lr=0.1), True, 0),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9), False, 1),
        (partial(torch.optim.Adagrad, lr=0.1), True, 1),
        (torch.optim.Adam, False, 2),
        (LazyAdam, True, 2),
    ],
)
def test_size_of_the_state_in_copies_of_the_parameter(factory: OptimizerFactory, sparse: bool, copies: int):
    assert trial_step(factory, "optimizer.dense", sparse=sparse) == copies


@pytest.mark.parametrize(
    ("factory", "sparse", "message"),
    [
        (torch.optim.Adam, True, "does not support sparse gradients"),
        (LazyAdam, False, "needs sparse gradients"),
        (partial(torch.optim.Adam, fused=True, foreach=True), False, "cannot be `True` together"),
        (partial(torch.optim.Adam, eps=0.0), False, "leads to -0.001 and nan"),
        (partial(torch.optim.SGD, maximize=True), False, "expected: below 0"),
        (torch.optim.LBFGS, False, "cannot step"),
    ],
)
def test_what_cannot_train_is_refused(factory: OptimizerFactory, sparse: bool, message: str):
    with pytest.raises(ValueError, match=rf"^optimizer\.dense.*{message}"):
        trial_step(factory, "optimizer.dense", sparse=sparse)
