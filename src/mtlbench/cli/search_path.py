"""Configuration search path: mtlbench's own folder, those of installed packages, and the user's."""

import os
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import mtlbench
from mtlbench.allowed import CONF
from mtlbench.experiment.errors import ConfigError

ENTRY_POINTS = "mtlbench.conf"
"""Entry point group of packages with configurations: ``mypackage = "mypackage.conf"`` names the folder."""


def conf_folder() -> Path:
    """mtlbench's own configuration folder: inside an installed wheel, or at the root of the repository."""
    package = Path(mtlbench.__file__).parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").exists():
            return folder
    raise FileNotFoundError(f"no configuration folder beside {package}; reinstall mtlbench")


def other_folders() -> list[Path]:
    """The folders other than mtlbench's own: those of packages by name, then those of ``MTLBENCH_CONF``.

    Raises:
        ConfigError: a folder does not exist, or two folders have a configuration of the same name.
    """
    user_folders = _named()
    for folder in user_folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder; --config-dir and {CONF} must name configuration folders")
    own_folder = conf_folder()
    folders = {
        folder.resolve(): folder
        for folder in (*_of_packages(), *user_folders)
        if folder.resolve() != own_folder.resolve()
    }
    if folders:
        _refuse_twice([own_folder, *folders.values()])
    return list(folders.values())


def conf_file(name: str) -> Path | None:
    """The first folder's file of a configuration, such as ``model/mmoe.yaml``."""
    files = (folder / name for folder in (conf_folder(), *other_folders()))
    return next((file for file in files if file.is_file()), None)


def conf_files(folder: Path) -> Iterator[Path]:
    """The configuration files of a folder: directly in it, and in its groups."""
    yield from folder.glob("*.yaml")
    yield from folder.glob("*/*.yaml")


def group_files(group: str) -> list[Path]:
    """The files of a group in all folders, without ``_files``, which other files include."""
    return [path for folder in (conf_folder(), *other_folders()) for path in (folder / group).glob("[!_]*.yaml")]


def tuned_folders() -> list[Path]:
    """Folders searched for tuned settings: the user's, the current one, then mtlbench's own."""
    return [*_named(), Path.cwd(), conf_folder()]


def tuned_folder() -> Path:
    """The folder that tuned settings are written to: the user's first folder, otherwise the current one.

    Raises:
        ConfigError: the folder does not exist, or is inside the installed package.
    """
    folder = next(iter(_named()), Path.cwd())
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; --config-dir and {CONF} must name configuration folders")
    if folder.resolve().is_relative_to(Path(mtlbench.__file__).resolve().parent):
        raise ConfigError(f"{folder} is inside the installed package; name a folder of your own with --config-dir")
    return folder


def named_folders(folders: tuple[Path, ...]) -> str:
    """The value of ``MTLBENCH_CONF`` with further folders prepended.

    Raises:
        ConfigError: a folder's name contains the separator.
    """
    for folder in folders:
        if os.pathsep in str(folder):
            raise ConfigError(f"--config-dir {folder}: the name of this folder must not contain '{os.pathsep}'")
    before = os.environ.get(CONF)
    return os.pathsep.join([*(str(folder.absolute()) for folder in folders), *([before] if before else [])])


def _named() -> list[Path]:
    return [Path(text).absolute() for text in os.environ.get(CONF, "").split(os.pathsep) if text]


def _of_packages() -> Iterator[Path]:
    """Configuration folders of installed packages, found without importing them: their code is not trusted yet."""
    for name, value in _entry_points():
        first, *rest = value.split(".")
        spec = find_spec(first)  # for a top-level package, this imports nothing
        places = [Path(place, *rest) for place in (spec.submodule_search_locations if spec else None) or ()]
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            raise ConfigError(
                f"the entry point {name} = {value} (group {ENTRY_POINTS}) names no folder: package '{first}' has "
                f"no {'/'.join(rest) or 'folder'}. Fix or uninstall the package"
            )
        yield folder


@cache  # reads a file of every installed distribution
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
                    f"two folders have a configuration {name.with_suffix('')}: {other} and {folder}. Rename the file "
                    "in one of them, leave that folder out of --config-dir and MTLBENCH_CONF, or uninstall its package"
                )
