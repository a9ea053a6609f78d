"""The device that a configuration names."""

import torch

from mtlbench.distributed.job import launched, launched_place
from mtlbench.experiment.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device that ``run.device`` names; ``auto`` takes a GPU where there is one.

    Of several processes on a machine, each takes the GPU of its own number.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"run.device is {name!r}; allowed: auto, cpu, cuda, cuda:<number>") from error
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ConfigError(
            f"run.device is {name!r}, but this machine has {found} CUDA devices. Use run.device=cpu or auto."
        )
    if device.type == "cuda" and launched():
        device = _own(device, found)
    return device


def _own(device: torch.device, found: int) -> torch.device:
    """The GPU of this process among those of its machine; torch's current one from now on."""
    if device.index is not None:  # pyright: ignore[reportUnnecessaryComparison]
        raise ConfigError(
            f"run.device is '{device}', one GPU for all processes of this machine; allowed under torchrun: cuda and "
            "auto, where each process takes the GPU of its own number, and cpu"
        )
    if launched_place() >= found:
        raise ConfigError(
            f"torchrun has started process {launched_place() + 1} on a machine with {found} CUDA devices. Start "
            f"{found} at most (--nproc-per-node), or use run.device=cpu"
        )
    own = torch.device("cuda", launched_place())
    torch.cuda.set_device(own)
    return own
