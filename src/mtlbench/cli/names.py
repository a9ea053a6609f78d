"""Quotes command-line values that are names, paths or free text, so that Hydra reads them literally."""

import re
from collections.abc import Sequence
from typing import Any

NAMES = ("dataset.tasks", "dataset.only_fields", "dataset.without_fields", "model.network.crosses", "slices")
"""Keys whose value is a name given by a data set's author, or a list of such names."""

PATHS = ("dataset.raw", "dataset.schema", "run.folder", "run.data", "to", "predictions")
"""Keys whose value is a file or folder."""

TEXTS = ("run.name", "run.notes")
"""Keys whose value is free text."""

_NAME = re.compile(r"(?<![^=,(\[\s])[A-Za-z0-9_.+-]+(?=\s*(?:[,)\]]|$))")
"""An unquoted entry of a list."""


def as_written(words: Sequence[str]) -> list[str]:
    """The arguments of a command, quoted for Hydra where necessary.

    ``dataset.tasks=[109_14,true]`` is two texts, not an integer and a Boolean; ``dataset.raw=/day=3 (a)`` a path.
    """
    return [_quoted(word) for word in words]


def _quoted(word: str) -> str:
    key, equals, value = word.partition("=")
    if key.lstrip("+") in NAMES:
        value = _NAME.sub(lambda name: _quote(name[0]) if _is_number(_read(name[0])) else name[0], value)
    elif key.lstrip("+") in TEXTS and value not in ("", "null") and value[0] not in "'\"":
        value = _quote(value)
    elif equals and key.lstrip("+") in (*PATHS, "run.tracker.uri") and value and value[0] not in "'\"":
        read = _read(value)
        value = _quote(value) if _is_number(read) or (isinstance(read, str) and read != value) else value
    return key + equals + value


def _quote(text: str) -> str:
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", r"\'"), text) + "'"


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _read(text: str) -> Any:
    """The value that Hydra reads from unquoted text; the empty text if it cannot be parsed."""
    if re.fullmatch(r"[A-Za-z_/][A-Za-z_/.-]*", text) and text.lower() not in ("true", "false", "null", "nan", "inf"):
        return text  # most are, and Hydra's parser takes a quarter of a second to import
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(f"name={text}").value()
    except HydraException:
        return ""
