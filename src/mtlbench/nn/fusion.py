"""Fusion level of AdaTT: experts of all modules mixed by gates, and a module's own experts added linearly."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, not_empty
from mtlbench.nn.gate import MappedGates, mix
from mtlbench.nn.stacked import StackedMLP


class Fusion(nn.Module):
    """``z'_m = sum_e g_me(z_m) f_e + sum_(e of m) v_me f_e`` over the experts of all M modules.

    There is a module for each task, and one of shared experts, if there are any. Expert e reads the state of its own
    module. The first sum is the all-expert gated fusion; the second one is the native-expert linear fusion, in
    which a single expert has weight 1 and several have trained weights v. The last level leaves out the shared
    module's z', which would not be used.

    Shape: states ``[M, B, in]``, tasks first (or ``[1, B, in]`` where all modules read the same) -> ``[M, B, H]``, or
    ``[T, B, H]`` on the last level.

    Args:
        tasks: T.
        inputs: width of the states.
        layers: widths of each expert's layers.
        task_experts: number of experts of each task's module.
        shared_experts: number of experts of the shared module; 0: there is none.
        native: whether the second sum is added.
        last: whether this is the last level, without a z' of the shared module.
        gates: called with the number of gates, the width of their input, and the number of experts that they mix.
        experts: called with the number of experts, the width of their input, and their layers.

    Raises:
        ValueError: no experts of a task, a negative number of shared ones, experts without layers.

    Paper: Li et al., AdaTT, KDD 2023. Initial values of v are those of the authors' public code: uniform in
    +-1 / sqrt(n) for n experts.
    Departure: with shared experts, the code trains v of a single expert too, unless every module has one expert only;
    here its weight is 1 whatever the others have, as in the code without shared experts.
    """

    _reads: Tensor

    def __init__(  # noqa: PLR0913  (sizes, and factories of its parts)
        self,
        tasks: int,
        inputs: int,
        layers: Sequence[int],
        *,
        task_experts: int,
        shared_experts: int,
        native: bool = True,
        last: bool,
        gates: Callable[[int, int, int], MappedGates] = MappedGates,
        experts: Callable[[int, int, Sequence[int]], StackedMLP] = StackedMLP,
    ) -> None:
        super().__init__()
        at_least("task_experts", task_experts, 1)
        at_least("shared_experts", shared_experts, 0)
        not_empty("a level of level_layers", layers, "widths of its experts' layers")
        self.tasks, self.task_experts, self.native = tasks, task_experts, native
        owners = [task for task in range(tasks) for _ in range(task_experts)] + [tasks] * shared_experts
        self.register_buffer("_reads", torch.tensor(owners), persistent=False)
        self.experts = experts(len(owners), inputs, layers)
        self.modules_out = tasks + (shared_experts > 0 and not last)
        self.gates = gates(self.modules_out, inputs, len(owners))
        self.task_weights = _native_weights(tasks, task_experts) if native else None
        self.shared_weights = _native_weights(1, shared_experts) if native and self.modules_out > tasks else None

    def forward(self, z_MBI: Tensor) -> Tensor:
        expert_EBH = self.experts(z_MBI if len(z_MBI) == 1 else z_MBI[self._reads])
        fused_MBH = mix(self.gate(z_MBI), expert_EBH)
        if not self.native:
            return fused_MBH
        own_EBH, shared_EBH = expert_EBH.tensor_split([self.tasks * self.task_experts])
        native = [_weighted(self.task_weights, own_EBH.unflatten(0, (self.tasks, self.task_experts)))]
        if self.modules_out > self.tasks:
            native.append(_weighted(self.shared_weights, shared_EBH[None]))
        return fused_MBH + torch.cat(native)

    def gate(self, z_MBI: Tensor) -> Tensor:
        """Gates ``[M, B, E]`` (``[T, B, E]`` on the last level), experts of the tasks first."""
        return self.gates(z_MBI[: self.modules_out])


def _native_weights(modules: int, experts: int) -> nn.Parameter | None:
    """Weights ``[M, n]``; ``None`` where a module has one expert, which needs none."""
    if experts == 1:
        return None
    return nn.Parameter(torch.empty(modules, experts).uniform_(-(experts**-0.5), experts**-0.5))


def _weighted(weight_MN: Tensor | None, expert_MNBH: Tensor) -> Tensor:
    return expert_MNBH[:, 0] if weight_MN is None else torch.einsum("mn,mnbh->mbh", weight_MN, expert_MNBH)
