"""Estimates the memory of training a model before any of it is allocated."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import psutil
import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from mtlbench.experiment.errors import ConfigError
from mtlbench.train.optimizers import EMBEDDING_PATTERN

FLOAT_BYTES = 4

MOST_MODULES = 5_000
"""Maximum number of modules of a model: each costs a fraction of a millisecond to build and in every forward pass."""

CGROUP = Path("/sys/fs/cgroup")


class _TooLargeError(Exception):
    """Stops the construction of a model that does not fit."""


@dataclass(kw_only=True)
class _Count:
    """Counts of the parameters and modules registered so far."""

    embedding_copies: float
    dense_copies: float
    available: int
    parameters: int = 0
    bytes: float = 0.0
    modules: int = 0
    largest: tuple[int, str, tuple[int, ...]] = (0, "", ())

    def add_parameter(self, module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is None:
            return
        size = parameter.numel()
        self.parameters += size
        copies = self.embedding_copies if fnmatch(name, EMBEDDING_PATTERN) else self.dense_copies
        self.bytes += FLOAT_BYTES * size * copies
        self.largest = max(self.largest, (size, f"{type(module).__name__}.{name}", tuple(parameter.shape)))
        if self.bytes > self.available:
            raise _TooLargeError

    def add_module(self, module: nn.Module, name: str, child: nn.Module | None) -> None:
        self.modules += 1
        if self.modules > MOST_MODULES:
            raise _TooLargeError


def check_size(make: Callable[[], nn.Module], where: str, *, embedding_copies: float, dense_copies: float) -> None:
    """Reject a model that does not fit into memory, by building it on torch's meta device, which allocates nothing.

    Counts weights, gradients and the optimizer's state; activations are not included.

    Args:
        make: builds the model.
        where: the choice of the model, for messages.
        embedding_copies: bytes per byte of an embedding table: the table, its gradient, the optimizer's state.
        dense_copies: the same for all other parameters.

    Raises:
        ConfigError: with the number of parameters, the memory they need and the memory available.
    """
    count = _Count(embedding_copies=embedding_copies, dense_copies=dense_copies, available=available_memory())
    hooks = [
        register_module_parameter_registration_hook(count.add_parameter),
        register_module_module_registration_hook(count.add_module),
    ]
    remedy = "Lower the widths, depths and numbers of experts (profile.<key>, model.<key>)"
    try:
        with torch.device("meta"):
            make()
    except _TooLargeError:
        if count.modules > MOST_MODULES:
            raise ConfigError(f"{where} would have more than {MOST_MODULES:,} modules. {remedy}") from None
        size, name, shape = count.largest
        raise ConfigError(
            f"{where} would have {count.parameters:,} parameters or more, {_gb(count.bytes)} with their gradients and "
            f"the optimizer's state; {_gb(count.available)} of memory are available. The largest is {name}, "
            f"{' x '.join(map(str, shape))} ({size:,}). {remedy}"
        ) from None
    except (RuntimeError, OverflowError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "overflow" not in str(error):
            raise
        raise ConfigError(f"{where} would have a parameter of more than 2**63 bytes. {remedy}") from error
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def memory_errors() -> Generator[None]:
    """Turn torch's RuntimeError of a failed allocation into a `MemoryError` that says what to do.

    Raises:
        MemoryError: the machine or the GPU is out of memory.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            reason = str(error).splitlines()[0]
            raise MemoryError(f"{reason}. Lower trainer.batch_size, trainer.evaluation_batch_size or widths") from error
        raise


def available_memory() -> int:
    """Bytes still available to this process, on the machine and within its control group."""
    available = psutil.virtual_memory().available
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" without a limit
        used = int((CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return available
    return min(available, max(limit - used + int(stat.get("file", 0)), 0))  # cached files can be evicted


def _gb(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"
