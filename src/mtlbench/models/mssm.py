"""MSSM and SNR: sub-networks routed to tasks by sparse gates; MSSM adds field masks."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least, not_empty
from mtlbench.distributed.sharded import is_shard
from mtlbench.distributed.sums import statistic_over_ranks
from mtlbench.nn.activations import Activation, activation_of
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.hard_concrete import Force, HardConcrete, Reduce
from mtlbench.nn.masks import FieldMasks, MaskKind
from mtlbench.nn.routing import GateAxis, RoutedLevel, SparseRouting, Topology
from mtlbench.nn.stacked import StackedLinear, StackedMLP, Towers
from mtlbench.schema import Batch, Schema


class MSSM(nn.Module):
    """``u_j = MLP_j(masks_j(x))``, ``v_t = sum_j (m_tj * W_tj) u_j``, ``s_t = tower_t(v_t)``.

    =============  ===========  ====================  ===========
    name           field_masks  gate_axis, topology   transform
    =============  ===========  ====================  ===========
    MSSM           scalar       out, restricted       yes
    MSSM-a         none         out, restricted       yes
    MSSM-b         scalar       link, full            yes
    MSSM-Basic     none         link, full            yes
    SNR-Trans      none         link, full            yes
    SNR-Aver       none         link, full            no
    =============  ===========  ====================  ===========

    MSSM-Basic is SNR-Trans with one sub-network more than tasks. With more than one level, each level but the last
    leads to as many sub-networks again: ``u'_i = MLP_i(sum_j (m_ij * W_ij) u_j)``. In training, penalties are added to
    the loss: on open gates, and on the squares of all matrices.

    Args:
        schema: the fields and tasks.
        embedding_width: components of a field embedding.
        subnetwork_layers: widths of each sub-network's layers.
        tower_layers: widths of each tower's hidden layers; none makes it linear.
        subnetworks: how many; ``None`` for one per task and one shared.
        field_masks: ``none``, or a kind of `FieldMasks`.
        shared_mask: whether the shared sub-network has masks, or reads the fields as they are.
        mask_bias: see `FieldMasks`; unused without masks.
        topology, gate_axis, normalise: see `SparseRouting`.
        levels: number of routing levels.
        inner_layers: widths of the layers of each unit between two levels; none: routed values are routed on unchanged.
        transform: whether routed values are multiplied by a matrix W.
        routed_width: outputs of W; ``None`` for the width of sub-networks.
        routed_activation: after each routing.
        gate_temperature, gate_low, gate_high, gate_drop, gate_reduce, gate_force: see `HardConcrete`.
        sparsity_weight: of the penalty on open gates (lambda 2).
        weight_penalty: of the penalty on squares (lambda 1); biases, masks and gates are not penalised.
        penalise_embeddings: whether embeddings are penalised like the matrices; needs a dense optimizer.
        dropout: after every hidden layer of sub-networks and towers.
        embedding_std: see `FieldEmbedding`.

    Shape: `Batch` of B rows -> logits ``[B, T]``.

    Attributes:
        reads_whole_tables: whether the penalty reads every row of the embedding table in each step.

    Raises:
        ValueError: an argument outside its allowed values, or incompatible with another.

    Paper: Ding et al.: MSSM, SIGIR 2021; Ma, Zhao, Chen, Li, Hong, Chi: SNR, AAAI 2019.
    Departure: ReLU and bias in sub-networks, which Algorithm 1 does not show; its W_i of line 12 is read as W_j, as
    otherwise the shared sub-network would have none. Algorithm 1 routes once, 2.2 shows a level that is routed on; what
    is between two levels is not stated: nothing, unless inner_layers or routed_activation is set. Gate noise is drawn
    once for the whole batch. The paper states no initialisation of the masks and no bias in them; the configurations
    start them open, with a trained bias of 1, because without it half of the masks start closed (see `FieldMasks`).
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_width: int,
        subnetwork_layers: Sequence[int],
        tower_layers: Sequence[int],
        subnetworks: int | None = None,
        field_masks: MaskKind | Literal["none"] = "scalar",
        shared_mask: bool = True,
        mask_bias: float | None = 1.0,
        topology: Topology = "restricted",
        gate_axis: GateAxis = "out",
        levels: int = 1,
        inner_layers: Sequence[int] = (),
        transform: bool = True,
        normalise: bool = False,
        routed_width: int | None = None,
        routed_activation: Activation = "none",
        gate_temperature: float = 2 / 3,
        gate_low: float = -0.1,
        gate_high: float = 1.1,
        gate_drop: float = 0.5,
        gate_reduce: Reduce = "sum",
        gate_force: Force | None = None,
        sparsity_weight: float = 0.01,
        weight_penalty: float = 0.001,
        penalise_embeddings: bool = False,
        dropout: float = 0.0,
        embedding_std: float | None = None,
    ) -> None:
        super().__init__()
        tasks, fields = len(schema.tasks), len(schema.fields)
        subnetworks = tasks + 1 if subnetworks is None else subnetworks
        at_least("subnetworks", subnetworks, 1, also="null for one more than tasks")
        not_empty("subnetwork_layers", subnetwork_layers, "widths of each sub-network's layers")
        if field_masks != "none" and subnetworks != tasks + 1:
            raise ValueError(
                f"subnetworks is {subnetworks} for {tasks} tasks with field_masks={field_masks}; allowed: {tasks + 1}, "
                "as each mask belongs to a task or to the shared sub-network"
            )
        if not transform and routed_width is not None:
            raise ValueError(f"routed_width is {routed_width} with transform=false; allowed: null, the width is kept")
        if levels < 1 or (levels == 1 and inner_layers):
            raise ValueError(
                f"levels is {levels} with inner_layers={list(inner_layers)}; allowed: 1 or more, and layers between "
                "levels from 2 on"
            )
        at_least("weight_penalty", weight_penalty, 0)
        self.weight_penalty, self.penalise_embeddings = weight_penalty, penalise_embeddings
        self.reads_whole_tables = penalise_embeddings and weight_penalty > 0
        self.fields = FieldEmbedding(schema, embedding_width, embedding_std)
        self.masks = None
        if field_masks != "none":
            readers = subnetworks if shared_mask else tasks
            self.masks = FieldMasks(readers, fields, embedding_width, field_masks, mask_bias)
        self.shared_mask = shared_mask
        self.subnetworks = StackedMLP(subnetworks, fields * embedding_width, subnetwork_layers, dropout)
        gates = partial(
            HardConcrete,
            temperature=gate_temperature,
            low=gate_low,
            high=gate_high,
            drop=gate_drop,
            weight=sparsity_weight,
            reduce=gate_reduce,
            force=gate_force,
        )

        def routing(units: int, width: int, topology: Topology) -> SparseRouting:
            return SparseRouting(
                units,
                subnetworks,
                width,
                (routed_width or width) if transform else None,
                topology=topology,
                axis=gate_axis,
                gates=gates,
                normalise=normalise,
            )

        width = self.subnetworks.width
        self.levels, self.inner = nn.ModuleList(), nn.ModuleList()
        for _ in range(levels - 1):
            self.levels.append(level := RoutedLevel(tasks, subnetworks, width, topology, routing))
            self.inner.append(inner := StackedMLP(subnetworks, level.width, inner_layers, dropout))
            width = inner.width
        self.routing = routing(tasks, width, topology)
        self.routed_activation = activation_of(routed_activation)
        self.towers = Towers(tasks, self.routing.width, tower_layers, dropout)

    def forward(self, batch: Batch) -> Tensor:
        u_SBH = self.subnetworks(self._seen(self.fields(batch)))
        for level, inner in zip(self.levels, self.inner, strict=True):
            u_SBH = inner(self.routed_activation(level(u_SBH)))
        return self.towers(self.routed_activation(self.routing(u_SBH)))

    def penalty(self) -> Tensor:
        """``weight_penalty`` times the sum of the squares of all matrices. `HardConcrete` penalises the gates."""
        if self.weight_penalty == 0:
            return self.towers.head.weight.new_zeros(())
        matrices = [module.weight for module in self.modules() if isinstance(module, StackedLinear | SparseRouting)]
        squares = [weight.square().sum() for weight in matrices if weight is not None]
        if self.penalise_embeddings:
            if self.fields.sparse:
                raise ValueError(
                    "penalise_embeddings is true, which reaches every row of the table at every step: choose a dense "
                    "optimizer (optimizer=adam), or model.penalise_embeddings=false"
                )
            of_table = self.fields.embedding.square().sum()
            squares.append(statistic_over_ranks(of_table) if is_shard(self.fields.held) else of_table)
        return self.weight_penalty * torch.stack(squares).sum()

    def diagnostics(self, batch: Batch) -> dict[str, Tensor]:
        """In evaluation mode: ``gate`` ``[T, links, ...]`` of the last level; ``gate_closed``, the share of all levels'
        gates that are 0; ``mask`` ``[N, F]``, the mean over rows; ``mask_closed`` ``[N, F]``, the share of rows at 0.
        """
        assert not self.training, "diagnostics are taken in evaluation mode"
        gates = [module() for module in self.modules() if isinstance(module, HardConcrete)]
        found = {
            "gate": self.routing.gates(),
            "gate_closed": torch.cat([(gate == 0).float().flatten() for gate in gates]).mean(),
        }
        if self.masks is not None:
            mask_NBFD = self.masks.masks(self.fields(batch))
            found["mask"] = mask_NBFD.mean(dim=(1, 3))
            found["mask_closed"] = (mask_NBFD == 0).float().mean(dim=(1, 3))
        return found

    def _seen(self, x_BFD: Tensor) -> Tensor:
        """Input of each sub-network, ``[S, B, F * D]``, or ``[1, B, F * D]`` where all read the same."""
        if self.masks is None:
            return x_BFD.flatten(1)[None]
        masked_NBI = self.masks(x_BFD)
        return masked_NBI if self.shared_mask else torch.cat([masked_NBI, x_BFD.flatten(1)[None]])
