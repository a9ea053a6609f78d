"""One optimizer step: forward pass, task losses, gradients, update."""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtlbench.balancing.protocol import AfterStep
from mtlbench.balancing.shared import SharedGradients, cosines
from mtlbench.distributed.gradients import gradients_over_ranks
from mtlbench.distributed.job import alone, part
from mtlbench.distributed.layers import check_noise
from mtlbench.distributed.sharded import shards_of
from mtlbench.distributed.sums import penalties_over_ranks, sum_over_ranks
from mtlbench.schema import Batch
from mtlbench.train.deferred_adam import DeferredAdam
from mtlbench.train.objective import Objective
from mtlbench.train.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Step:
    """Trains a model on one batch, or on this rank's part of it; losses and gradients are combined over all ranks.

    Attributes:
        model: the model, in training mode.
        compiled: the compiled model, for batches of full size.
        optimizers: over the model's parameters.
        objective: see `Objective`.
        shared: computes the gradients of the tasks with respect to their shared parameters.
        penalties: terms that blocks, or the model itself, add to the loss, by name of the block.
        settings: see `Settings`.
    """

    model: nn.Module
    compiled: Callable[[Batch], Tensor]
    optimizers: list[Optimizer]
    objective: Objective
    shared: SharedGradients
    penalties: dict[str, Callable[[], Tensor]]
    settings: Settings

    def __call__(self, batch: Batch, compare: bool) -> tuple[Tensor, Tensor | None]:
        """The terms of the loss before the update and, if configured, the cosines between the tasks' gradients.

        Returns:
            losses ``[T]``, weights ``[T]`` and penalties in one tensor; cosines ``[T, T]`` or ``None``.
        """
        losses_T, penalties = self.losses(batch)
        gramian = cache(partial(self.shared, losses_T))
        total = self.objective.balance(losses_T, gramian) + sum(penalties)
        cosine_TT = cosines(gramian()) if compare else None
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        losses_T.retain_grad()  # not earlier: computing the Gramian would accumulate into it
        total.backward()
        self._sum_gradients()
        if self.settings.clip is not None:
            _clip(self.model, self.settings.clip, self._deferred, self._shards)
        for optimizer in self.optimizers:
            optimizer.step()
        if isinstance(self.objective.balance, AfterStep):
            self.objective.balance.after_step(partial(self._losses_without_graph, batch))
        assert losses_T.grad is not None  # the derivative of the total with respect to a loss is the task's weight
        terms = [*losses_T.detach(), *losses_T.grad, *(penalty.detach() for penalty in penalties)]
        return torch.stack(terms), cosine_TT

    def losses(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Task losses ``[T]`` and penalties of a forward pass."""
        for optimizer in self._deferred:
            optimizer.prepare(batch)
        # The last, shorter batch of an epoch runs eagerly, to avoid a separate compilation.
        whole = part(0, self.settings.batch_size)
        forward = self.compiled if len(batch) == whole.stop - whole.start else self.model
        with autocast(self.settings.precision, batch.ids.device):
            logits_BT = forward(batch)
        assert batch.labels is not None
        losses_T = self.objective.losses(logits_BT, batch.labels, batch.observed, batch.sample_weight)
        return losses_T, penalties_over_ranks([penalty() for penalty in self.penalties.values()], len(batch))

    def finish(self) -> None:
        """Bring all rows of embedding tables up to date; must be called before the model is used outside a step."""
        for optimizer in self._deferred:
            optimizer.finish()
        check_noise(self.model)

    def _sum_gradients(self) -> None:
        if alone():
            return
        parameters = [*self.model.parameters()]
        gradients = gradients_over_ranks(parameters, [parameter.grad for parameter in parameters], self._shards)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient

    @cached_property
    def _shards(self) -> Collection[nn.Parameter]:
        return shards_of(self.model)

    @property
    def _deferred(self) -> list[DeferredAdam]:
        return [optimizer for optimizer in self.optimizers if isinstance(optimizer, DeferredAdam)]

    @torch.no_grad()
    def _losses_without_graph(self, batch: Batch) -> Tensor:
        return self.losses(batch)[0]


def penalties_of(model: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """Penalties (regularisation terms) of blocks or of the model itself, by name of the block."""
    return {
        name or "model": block.penalty  # pyright: ignore[reportReturnType]
        for name, block in model.named_modules()
        if hasattr(block, "penalty")
    }


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Automatic mixed precision for a forward pass; does nothing for ``fp32``, even on a device without autocast."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def _clip(
    model: nn.Module, norm: float, deferred: Sequence[DeferredAdam] = (), shards: Collection[nn.Parameter] = ()
) -> None:
    """Clip the norm of all dense gradients, including those that `DeferredAdam` receives as sparse ones.

    The norm includes the gradients of sharded tables on all ranks.
    """
    clipped = [p for p in model.parameters() if p.grad is not None and not p.grad.is_sparse]
    of_shards = {p for p in clipped if p in shards}
    for parameter in (parameter for optimizer in deferred for parameter in optimizer.tables):
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values = nn.Parameter(parameter.grad._values())
            values.grad = values.detach()  # shares memory, so the gradient itself is clipped
            clipped.append(values)
            of_shards |= {values} if parameter in shards else set()
    if not of_shards:
        nn.utils.clip_grad_norm_(clipped, norm)
        return
    of_all = [p for p in clipped if p not in of_shards]
    square = sum_over_ranks(_norm_of(of_shards).square()) + _norm_of(of_all).square()
    nn.utils.clip_grads_with_norm_(clipped, norm, square.sqrt())


def _norm_of(parameters: Iterable[nn.Parameter]) -> Tensor:
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
