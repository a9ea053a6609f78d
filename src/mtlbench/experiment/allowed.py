"""Packages whose code a configuration may name (allowlist), and where they are found."""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PACKAGES = ("mtlbench", "torch.nn", "torch.optim", "torchjd.aggregation")
"""Those that any configuration may name."""

ALLOW = "MTLBENCH_ALLOW"
"""Environment variable: further packages, separated by commas. The command line sets it by ``run.allow=``, no file."""

CONF = "MTLBENCH_CONF"
"""Environment variable: folders of configurations, separated as in ``PATH``. ``--config-dir`` adds to it, no file."""


def own() -> tuple[str, ...]:
    """Packages that the person at the keyboard allows."""
    return tuple(filter(None, map(str.strip, os.environ.get(ALLOW, "").split(","))))


def is_allowed(module: str) -> bool:
    """Whether a configuration may name what a module defines."""
    return is_inside(module, (*PACKAGES, *own()))


def is_inside(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of the packages, or in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


class _OwnCode(MetaPathFinder):
    """Finds allowed packages in the folders of configurations, where ``PYTHONPATH`` has none of that name.

    The folders are not put on ``sys.path``: any library that tries to import what may not be installed would then run
    a file of that name, which nobody has allowed.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or fullname not in {package.partition(".")[0] for package in own()}:
            return None
        return PathFinder.find_spec(fullname, [text for text in os.environ.get(CONF, "").split(os.pathsep) if text])


sys.meta_path.append(_OwnCode())
