"""Tucker-factorised linear layers of several tasks; the factors are shared."""

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least
from mtlbench.nn.full_precision import full_precision


class TuckerLinear(nn.Module):
    """T linear maps ``y_t = x_t W_t + b_t`` with ``W_tio = sum_abc S_abc U_ia V_ob Z_tc``.

    U and V are shared by all tasks; row t of Z says how task t mixes the c slices of the core S. Ranks below the sizes
    make the tasks share; at full ranks W can be any tensor.

    Shape: ``[T, B, in]``, or ``[1, B, in]`` where all read the same -> ``[T, B, out]``.

    Args:
        tasks: T.
        inputs: width of x.
        outputs: width of y.
        ranks: largest numbers of columns of U, V and Z; ``None``, or more than the size, for full rank.

    Raises:
        ValueError: a size or rank below 1.

    Paper: Ma et al., MMoE, KDD 2018, section 6.1, after Yang, Hospedales: Deep Multi-task Representation Learning: A
    Tensor Factorisation Approach, ICLR 2017.
    Departure: a bias for each task, which the equation leaves out. Initial factors are normal, such that entries of W
    have the variance of Xavier; neither paper says so.
    """

    def __init__(
        self,
        tasks: int,
        inputs: int,
        outputs: int,
        ranks: tuple[int | None, int | None, int | None] = (None, None, None),
    ) -> None:
        super().__init__()
        sizes = {"input": inputs, "output": outputs, "task": tasks}
        for (name, size), rank in zip(sizes.items(), ranks, strict=True):
            at_least(name, size, 1)
            at_least(f"{name}_rank", rank, 1, also="null for full rank")
        a, b, c = (size if rank is None else min(rank, size) for size, rank in zip(sizes.values(), ranks, strict=True))
        self.core = nn.Parameter(torch.empty(a, b, c).normal_(std=(2 / (inputs + outputs)) ** 0.5))
        self.inputs = nn.Parameter(torch.empty(inputs, a).normal_(std=a**-0.5))
        self.outputs = nn.Parameter(torch.empty(outputs, b).normal_(std=b**-0.5))
        self.tasks = nn.Parameter(torch.empty(tasks, c).normal_(std=c**-0.5))
        self.bias = nn.Parameter(torch.zeros(tasks, outputs))

    def weight(self) -> Tensor:
        """W, ``[T, in, out]``, in the precision of its factors even where autocast would round them."""
        with full_precision(self.core):
            return torch.einsum("abc,ia,ob,tc->tio", self.core, self.inputs, self.outputs, self.tasks)

    def forward(self, x_TBI: Tensor) -> Tensor:
        return torch.baddbmm(self.bias[:, None], x_TBI.expand(len(self.tasks), -1, -1), self.weight())
