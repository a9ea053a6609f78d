"""Per-task gradients of shared parameters, found by probing: a model need not declare what is shared."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from mtlbench.distributed.gradients import gradients_over_ranks
from mtlbench.distributed.sums import sum_over_ranks


class SharedGradients(nn.Module):
    """Gramian of the tasks' gradients, ``G_ij = <grad loss_i, grad loss_j>``, with respect to shared parameters.

    Sharing is detected from gradients: a part of a parameter is shared once it has had gradients of two or more tasks.
    A part is one index of the first axis (towers of all tasks are a single parameter, stacked along it); an embedding
    table is a single part. So towers are excluded, and shared experts are included. The state has which parts have been
    reached by which tasks.

    Sparse gradients of tables (``optimizer.sparse=true``) are only on the rows of the batch, so that nothing here has
    the size of a vocabulary. Gradients of penalties are excluded.

    Args:
        tasks: number of tasks T.
        tables: embedding tables.
        dense: all other trainable parameters.
        shards: the tables that are sharded over ranks.

    Shape: losses ``[T]`` -> float64 ``[T, T]``; the graph of the losses is kept.

    Raises:
        ValueError: every task has a gradient, but no two tasks share any parameter.
    """

    def __init__(
        self,
        *,
        tasks: int,
        tables: Sequence[nn.Parameter],
        dense: Sequence[nn.Parameter],
        shards: Collection[nn.Parameter] = (),
    ) -> None:
        super().__init__()
        self._shards = shards
        self._tables, self._probed = len(tables), (*tables, *dense)  # not registered, since they belong to the model
        parts = [1] * len(tables) + [len(p) if p.dim() else 1 for p in dense]
        for index, size in enumerate(parts):
            device = self._probed[index].device
            self.register_buffer(f"reached_{index}", torch.zeros(tasks, size, dtype=torch.bool, device=device))
        self._found = False

    def forward(self, losses_T: Tensor) -> Tensor:
        gradients = [
            gradients_over_ranks(
                self._probed,
                torch.autograd.grad(loss, self._probed, retain_graph=True, allow_unused=True),
                self._shards,
            )
            for loss in losses_T
        ]
        total_TT = torch.zeros(len(losses_T), len(losses_T), dtype=torch.float64, device=losses_T.device)
        shared = torch.zeros((), dtype=torch.bool, device=losses_T.device)
        moved_T = torch.zeros(len(losses_T), dtype=torch.bool, device=losses_T.device)
        for index, of_tasks in enumerate(zip(*gradients, strict=True)):
            if all(gradient is None for gradient in of_tasks):
                continue
            reached_TP = self.get_buffer(f"reached_{index}")
            # Rows of a table, or parts of a dense parameter, by what they hold.
            value_TPN = _rows(of_tasks) if index < self._tables else _parts(of_tasks, reached_TP.shape[1])
            here_TP, sharded = (value_TPN != 0).any(dim=-1), self._probed[index] in self._shards
            if sharded:  # one part, as a whole table is
                here_TP = sum_over_ranks(here_TP.any(dim=-1, keepdim=True).int()) > 0
            reached_TP |= here_TP.any(dim=-1, keepdim=True) if index < self._tables else here_TP
            common_P = reached_TP.sum(dim=0) > 1
            flat_TN = torch.where(common_P[:, None], value_TPN, 0).flatten(1)
            product_TT = (flat_TN @ flat_TN.T).double()
            total_TT += sum_over_ranks(product_TT) if sharded else product_TT
            shared |= common_P.any()
            moved_T |= here_TP.any(dim=-1)
        if not self._found:
            self._found = self._check(*torch.stack([shared, moved_T.all()]).tolist())
        return total_TT

    def _check(self, shared: bool, all_moved: bool) -> bool:
        if not shared and all_moved:
            raise ValueError(
                "no two tasks share any parameter, so there are no gradients to balance or to compare. Choose a model "
                "with shared parameters, or balancing=equal (fixed, uncertainty, dwa, famo), trainer.conflicts=false"
            )
        return shared


def _rows(gradients: Sequence[Tensor | None]) -> Tensor:
    """Gradients of a table, a single part, on the rows touched by any task, ``[T, U, D]``; on all rows if dense."""
    some = next(gradient for gradient in gradients if gradient is not None)
    if not some.is_sparse:
        return _parts(gradients, len(some))
    found = [None if gradient is None else gradient.coalesce() for gradient in gradients]
    present = [(task, gradient) for task, gradient in enumerate(found) if gradient is not None]
    touched_U, index = torch.unique(torch.cat([g.indices()[0] for _, g in present]), return_inverse=True)
    rows_TUD = some.new_zeros(len(gradients), len(touched_U), some.shape[1], layout=torch.strided)
    for (task, gradient), at in zip(present, index.split([g._nnz() for _, g in present]), strict=True):
        rows_TUD[task, at] = gradient.values()
    return rows_TUD


def _parts(gradients: Sequence[Tensor | None], parts: int) -> Tensor:
    """Gradients of a dense parameter, by parts: ``[T, P, N]``."""
    some = next(gradient for gradient in gradients if gradient is not None)
    shape = (len(gradients), parts, some.numel() // max(parts, 1))  # a shard may have no row
    return torch.stack([torch.zeros_like(some) if g is None else g for g in gradients]).view(shape)


def cosines(gramian_TT: Tensor) -> Tensor:
    """Cosine similarities between the gradients of every pair of tasks; NaN if a gradient is zero."""
    norm_T = gramian_TT.diagonal().sqrt()
    return gramian_TT / (norm_T[:, None] * norm_T)
