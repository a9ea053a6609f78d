"""Dropout and batch normalisation over the batch of all ranks.

Every rank draws noise for the whole batch, from generators in the same state, and keeps that of its own rows. So the
noise equals that of a single process, and the state of the generator is independent of the number of ranks.
"""

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.distributed.job import alone, part
from mtlbench.distributed.ranks import agree
from mtlbench.distributed.slices import rows_of_batch
from mtlbench.distributed.sums import statistic_over_ranks, sum_over_ranks


def see_whole_batches(model: nn.Module) -> nn.Module:
    """Replace torch's dropout and batch normalisation in a model by layers over the batch of all ranks."""
    for module in () if alone() else model.modules():
        if (seeing := SEEING.get(type(module))) is not None:
            module.__class__ = seeing
    return model


def check_noise(model: nn.Module) -> None:
    """Check that the random generators of all ranks are in the same state.

    Raises:
        ValueError: they differ, because the model draws noise per row by other means than torch's dropout.
    """
    if alone():
        return
    states = [torch.get_rng_state()]
    if (device := next(model.parameters()).device).type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    agree(
        {"the random numbers drawn": [hashlib.sha256(state.numpy().tobytes()).hexdigest()[:12] for state in states]},
        f"{type(model).__name__} draws noise separately on each rank: use torch.nn.Dropout for noise per row, or "
        "train with one process",
    )


class _Dropout(nn.Dropout):
    """Dropout with the noise of the whole batch. The axis of rows is the last but one, or the first of that length."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        if not self.training or self.p == 0 or alone():
            return super().forward(input)
        own_rows = part(0, rows_of_batch())
        shape, rows = [*input.shape], own_rows.stop - own_rows.start
        axes = [axis for axis in (input.dim() - 2, *range(input.dim())) if axis >= 0 and shape[axis] == rows]
        if not axes:  # noise without an axis of rows: the same on all ranks
            return super().forward(input)
        shape[axes[0]] = rows_of_batch()
        noise = F.dropout(input.new_ones(shape), self.p, training=True)
        return input * noise.narrow(axes[0], own_rows.start, rows)


class _BatchNorm(nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
    """Batch normalisation with mean and variance of the whole batch; torch's own in evaluation mode."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        if not self.training or alone():
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        count = sum_over_ranks(x.new_tensor(x.numel() / x.shape[1]))
        mean_C = statistic_over_ranks(x.sum(dim=axes)) / count
        apart = x - mean_C.view(shape)
        variance_C = statistic_over_ranks(apart.square().sum(dim=axes)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean_C.detach().to(self.running_mean.dtype), share)
            self.running_var.lerp_((variance_C.detach() * count / (count - 1)).to(self.running_var.dtype), share)
        normed = apart * torch.rsqrt(variance_C + self.eps).view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)


class _BatchNorm1d(_BatchNorm, nn.BatchNorm1d): ...


class _BatchNorm2d(_BatchNorm, nn.BatchNorm2d): ...


class _BatchNorm3d(_BatchNorm, nn.BatchNorm3d): ...


SEEING: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dropout: _Dropout,
    nn.BatchNorm1d: _BatchNorm1d,
    nn.BatchNorm2d: _BatchNorm2d,
    nn.BatchNorm3d: _BatchNorm3d,
}
"""Torch's layers, and their replacements."""
