"""Allowlist of packages whose code configurations may name, and the import of those in configuration folders."""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PACKAGES = ("mtlbench", "torch.nn", "torch.optim", "torchjd.aggregation")
"""Packages that every configuration may name."""

ALLOW = "MTLBENCH_ALLOW"
"""Environment variable: further packages, comma-separated. ``run.allow=`` on the command line sets it; files cannot."""

CONF = "MTLBENCH_CONF"
"""Environment variable: configuration folders, separated as in ``PATH``. ``--config-dir`` adds to it; files cannot."""


def own() -> tuple[str, ...]:
    """Packages that the user has allowed."""
    return tuple(filter(None, map(str.strip, os.environ.get(ALLOW, "").split(","))))


def is_allowed(module: str) -> bool:
    """Whether a configuration may name objects of a module."""
    return is_inside(module, (*PACKAGES, *own()))


def is_inside(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of the packages, or inside one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


class _OwnCode(MetaPathFinder):
    """Imports allowed packages from configuration folders, unless ``PYTHONPATH`` has a package of that name.

    The folders are not added to ``sys.path``: a library that tries to import an optional dependency would then run any
    file of that name, without the user's permission.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or fullname not in {package.partition(".")[0] for package in own()}:
            return None
        return PathFinder.find_spec(fullname, [text for text in os.environ.get(CONF, "").split(os.pathsep) if text])


sys.meta_path.append(_OwnCode())
