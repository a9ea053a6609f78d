"""Checks of command-line overrides, and error messages that name the nearest right spelling."""

import difflib
import glob
import re
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from mtlbench.cli.arguments import nearest
from mtlbench.cli.choices import GROUPS, INSTRUCTION, choices, default_values
from mtlbench.experiment.errors import ConfigError


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
