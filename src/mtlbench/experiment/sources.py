"""Source files of user code that a run imports; part of the run's code version."""

import ast
import hashlib
import sysconfig
import typing
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mtlbench.allowed import PACKAGES, is_inside

_INSTALLED = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")}
"""Folders in which neighbouring packages are unrelated."""


def own_versions(config: DictConfig) -> list[str]:
    """``<module>+<hash>`` for every module outside `PACKAGES` that a configuration names.

    The hash covers the source of the module and of everything that it imports from its package or, outside
    site-packages, from its folder. It is taken once per process, since later edits do not change the running code.
    """
    modules = {name.rpartition(".")[0] for name in _targets(OmegaConf.to_container(config, resolve=True))}
    return [f"{module}+{_digest(module)}" for module in sorted(modules) if not is_inside(module, PACKAGES)]


def _targets(values: Any) -> Iterator[str]:
    """Every ``_target_`` in nested plain data."""
    if isinstance(values, dict):
        for key, value in typing.cast(dict[str, Any], values).items():
            if key == "_target_" and isinstance(value, str):
                yield value
            yield from _targets(value)
    elif isinstance(values, list):
        for value in typing.cast(list[Any], values):
            yield from _targets(value)


@cache
def _digest(module: str) -> str:
    root = _root_of(module)
    digest = hashlib.sha256()
    for path in sorted(_closure(root, module)):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _root_of(module: str) -> Path:
    """The parent folder of a module's top-level package."""
    spec = find_spec(module.partition(".")[0])
    assert spec is not None, f"{module} was imported"
    locations = [*(spec.submodule_search_locations or ()), spec.origin]
    return Path(locations[0] or "").resolve().parent


def _closure(root: Path, module: str) -> set[Path]:
    """Files of a module and of its direct and indirect imports."""
    top = module.partition(".")[0]
    files: set[Path] = set()
    pending = [module]
    while pending:
        for path in _files(root, pending.pop()):
            first = path.relative_to(root).parts[0].removesuffix(".py")
            if path not in files and (first == top or root not in _INSTALLED):
                files.add(path)
                pending += _imports(root, path)
    return files


def _files(root: Path, module: str) -> Iterator[Path]:
    """The files of a module and of its parent packages, if they are below a folder."""
    folder = root
    for part in module.split("."):
        folder = folder / part
        for path in (folder / "__init__.py", folder.with_suffix(".py")):
            if path.is_file():
                yield path


def _imports(root: Path, path: Path) -> Iterator[str]:
    """Dotted names that a file imports; ``from a import b`` gives ``a`` and ``a.b``, which may be a module."""
    package = path.parent.relative_to(root).parts
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except SyntaxError:  # so it is never imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)
