"""Command-line words to a composed configuration, with errors that name the nearest right spelling."""

import difflib
import re
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mtlbench.cli.choices import GROUPS, choices, conf_folder
from mtlbench.experiment.errors import ConfigError


def compose(overrides: list[str], name: str = "train") -> DictConfig:
    """The configuration `name` with the given overrides.

    Raises:
        ConfigError: a group, choice, key or value does not exist or cannot be read.
    """
    GlobalHydra.instance().clear()
    with readable_errors(overrides, name), hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = hydra.compose(name, overrides, return_hydra_config=True)
        choices = composed.hydra.runtime.choices
        with open_dict(composed):
            del composed["hydra"]
    return with_choices(composed, choices)


def compose_group(group: str) -> DictConfig:
    """Every choice of a group by name, with the default profile's values; at once, since one by one takes seconds."""
    every = [{f"{group}@all.{name}": name} for name in choices(group)]
    defaults = [{"virtual_gradient": "none"}, {"profile": "default"}, *every, "_self_"]
    ConfigStore.instance().store("all", {"defaults": defaults})
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra.compose("all")["all"]


def with_choices(config: DictConfig, choices: Mapping[str, str]) -> DictConfig:
    """Note under ``run.choices`` which file of each group was chosen; that is how runs are called by their model."""
    with open_dict(config.run):
        config.run.choices = {group: choices[group] for group in GROUPS if group in choices}
    return config


@contextmanager
def readable_errors(overrides: list[str], name: str = "train") -> Iterator[None]:
    """Check overrides as far as that is possible before composing, and translate what Hydra says afterwards."""
    refuse_forced_keys(overrides, name)
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explanation(error, name)) from error


def refuse_forced_keys(overrides: list[str], name: str = "train") -> None:
    """Refuse ``+key`` and ``~key`` that name no group: Hydra lets the one through, and a typo trains the default.

    Raises:
        ConfigError: such a key, or an override that cannot be parsed.
    """
    for text in overrides:
        if "=" not in text and not text.startswith("~"):
            meant = [f"{group}={text}" for group in GROUPS if text in choices(group)]
            hint = f"; did you mean {meant[0]}?" if meant else ", as in model=mmoe or seed=1"
            raise ConfigError(f"'{text}' is not of the form key=value{hint}")
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise ConfigError(
                f"cannot read '{text}': {str(error).splitlines()[0]}. Quote brackets and commas for the "
                "shell, as in 'seed=range(5)'."
            ) from error
        forced = override.is_add() or override.is_force_add() or override.is_delete()
        key = override.key_or_group
        if override.is_delete() or (forced and key not in GROUPS and not key.startswith("hydra")):
            raise ConfigError(f"'{text}': keys are neither added nor removed, only set." + _nearest(key, _keys(name)))


def _explanation(error: Exception, name: str) -> str:
    text = str(error)
    if found := re.search(r"Could not find '([a-z_]+)/([^']*)'", text):
        group, choice = found.groups()
        return _no_choice(group, choice)
    if found := re.search(r"Could not override '([^']+)'", text):
        key = found.group(1)
        return f"no such group or key: '{key}'." + _nearest(key, [*GROUPS, *_keys(name)])
    if found := re.search(r"full_key: (\S+)", text):
        return f"{found.group(1)}: {text.splitlines()[0]}"
    return text.splitlines()[0]


def _no_choice(group: str, choice: str) -> str:
    if group not in GROUPS:
        return f"no such group: '{group}'." + _nearest(group, list(GROUPS))
    names = list(choices(group))
    close = difflib.get_close_matches(choice, names, n=1)
    return (
        f"{group}={choice}: no such {group.replace('_', ' ')}"
        + (f"; did you mean {close[0]}?" if close else ".")
        + f" There are: {', '.join(names)}."
    )


def _nearest(key: str, candidates: list[str]) -> str:
    close = (
        difflib.get_close_matches(key, candidates, n=1)
        or [candidate for candidate in candidates if candidate.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]][:1]
    )
    if close:
        return f" Did you mean '{close[0]}'?"
    parent = key.rpartition(".")[0]
    siblings = [c for c in candidates if parent and c.startswith(parent + ".")]
    return f" There are: {', '.join(siblings)}." if siblings else " `mtlbench train --help` lists the groups."


def _keys(name: str) -> list[str]:
    """Every dotted key of the default configuration."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return list(_flat(hydra.compose(name), ""))


def _flat(node: DictConfig, prefix: str) -> Iterator[str]:
    for key in typing.cast(list[str], list(node)):
        yield prefix + key
        inner = node._get_node(key)
        if OmegaConf.is_dict(inner) and not inner._is_none():  # pyright: ignore[reportOptionalMemberAccess,reportAttributeAccessIssue]
            yield from _flat(typing.cast(DictConfig, inner), f"{prefix}{key}.")
