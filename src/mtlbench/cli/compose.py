"""Command-line words to a composed configuration, with errors that name the nearest right spelling."""

import difflib
import glob
import pickle
import re
import shlex
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mtlbench.cli.arguments import nearest
from mtlbench.cli.choices import GROUPS, INSTRUCTION, choices, default_values
from mtlbench.cli.compose_files import Read, compose_files
from mtlbench.cli.hydra_keys import refuse_hydra_in
from mtlbench.cli.search_path import conf_files, conf_folder, other_folders, tuned_folders
from mtlbench.experiment.errors import ConfigError

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
    return cache(lambda path: cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path))))


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
    config = OmegaConf.create(content)
    OmegaConf.set_struct(config, True)
    return config, chosen


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


@contextmanager
def readable_errors(overrides: list[str], name: str = "train", *, sweep: bool | None = None) -> Generator[None]:
    """Check overrides as far as that is possible before composing, and translate what Hydra says afterwards.

    Args:
        overrides: as written by the user.
        name: of the configuration that they apply to.
        sweep: whether a key may have several values, as under ``train -m``; ``None``: the command has no such option.
    """
    refuse_overrides(overrides, name, sweep=sweep)
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explanation(error, overrides, name)) from error


def refuse_overrides(overrides: list[str], name: str = "train", *, sweep: bool | None = None) -> None:
    """Refuse overrides that Hydra would let through or explain badly.

    ``+key`` and ``~key`` that name no group (a typo would train the default), several values without ``-m``, groups
    that are given no name, and the keys of nodes that are instructions to Hydra.

    Raises:
        ConfigError: such an override, or one that cannot be parsed.
    """
    for text in overrides:
        override = parse_override(text)
        forced = override.is_add() or override.is_force_add() or override.is_delete()
        key = override.key_or_group
        if re.match(r"hydra\b", key):
            raise ConfigError(f"'{text}': Hydra's own keys choose the launcher of mtlbench train -m and reproduce")
        if override.is_delete() or (forced and key not in GROUPS):
            keys = _keys(name, overrides)
            hint = f" Write {key}=<value>." if key in keys else _nearest(key, keys)
            raise ConfigError(f"'{text}': keys are neither added nor removed, only set." + hint)
        for part in key.split("."):
            if part != "_target_" and re.fullmatch(INSTRUCTION, part):
                raise ConfigError(f"'{text}': {part} belongs to the file of the group and cannot be set")
        if override.is_sweep_override() and not sweep:
            raise ConfigError(_several_values(text, name, overrides, sweepable=sweep is not None))
        if key in GROUPS:
            for choice in _values(override):
                if not isinstance(choice, str):
                    raise ConfigError(_no_choice(key, str(choice)))


@cache  # parsing takes a millisecond, and the rows of a table repeat their words
def parse_override(text: str) -> Override:
    """``key=value`` and its relatives, parsed by Hydra.

    Raises:
        ConfigError: not of that form.
    """
    if "=" not in text and not text.startswith("~"):
        meant = [f"{group}={text}" for group in GROUPS if text in choices(group)]
        hint = f"; did you mean {meant[0]}?" if meant else ", as in model=mmoe or seed=1"
        raise ConfigError(f"'{text}' is not of the form key=value{hint}")
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise ConfigError(
            f"cannot read '{text}': {str(error).splitlines()[0]}. Quote brackets and commas for the "
            "shell, as in 'seed=range(5)'."
        ) from error


def _values(override: Override) -> list[Any]:
    """The value of an override; all of them where it is a choice, none where it is a range."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return list(value.list)
    return [] if override.is_sweep_override() else [value]


def _several_values(text: str, name: str, overrides: list[str], *, sweepable: bool) -> str:
    key, _, value = text.partition("=")
    remedies = [f"one run each: mtlbench train -m {shlex.quote(text)}"] if sweepable else []
    values = _defaults(name, overrides)
    default = values.get(key)
    if isinstance(default, str):  # perhaps a reference
        default = values.get(default.strip("${}"))
    if isinstance(default, list):
        remedies.append(f"a list: {key}=[{value}]")
    return f"'{text}' has several values. " + (f"For {', for '.join(remedies)}" if remedies else "Give one")


def _explanation(error: Exception, overrides: list[str], name: str) -> str:
    text = str(error)
    if found := re.search(r"Could not find '([a-z_]+)/([^']*)'", text):
        group, choice = found.groups()
        return _no_choice(group, choice)
    if found := re.search(r"Could not override '([^']+)'", text):
        return _no_key(found.group(1), overrides, name)
    if found := re.search(r"full_key: (\S+)", text):
        return f"{found.group(1)}: {text.splitlines()[0]}"
    return text.splitlines()[0]


def _no_key(key: str, overrides: list[str], name: str) -> str:
    """Which choice of a group lacks a key: under ``-m``, a key may exist for some of the choices only."""
    group = key.partition(".")[0]
    chosen = [text for text in overrides if text.startswith(f"{group}=")]
    for choice in _values(parse_override(chosen[-1])) if group in GROUPS and chosen else []:
        keys = _keys(name, [*overrides, f"{group}={choice}"])
        if key not in keys:
            return f"{group}={choice} has no key '{key}'." + _nearest(key, keys)
    return f"no such group or key: '{key}'." + _nearest(key, [*GROUPS, *_keys(name, overrides)])


def _no_choice(group: str, choice: str) -> str:
    if group not in GROUPS:
        return f"no such group: '{group}'." + _nearest(group, list(GROUPS))
    hint = nearest(choice, choices(group)) or "."
    there = f" There are: {', '.join(choices(group))}."
    return f"{group}={choice}: no such {group.replace('_', ' ')}{hint}{there}{_unnamed_folder(group, choice)}"


def _unnamed_folder(group: str, choice: str) -> str:
    """Which folder beside the current one has the choice, but was not named to the command."""
    for file in sorted(Path.cwd().glob(f"*/{group}/{glob.escape(choice)}.yaml")):
        folder = file.relative_to(Path.cwd()).parts[0]
        return f" {folder}/{group}/{choice}.yaml is one of yours: add --config-dir {shlex.quote(folder)}"
    return ""


def _nearest(key: str, candidates: list[str]) -> str:
    """The most similar key: beside it, then anywhere; a common parent alone makes no keys similar."""
    parent, dot, last = key.rpartition(".")
    there = [c for c in candidates if c.startswith(parent + dot) and (dot or "." not in c)]
    beside = {c.removeprefix(parent + dot): c for c in there}
    elsewhere = {c.rpartition(".")[2]: c for c in reversed(candidates)}
    for names, word, cutoff in ((beside, last, 0.6), (elsewhere, last, 0.8), ({c: c for c in candidates}, key, 0.6)):
        if close := difflib.get_close_matches(word, names, n=1, cutoff=cutoff):
            return f" Did you mean '{names[close[0]]}'?"
        if names is elsewhere and dot and beside:
            return f" There are: {', '.join(there)}."
    return " `mtlbench train --help` lists the groups."


def _keys(name: str, overrides: list[str]) -> list[str]:
    """Every dotted key that can be set, given the choices of groups."""
    return list(_defaults(name, overrides))


def _defaults(name: str, overrides: list[str]) -> dict[str, Any]:
    """Keys and default values that the chosen groups give; of several choices, those of the first."""
    parsed = [override for override in map(parse_override, overrides) if override.key_or_group in GROUPS]
    named = [(override.key_or_group, [str(value) for value in _values(override)]) for override in parsed]
    return default_values(name, {group: names[0] for group, names in named if names and names[0] in choices(group)})
