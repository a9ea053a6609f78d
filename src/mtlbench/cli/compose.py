"""Command-line words to a composed configuration."""

import pickle
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict

from mtlbench.cli.choices import GROUPS, choices
from mtlbench.cli.compose_files import Read, compose_files
from mtlbench.cli.hydra_keys import refuse_hydra_in
from mtlbench.cli.overrides import parse_override, readable_errors
from mtlbench.cli.search_path import conf_files, conf_folder, other_folders, tuned_folders
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.plain import load_yaml

WITHOUT_EFFECT = ("run.", "tracker=", "tuned=", "dataset.raw=", "dataset.source=")
"""Overrides that do not change results: locations, devices, tracking."""

FACTS = ("model=", "dataset=", "seed=")
"""Overrides that a run is called by anyway."""


class _SearchPath(SearchPathPlugin):
    """Adds the folders of packages and of the user to Hydra's search path, behind mtlbench's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in other_folders():
            refuse_hydra_in(folder)
            search_path.append("mtlbench", f"file://{folder}")


Plugins.instance().register(_SearchPath)


Chosen = Mapping[str, str]
"""What was chosen of each group."""


def compose(
    overrides: list[str],
    name: str = "train",
    *,
    sweep: Literal[False] | None = None,
) -> DictConfig:
    """The configuration `name` with the given overrides.

    It notes under ``run`` which file of each group was chosen, and the overrides that say more; that is how runs are
    called.

    Args:
        overrides: ``key=value`` words without several values.
        name: of the configuration.
        sweep: see `readable_errors`.

    Raises:
        ConfigError: a group, choice, key or value does not exist or cannot be read.
    """
    with readable_errors(overrides, name, sweep=sweep):
        composed = _noted(*_with_tuned(overrides, name), overrides)
    if composed.get("tuned") is True:
        from mtlbench.experiment.tuned import tuned_overrides  # imports what reads data

        words = [*tuned_overrides(composed.copy(), tuned_folders()), *overrides]
        with readable_errors(words, name, sweep=sweep):
            composed = _noted(*_with_tuned(words, name), words)
    return composed


def _with_tuned(overrides: list[str], name: str) -> tuple[DictConfig, Chosen]:
    """What is composed, but for the key ``tuned``: beside a folder ``tuned/`` Hydra would take it for a group."""
    said = [word for word in overrides if name == "train" and word.startswith("tuned=")]
    composed, chosen = compose_cached([word for word in overrides if word not in said], name)
    for word in said:
        composed.tuned = parse_override(word).value()
    return composed, chosen


def _noted(composed: DictConfig, chosen: Mapping[str, str], overrides: list[str]) -> DictConfig:
    """The configuration with notes of the choices and of the overrides that say more."""
    for key in ("run", "run.tracker", *GROUPS):
        node = OmegaConf.select(composed, key)
        if key in composed and node is not None and not isinstance(node, DictConfig):
            raise ConfigError(f"{key}={node}: {key} is a group of keys; set one of them, {key}.<key>=<value>")
    with open_dict(composed.run):
        composed.run.choices = {group: chosen[group] for group in GROUPS if group in chosen}
        said = [word.lstrip("+") for word in overrides if not word.lstrip("+").startswith((*WITHOUT_EFFECT, *FACTS))]
        composed.run.overrides = [word.replace("${", r"\${") for word in said]
    return composed


def compose_by_hydra(overrides: list[str], name: str = "train") -> DictConfig:
    """What Hydra composes, its own node ``hydra`` included."""
    with started_hydra():
        return hydra.compose(name, overrides, return_hydra_config=True)


def compose_cached(overrides: list[str], name: str = "train") -> tuple[DictConfig, Chosen]:
    """The configuration `name`, from a cache of what was composed before in this process.

    The files of the chosen groups are composed once while no file changes: mtlbench's own by `compose_files`, and where
    others are among them, which may use more of its rules, by Hydra (0.2 s). Values are set on a copy, by Hydra's own
    function, as it does itself after composing.
    """
    folders = [conf_folder(), *other_folders()]
    groups = [word for word in overrides if _is_group(parse_override(word).key_or_group, folders)]
    values = [parse_override(word) for word in overrides if word not in groups]
    try:
        pickled, chosen = _composed_groups(tuple(groups), name, _versions(folders))
        composed: DictConfig = pickle.loads(pickled)
        ConfigLoaderImpl._apply_overrides_to_config(values, composed)  # pyright: ignore[reportPrivateUsage]
    except HydraException:  # it names all words in its errors
        return _without_hydra(compose_by_hydra(overrides, name))
    return composed, chosen


def _is_group(key: str, folders: list[Path]) -> bool:
    """Whether Hydra takes a key for a group: those of mtlbench, and others that the user's files may choose from."""
    return any((folder / key).is_dir() for folder in folders)


