"""Packages whose code a configuration may name (allowlist)."""

import os
from collections.abc import Sequence

PACKAGES = ("mtlbench", "torch.nn", "torch.optim", "torchjd.aggregation")
"""Those that any configuration may name."""

ALLOW = "MTLBENCH_ALLOW"
"""Environment variable: further packages, separated by commas. The command line sets it by ``run.allow=``, no file."""


def own() -> tuple[str, ...]:
    """Packages that the person at the keyboard allows."""
    return tuple(filter(None, map(str.strip, os.environ.get(ALLOW, "").split(","))))


def is_allowed(module: str) -> bool:
    """Whether a configuration may name what a module defines."""
    return is_inside(module, (*PACKAGES, *own()))


def is_inside(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of the packages, or in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)
