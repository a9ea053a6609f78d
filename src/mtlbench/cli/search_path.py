"""Configuration search path: mtlbench's own folder, those of installed packages, and those that the user names."""

import os
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import mtlbench
from mtlbench.experiment.allowed import CONF
from mtlbench.experiment.errors import ConfigError

ENTRY_POINTS = "mtlbench.conf"
"""Entry point group of packages that bring configurations: ``mypackage = "mypackage.conf"`` names their folder."""


def conf_folder() -> Path:
    """mtlbench's own configuration folder: inside an installed wheel, or at the top of the repository."""
    package = Path(mtlbench.__file__).parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").exists():
            return folder
    raise FileNotFoundError(f"no configuration beside {package}; install mtlbench again")


def other_folders() -> list[Path]:
    """The folders beside mtlbench's own: those of packages by name, then those of ``MTLBENCH_CONF``.

    Raises:
        ConfigError: one is not there, or two folders bring a configuration of the same name.
    """
    named = _named()
    for folder in named:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder; --config-dir and {CONF} name folders of configurations")
    own = conf_folder()
    folders = {folder.resolve(): folder for folder in (*_of_packages(), *named) if folder.resolve() != own.resolve()}
    if folders:
        _refuse_twice([own, *folders.values()])
    return list(folders.values())


def conf_file(name: str) -> Path | None:
    """The file of a configuration, ``model/mmoe.yaml``, in whichever folder it is."""
    files = (folder / name for folder in (conf_folder(), *other_folders()))
    return next((file for file in files if file.is_file()), None)


def conf_files(folder: Path) -> Iterator[Path]:
    """The configuration files of a folder: those in it, and those of its groups."""
    yield from folder.glob("*.yaml")
    yield from folder.glob("*/*.yaml")


def group_files(group: str) -> list[Path]:
    """The files of a group in all folders; ``_files`` are parts of others."""
    return [path for folder in (conf_folder(), *other_folders()) for path in (folder / group).glob("[!_]*.yaml")]


def tuned_folders() -> list[Path]:
    """Where tuned settings are looked for: folders that the user names, the current one, then mtlbench's own."""
    return [*_named(), Path.cwd(), conf_folder()]


def tuned_folder() -> Path:
    """Where tuned settings are written: the first folder that the user names, else the current one.

    Raises:
        ConfigError: it is not there, or is inside the installed package.
    """
    folder = next(iter(_named()), Path.cwd())
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; --config-dir and {CONF} name folders of configurations")
    if folder.resolve().is_relative_to(Path(mtlbench.__file__).resolve().parent):
        raise ConfigError(f"{folder} is inside the installed package; name a folder of yours with --config-dir")
    return folder


def named_folders(folders: tuple[Path, ...]) -> str:
    """The value of ``MTLBENCH_CONF`` with further folders in front.

    Raises:
        ConfigError: the name of one holds the separator.
    """
    for folder in folders:
        if os.pathsep in str(folder):
            raise ConfigError(f"--config-dir {folder}: the name of this folder must not hold '{os.pathsep}'")
    before = os.environ.get(CONF)
    return os.pathsep.join([*(str(folder.absolute()) for folder in folders), *([before] if before else [])])


def _named() -> list[Path]:
    return [Path(text).absolute() for text in os.environ.get(CONF, "").split(os.pathsep) if text]


def _of_packages() -> Iterator[Path]:
    """Configuration folders of installed packages, found without importing any: their code is not trusted by that."""
    for name, value in _entry_points():
        first, *rest = value.split(".")
        spec = find_spec(first)  # of a top-level package, which imports nothing
        places = [Path(place, *rest) for place in (spec.submodule_search_locations if spec else None) or ()]
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            raise ConfigError(
                f"the entry point {name} = {value} (group {ENTRY_POINTS}) names no folder: package '{first}' has no "
                f"{'/'.join(rest) or 'folder'}. Mend or uninstall it"
            )
        yield folder


@cache  # it reads a file of every installed distribution
def _entry_points() -> list[tuple[str, str]]:
    from importlib.metadata import entry_points

    return sorted((entry.name, entry.module) for entry in entry_points(group=ENTRY_POINTS))


def _refuse_twice(folders: list[Path]) -> None:
    found: dict[Path, Path] = {}
    for folder in folders:
        for file in conf_files(folder):
            name = file.relative_to(folder)
            if (other := found.setdefault(name, folder)) != folder:
                raise ConfigError(
                    f"two folders bring a configuration {name.with_suffix('')}: {other} and {folder}. Rename the file "
                    "in one of them, leave that folder out of --config-dir and MTLBENCH_CONF, or uninstall its package"
                )
