"""Name, tags and notes of a run: free text by the user that does not affect the run's identity."""

import re
import typing
from dataclasses import fields, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mtlbench.experiment.errors import ConfigError
from mtlbench.tracking.folder import RunInfo
from mtlbench.tracking.send import LONGEST_NAME, OWN_TAGS

LONGEST_TEXT = 5000
"""Maximum length of a tag or note, in characters, that every version of MLflow stores."""

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-. ]*")

RESERVED = {*(field.name for field in fields(RunInfo)), *OWN_TAGS}


def tags_of(config: DictConfig) -> dict[str, str]:
    """``run.tags`` as a mapping; an entry of a list gets the value ``true``, so that runs can be filtered by it.

    Raises:
        ConfigError: a name is invalid in MLflow or reserved by mtlbench, or a text is too long.
    """
    node: Any = OmegaConf.select(config, "run.tags")
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else {}
    by_name = plain if isinstance(plain, dict) else dict.fromkeys(typing.cast(list[str], plain or []), True)
    tags = {str(name): str(value).lower() if isinstance(value, bool) else str(value) for name, value in by_name.items()}
    for name, value in tags.items():
        if not TAG.fullmatch(name) or len(name) > LONGEST_NAME or name in RESERVED or name.startswith("mlflow."):
            raise ConfigError(
                f"run.tags: '{name}' cannot be a tag; allowed: up to {LONGEST_NAME} letters, digits, spaces and _ - . "
                f"and none of mlflow.*, {', '.join(sorted(RESERVED))}"
            )
        _check_length(f"run.tags.{name}", value, LONGEST_TEXT)
    return tags


def check_annotations(config: DictConfig) -> None:
    """Reject a name, tags or notes that a tracking server would not store."""
    tags_of(config)
    for key, longest in (("name", LONGEST_NAME), ("notes", LONGEST_TEXT)):
        _check_length(f"run.{key}", config.run.get(key) or "", longest)


def annotated(facts: RunInfo, config: DictConfig) -> RunInfo:
    """The facts with the configuration's name and notes, if set, and with its tags added."""
    name, notes = config.run.get("name"), config.run.get("notes")
    return replace(facts, name=name or facts.name, notes=notes or facts.notes, tags={**facts.tags, **tags_of(config)})


def _check_length(key: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise ConfigError(f"{key} has {len(text):,} characters; allowed: {longest:,}")
