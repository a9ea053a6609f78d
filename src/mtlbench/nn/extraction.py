"""Extraction layer of CGC and PLE: task-specific and shared experts, mixed by gates."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mtlbench.checks import not_empty
from mtlbench.nn.gate import MappedGates, mix
from mtlbench.nn.stacked import StackedMLP


class Extraction(nn.Module):
    """``z'_t = sum_e g_te(z_t) f_e`` over the experts of task t, which read z_t, and the shared ones, which read z_s.

    The shared state is mixed from all experts, ``z'_s = sum_e g_se(z_s) f_e``, task experts first, then shared ones;
    the last level has none.

    Shape: states ``[T, B, in]`` (or ``[1, B, in]`` where all tasks read the same), shared state ``[1, B, in]`` ->
    states ``[T, B, H]``, shared state ``[1, B, H]`` or ``None``.

    Args:
        tasks: T.
        inputs: width of the states.
        layers: widths of each expert's layers.
        task_experts: number of experts of each task.
        shared_experts: number of shared experts.
        last: whether this is the last level, without a shared state.
        gates: called with the number of gates, the width of their input, and the number of experts that they mix.
        experts: called with the number of experts, the width of their input, and their layers.

    Raises:
        ValueError: no experts, a negative number of them, experts without layers.

    Paper: Tang, Liu, Zhao, Gong: Progressive Layered Extraction (PLE), RecSys 2020.
    Departure: none.
    """

    def __init__(
        self,
        tasks: int,
        inputs: int,
        layers: Sequence[int],
        *,
        task_experts: int,
        shared_experts: int,
        last: bool,
        gates: Callable[[int, int, int], MappedGates] = MappedGates,
        experts: Callable[[int, int, Sequence[int]], StackedMLP] = StackedMLP,
    ) -> None:
        super().__init__()
        if min(task_experts, shared_experts) < 0 or task_experts + shared_experts < 1:
            raise ValueError(
                f"task_experts is {task_experts} and shared_experts is {shared_experts}; allowed: 0 or more each, "
                "and 1 or more together, because every task mixes some"
            )
        not_empty("a level of level_layers", layers, "widths of its experts' layers")
        self.tasks, self.task_experts, self.width = tasks, task_experts, layers[-1]
        self.own = experts(tasks * task_experts, inputs, layers) if task_experts else None
        self.shared = experts(shared_experts, inputs, layers) if shared_experts else None
        self.gates = gates(tasks, inputs, task_experts + shared_experts)
        # Without shared experts the shared state is not read.
        total = tasks * task_experts + shared_experts
        self.shared_gate = None if last or not shared_experts else gates(1, inputs, total)

    def forward(self, z_TBI: Tensor, shared_1BI: Tensor) -> tuple[Tensor, Tensor | None]:
        gate_TBE = self.gates(z_TBI)
        parts: list[Tensor] = []
        every: list[Tensor] = []
        if self.own is not None:
            each_EBI = z_TBI.repeat_interleave(self.task_experts, dim=0) if len(z_TBI) == self.tasks else z_TBI
            own_EBH = self.own(each_EBI)
            own_TEBH = own_EBH.unflatten(0, (self.tasks, self.task_experts))
            parts.append(torch.einsum("tbe,tebh->tbh", gate_TBE[..., : self.task_experts], own_TEBH))
            every.append(own_EBH)
        if self.shared is not None:
            shared_EBH = self.shared(shared_1BI)
            parts.append(mix(gate_TBE[..., self.task_experts :], shared_EBH))
            every.append(shared_EBH)
        mixed_TBH = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        if self.shared_gate is None:
            return mixed_TBH, None
        return mixed_TBH, mix(self.shared_gate(shared_1BI), torch.cat(every))
