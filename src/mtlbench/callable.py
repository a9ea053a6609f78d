"""Packages that can be called: ``mtlbench.train`` is the training package, and ``mtlbench.train(...)`` trains.

The two best names of the Python interface are those of packages that it is made of. Run folders and exports hold dotted
names of classes in these packages, so neither can be renamed.
"""

from importlib import import_module
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that, called, is the function of its name in `mtlbench.api`."""

    def __call__(self, *arguments: Any, **keys: Any) -> Any:
        return getattr(import_module("mtlbench.api"), self.__name__.rpartition(".")[2])(*arguments, **keys)
