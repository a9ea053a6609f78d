"""Reads the YAML schema of a Parquet data set, keeping names exactly as written."""

import re
from typing import Any

import yaml

TEXT = "tag:yaml.org,2002:str"
WHOLE = "tag:yaml.org,2002:int"
TRUTH = "tag:yaml.org,2002:bool"
KEPT = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
DIGITS = re.compile("0|[1-9][0-9]*", re.ASCII)
"""An integer in canonical form; 012 is ambiguous (10 in YAML 1.1, 12 in decimal), so it does not match."""
TRUE_OR_FALSE = re.compile("true|false")
TYPED = {"width": (WHOLE, DIGITS), "compress": (TRUTH, TRUE_OR_FALSE)}
"""Keys whose value is an integer or a boolean; all other values are names, patterns or null."""


class _Loader(yaml.SafeLoader):
    """A YAML loader that reads plain scalars as text, so that a column may be called 109_14, 101, on or 2024-01-01.

    YAML 1.1 would read these as 10914, a number, true and a date. Exceptions: null, merge keys and values of `TYPED`.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  # as the base class has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag in KEPT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for key, value in node.value:
            if names.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is given twice", key.start_mark)
            if key.value in TYPED and value.tag == TEXT and value.style is None:
                tag, pattern = TYPED[key.value]
                value.tag = tag if pattern.fullmatch(value.value) else TEXT
        return super().construct_mapping(node, deep)


def parse_schema(text: str) -> Any:
    """The content of a schema.

    Raises:
        yaml.YAMLError: the text is not YAML, or a mapping has a key twice.
    """
    return yaml.load(text, _Loader)  # a SafeLoader with fewer types
