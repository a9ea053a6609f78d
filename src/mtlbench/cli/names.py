"""Command-line values that are names stay as they are written, where Hydra would read numbers or booleans."""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser

NAMES = ("dataset.tasks", "model.network.crosses")
"""Keys whose value is a name, or lists of names, that a data set's author chose."""

_NAME = re.compile(r"(?<![^=,(\[\s])[A-Za-z0-9_.+-]+(?=\s*(?:[,)\]]|$))")
"""A whole entry without quotes."""


def as_written(words: Sequence[str]) -> list[str]:
    """The words of a command, with quotes where they are needed: ``dataset.tasks=[109_14,true]`` means two texts."""
    return [_quoted(word) for word in words]


def _quoted(word: str) -> str:
    key, equals, value = word.partition("=")
    if key.lstrip("+") not in NAMES:
        return word
    return key + equals + _NAME.sub(lambda name: f"'{name[0]}'" if _is_misread(name[0]) else name[0], value)


def _is_misread(name: str) -> bool:
    """Whether Hydra takes a name for a number or a boolean; null alone means that nothing is named."""
    return name != "null" and not isinstance(OverridesParser.create().parse_override(f"name={name}").value(), str)
