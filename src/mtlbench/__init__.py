"""Experiment runner for multi-task recommendation models: raw files to tracked, reproducible tables.

``mtlbench.train``, ``load``, ``runs`` and ``reproduce`` are the commands train, show, list and reproduce for scripts
and notebooks; see `mtlbench.api`. Heavy packages are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlbench.api import Reproduced, Run, load, reproduce, runs, train

__version__ = "0.11.0"

__all__ = ["Reproduced", "Run", "__version__", "load", "reproduce", "runs", "train"]


def __getattr__(name: str) -> Any:
    if name in ("train", "reproduce"):  # these are also packages, which can be called
        return import_module(f"mtlbench.{name}")
    if name in __all__:
        return getattr(import_module("mtlbench.api"), name)
    raise AttributeError(f"module 'mtlbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
