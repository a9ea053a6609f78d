"""Sub-network routing: sparse connections by hard concrete gates, in one or more levels."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import one_of
from mtlbench.nn.hard_concrete import HardConcrete

Topology = Literal["full", "restricted"]
GateAxis = Literal["link", "out", "in", "full"]

TINY = 1e-8
"""Smallest divisor of an average of sub-networks: where all gates are closed, the average is zero."""


class SparseRouting(nn.Module):
    """``v_i = sum_j (m_ij * W_ij) u_j`` over the sub-networks j that unit i reads; without W, ``v_i = sum_j m_ij u_j``.

    Shape: ``[S, B, H]`` -> ``[T, B, outputs]``.

    Args:
        units: T.
        sources: S.
        width: H.
        outputs: width of v; ``None`` leaves W out (SNR-Aver) and keeps H.
        topology: a unit reads all sub-networks (``full``), or its own and the shared, last one (``restricted``).
        axis: one gate for each ``link``, for each output cell (``out``) or input cell (``in``) of it, or for each
            entry of W (``full``).
        gates: called with the shape of the gates.
        normalise: without W, divides by the sum of the gates.

    Raises:
        ValueError: an unknown option; a restricted topology with S other than T + 1; options that conflict with W, or
            with its absence.

    Paper: Ma et al., SNR, AAAI 2019; MSSM 2.2 (CSSM).
    Departure: none. W has no bias and no activation follows, as neither paper prints one.
    """

    links: Tensor

    def __init__(
        self,
        units: int,
        sources: int,
        width: int,
        outputs: int | None,
        *,
        topology: Topology = "full",
        axis: GateAxis = "link",
        gates: Callable[[tuple[int, ...]], HardConcrete] = HardConcrete,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        one_of("topology", topology, Topology)
        one_of("gate_axis", axis, GateAxis)
        if topology == "restricted" and sources != units + 1:
            raise ValueError(
                f"subnetworks is {sources} for {units} tasks; allowed with topology=restricted: {units + 1}, one for "
                "each task and one that they share"
            )
        if outputs is None and axis != "link":
            raise ValueError(f"gate_axis is {axis!r} with transform=false; allowed: link, there is no matrix to gate")
        if outputs is not None and normalise:
            raise ValueError("normalise is true with transform=true; allowed with transform=false only")
        links = [list(range(sources))] * units if topology == "full" else [[unit, units] for unit in range(units)]
        self.register_buffer("links", torch.tensor(links), persistent=False)
        self.normalise, self.width = normalise, width if outputs is None else outputs
        read = len(links[0])
        self.gates = gates(
            (units, read, width if axis in ("in", "full") else 1, self.width if axis in ("out", "full") else 1)
        )
        if outputs is None:
            self.weight = None
        else:
            bound = (6 / (width + outputs)) ** 0.5
            self.weight = nn.Parameter(torch.empty(units, read, width, outputs).uniform_(-bound, bound))

    def forward(self, u_SBH: Tensor) -> Tensor:
        gate_TLHO = self.gates()
        read_TLBH = u_SBH[self.links]
        if self.weight is None:
            share_TL = gate_TLHO.flatten(1)
            if self.normalise:
                share_TL = share_TL / share_TL.sum(dim=1, keepdim=True).clamp_min(TINY)
            return torch.einsum("tl,tlbh->tbh", share_TL, read_TLBH)
        # The sum over links is part of one product: gates multiply the weights, which are few, not the rows.
        return torch.bmm(read_TLBH.transpose(1, 2).flatten(2), (gate_TLHO * self.weight).flatten(1, 2))


class RoutedLevel(nn.Module):
    """A level before the last one, with a unit for each sub-network, so that its outputs can be routed again.

    In a restricted topology a task's unit reads the task's own and the shared sub-network; the shared, last unit reads
    all.

    Shape: ``[S, B, H]`` -> ``[S, B, width]``.

    Args:
        tasks: T.
        subnetworks: S.
        width: H.
        topology: see `SparseRouting`.
        routing: called with the number of units, the width of the sub-networks, and the topology.

    Attributes:
        width: of each unit.

    Paper: MSSM 2.2, the matrix with three rows; SNR, Ma et al., AAAI 2019.
    Departure: none. What follows a level is the model's choice.
    """

    def __init__(
        self,
        tasks: int,
        subnetworks: int,
        width: int,
        topology: Topology,
        routing: Callable[[int, int, Topology], SparseRouting],
    ) -> None:
        super().__init__()
        own = routing(tasks if topology == "restricted" else subnetworks, width, topology)
        self.parts = nn.ModuleList([own, routing(1, width, "full")] if topology == "restricted" else [own])
        self.width = own.width

    def forward(self, u_SBH: Tensor) -> Tensor:
        return torch.cat([part(u_SBH) for part in self.parts])
