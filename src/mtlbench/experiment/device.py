"""Resolves the device of a configuration (``run.device``)."""

import torch

from mtlbench.distributed.job import launched, launched_place
from mtlbench.experiment.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device of ``run.device``; ``auto`` is a GPU if there is one.

    Of several processes on a machine, each takes the GPU of its local rank.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"run.device is {name!r}; allowed: auto, cpu, cuda, cuda:<number>") from error
    device_count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= device_count:
        raise ConfigError(
            f"run.device is {name!r}, but this machine has {device_count} CUDA devices. Use run.device=cpu or auto."
        )
    if device.type == "cuda" and launched():
        device = _own(device, device_count)
    return device


def _own(device: torch.device, found: int) -> torch.device:
    """Make the GPU of this process's local rank torch's current device, and return it."""
    if device.index is not None:  # pyright: ignore[reportUnnecessaryComparison]
        raise ConfigError(
            f"run.device is '{device}', one GPU for all processes of this machine; allowed under torchrun: cpu, or "
            "cuda and auto, where each process takes the GPU of its local rank"
        )
    if launched_place() >= found:
        raise ConfigError(
            f"torchrun has started process {launched_place() + 1} on a machine with {found} CUDA devices. Start at "
            f"most {found} (--nproc-per-node), or use run.device=cpu"
        )
    device_of_rank = torch.device("cuda", launched_place())
    torch.cuda.set_device(device_of_rank)
    return device_of_rank
