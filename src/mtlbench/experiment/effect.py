"""Overrides without effect: keys that were set and that nothing reads."""

import contextlib
import typing
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

NEVER = "\0"
"""A value that no key has."""

REFERRED_TO = ("optimizer.lr", "optimizer.momentum", "dataset.split_seed")
"""Keys beside those of a profile and of splits that others refer to."""


def without_effect(config: DictConfig, overrides: Iterable[str]) -> list[tuple[str, str]]:
    """Keys that others refer to, where none of those that are used does; each with the reason.

    Keys of a profile are shared by all models, and no model reads them all; a sweep over models may set them, so this
    is no error.

    Args:
        config: composed, with references (``${profile.experts}``).
        overrides: ``key=value`` as the user wrote them.
    """
    keys = [key for key in (text.partition("=")[0] for text in overrides) if _only_referred_to(key)]
    try:
        used = _used(config) if keys else {}
    except OmegaConfBaseException:  # a reference to nothing: `check_config` says which
        return []
    found: list[tuple[str, str]] = []
    for key in keys:
        changed = config.copy()
        OmegaConf.update(changed, key, NEVER)
        with contextlib.suppress(OmegaConfBaseException):  # a reference to something within the key, which is an effect
            if _used(changed) == used:
                model = f"model={config.run.choices.model} does not read it"
                found.append((key, model if key.startswith("profile.") else "nothing reads it"))
    return found


def _only_referred_to(key: str) -> bool:
    """Whether a key is there to be referred to, and has no meaning of its own."""
    return key.startswith(("profile.", "dataset.splits.")) or key in REFERRED_TO


def _used(config: DictConfig) -> dict[str, Any]:
    plain = typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    del plain["profile"]
    for group, keys in (("optimizer", ("lr", "momentum")), ("dataset", ("splits", "split_seed"))):
        plain[group] = {key: value for key, value in plain[group].items() if key not in keys}
    return plain
