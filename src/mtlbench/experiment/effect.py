"""Detects overrides without effect: keys that were set but are not used."""

import contextlib
import typing
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

NEVER = "\0"
"""A marker value that occurs in no configuration."""

REFERRED_TO = ("optimizer.lr", "optimizer.momentum", "dataset.split_seed")
"""Keys, besides those of profiles and splits, that exist to be referenced by others."""


def without_effect(config: DictConfig, overrides: Iterable[str]) -> list[tuple[str, str]]:
    """Overridden keys that exist to be referenced but that no used key references, each with the reason.

    All models share the keys of a profile, and no model reads all of them; a sweep over models may set them, so this is
    not an error.

    Args:
        config: composed, references (``${profile.experts}``) unresolved.
        overrides: ``key=value`` as written by the user.
    """
    keys = [key for key in (text.partition("=")[0] for text in overrides) if _only_referred_to(key)]
    try:
        used = _used(config) if keys else {}
    except OmegaConfBaseException:  # a broken reference, reported by `check_config`
        return []
    unused: list[tuple[str, str]] = []
    for key in keys:
        changed = config.copy()
        OmegaConf.update(changed, key, NEVER)
        with contextlib.suppress(OmegaConfBaseException):  # a reference into the key, so it has an effect
            if _used(changed) == used:
                model = f"model={config.run.choices.model} does not read it"
                unused.append((key, model if key.startswith("profile.") else "nothing reads it"))
    return unused


def _only_referred_to(key: str) -> bool:
    """Whether a key exists only to be referenced by others."""
    return key.startswith(("profile.", "dataset.splits.")) or key in REFERRED_TO


def _used(config: DictConfig) -> dict[str, Any]:
    plain = typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    del plain["profile"]
    for group, keys in (("optimizer", ("lr", "momentum")), ("dataset", ("splits", "split_seed"))):
        plain[group] = {key: value for key, value in plain[group].items() if key not in keys}
    return plain
