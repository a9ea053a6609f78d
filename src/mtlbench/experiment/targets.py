"""Imports the classes and functions that a configuration names, checked by package (allowlist) and kind of object.

Importing a module runs it, so the name is checked before the import. A name can be an alias of anything imported by its
module (``torch.optim.optimizer.torch.os.system`` is ``os.system``), so the imported object is also checked, by the
module that defines it.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from mtlbench.allowed import PACKAGES, is_allowed, own
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.mistakes import mistakes

EXTRAS = {"torchjd": "balancing"}
"""Optional packages, and the extra that installs each."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The kind of object that a key builds: a description for messages, and the test of a target."""

    text: str
    fits: Callable[[Any], bool]


def _subclass_of(name: str) -> Kind:
    """Imports the base class only when testing: torch takes two seconds, and planning runs needs only readers."""
    module, _, base = name.rpartition(".")

    def fits(target: Any) -> bool:
        return inspect.isclass(target) and issubclass(target, getattr(importlib.import_module(module), base))

    return Kind(f"a subclass of {name}", fits)


def _class_with(*members: str) -> Callable[[Any], bool]:
    def fits(target: Any) -> bool:
        # Class attributes and dataclass fields; getattr would also find attributes of `type`, such as __call__.
        attributes = [vars(base) | vars(base).get("__dataclass_fields__", {}) for base in inspect.getmro(target)[:-1]]
        return all(any(member in names for names in attributes) for member in members)

    return lambda target: inspect.isclass(target) and fits(target)


def _function_of(*parameters: str) -> Callable[[Any], bool]:
    return lambda target: inspect.isfunction(target) and {*parameters} <= {*inspect.signature(target).parameters}


MODULE = _subclass_of("torch.nn.Module")

KINDS = {
    "model": MODULE,
    "balancing": MODULE,
    "virtual_gradient": _subclass_of("mtlbench.nn.virtual_gradient.VirtualGradient"),
    "optimizer": _subclass_of("torch.optim.Optimizer"),
    "scheduler": _subclass_of("torch.optim.lr_scheduler.LRScheduler"),
    "dataset.reader": Kind(
        "a reader: a class with fields, tasks, files and read",
        _class_with("fields", "tasks", "files", "read"),
    ),
    "dataset.split": Kind("a split rule: a function of candidates", _function_of("candidates")),
    "dataset.relabel": Kind("a class with version, tasks and __call__", _class_with("version", "tasks", "__call__")),
    "metric": Kind("a metric: a function of labels and predictions", _function_of("labels", "predictions")),
    "draws": Kind("a drawing: a function of runs", _function_of("runs")),
}
"""Keys that build objects, with their kinds; a node inside such a node is of the same kind."""


def import_object(name: Any, where: str) -> type | FunctionType:
    """The class or function with a dotted name, if a configuration may name it at this key.

    Args:
        name: module and attribute, such as ``mtlbench.models.mmoe.MMoE``.
        where: the key, one of `KINDS` or below one; determines the kind, and is named in messages.

    Raises:
        ConfigError: the name is not that of a class or function, its package is not allowed, or the kind is wrong.
    """
    kind = _kind_of(where)
    location = f"{where}._target_={name}"
    module, _, attribute = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    if not (module and all(part.isidentifier() for part in f"{module}.{attribute}".split("."))):
        raise ConfigError(f"{location}: expected a dotted name, <module>.<name>, of {kind.text}")
    _refuse_strangers(location, name, module)
    target = _found(location, module, attribute)
    if not (inspect.isclass(target) or inspect.isfunction(target)):
        raise ConfigError(f"{location}: found a {type(target).__name__}; expected {kind.text}")
    _refuse_strangers(location, f"{target.__module__}.{target.__qualname__}", target.__module__)
    if not kind.fits(target):
        raise ConfigError(f"{location}: expected {kind.text}")
    return target


def _kind_of(where: str) -> Kind:
    for key, kind in KINDS.items():
        if where == key or where.startswith(f"{key}."):
            return kind
    raise ConfigError(f"{where}: no object is built at this key; objects are built at {', '.join(KINDS)}")


def _refuse_strangers(location: str, name: str, module: str) -> None:
    if is_allowed(module):
        return
    package = module.partition(".")[0]
    raise ConfigError(
        f"{location}: {name} is outside {', '.join((*PACKAGES, *own()))}, the packages that may be imported. If you "
        f"trust the package '{package}' to run code on this machine, add "
        f"run.allow=[{','.join((*own(), package))}] to the command; its folder must be on PYTHONPATH, or be given by "
        "--config-dir"
    )


def _found(location: str, module: str, attribute: str) -> Any:
    try:
        with mistakes(f"{location}: import of {module}"):
            imported = importlib.import_module(module)
        return getattr(imported, attribute)
    except AttributeError as error:
        raise ConfigError(f"{location}: module {module} has no '{attribute}'") from error
    except ImportError as error:
        if extra := EXTRAS.get(str(error.name).partition(".")[0]):
            raise ConfigError(f"{module}.{attribute} needs {error.name}: pip install 'mtlbench[{extra}]'") from error
        raise ConfigError(
            f"{location}: cannot import: {error}. Is its folder on PYTHONPATH, or given by --config-dir?"
        ) from error
