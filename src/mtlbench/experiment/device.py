"""The device that a configuration names."""

import torch

from mtlbench.experiment.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device that ``run.device`` names; ``auto`` takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"run.device is {name!r}; allowed: auto, cpu, cuda, cuda:<number>") from error
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ConfigError(
            f"run.device is {name!r}, but this machine has {found} CUDA devices. Use run.device=cpu or auto."
        )
    return device