Versions = tuple[tuple[str, int, int], ...]
"""Path, time of the last change and size of every configuration file."""


def _versions(folders: list[Path]) -> Versions:
    files = [file for folder in folders for file in conf_files(folder) if file.is_file()]
    return tuple((str(file), stat.st_mtime_ns, stat.st_size) for file in files for stat in [file.stat()])


@lru_cache(maxsize=1024)
def _composed_groups(words: tuple[str, ...], name: str, versions: Versions) -> tuple[bytes, Chosen]:
    """Pickled, since that is copied faster than a configuration."""
    for folder in other_folders():
        refuse_hydra_in(folder)
    composed, chosen = _own_files(words, name, _reader(versions)) or _without_hydra(compose_by_hydra([*words], name))
    return pickle.dumps(composed), chosen


@lru_cache(maxsize=1)
def _reader(versions: Versions) -> Read:
    """Reads each file once, while all of them have these versions."""
    return cache(lambda path: load_yaml(path) or {})


def _own_files(words: tuple[str, ...], name: str, read: Read) -> tuple[DictConfig, Chosen] | None:
    """What chosen groups make; ``None`` unless all of them are files of mtlbench's own."""
    parsed = [parse_override(word) for word in words]
    plain = all(override.input_line == f"{override.key_or_group}={override.value()}" for override in parsed)
    if name != "train" or not plain:  # another package, or an instruction to add or delete
        return None
    content, chosen, files = compose_files(name, {each.key_or_group: str(each.value()) for each in parsed}, read)
    own = {(file.parent.name, file.stem) for file in files if file.is_relative_to(conf_folder())}
    if any(each.key_or_group not in chosen for each in parsed) or any(item not in own for item in chosen.items()):
        return None
    del content["hydra"]
    config = OmegaConf.create()
    with flag_override(config, "no_deepcopy_set_nodes", True):
        for key, value in content.items():
            config[key] = pickle.loads(_pickled_node(pickle.dumps(value)))
    OmegaConf.set_struct(config, True)
    return config, chosen


@lru_cache(maxsize=1024)
def _pickled_node(plain: bytes) -> bytes:
    """A part of a configuration as OmegaConf's nodes; making them takes longest, and most parts occur many times."""
    value = pickle.loads(plain)
    return pickle.dumps(OmegaConf.create(value) if isinstance(value, dict | list) else value)


def _without_hydra(composed: DictConfig) -> tuple[DictConfig, Chosen]:
    """What Hydra composed, apart from its own node."""
    chosen: Chosen = composed.hydra.runtime.choices
    with open_dict(composed):
        del composed["hydra"]
    return composed, chosen


@contextmanager
def started_hydra() -> Generator[Hydra]:
    """Hydra, ready to compose."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        started = GlobalHydra.instance().hydra
        assert started is not None
        yield started


def compose_group(group: str, profile: str = "default") -> DictConfig:
    """Every choice of a group by name, with the values of a profile; at once, since one by one takes seconds."""
    every = [{f"{group}@all.{name}": name} for name in choices(group)]
    defaults = [{"balancing": "equal"}, {"virtual_gradient": "none"}, {"profile": profile}, *every, "_self_"]
    ConfigStore.instance().store("all", {"defaults": defaults})
    return compose_by_hydra([], "all")["all"]
