"""Composes configuration files into plain values, by the subset of Hydra's rules that mtlbench's own files use.

A file of a group may extend others of its group (``defaults: [_base, _self_]``), choose the file of another group
(``override /balancing@_global_.balancing: fixed``), and state the package of its content (``# @package _global_``).
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mtlbench.cli.search_path import conf_file, conf_folder

Read = Callable[[Path], dict[str, Any]]
"""Reads a YAML file, references unresolved."""


class Composed(NamedTuple):
    """The merged content, the choice made in each group, and the files read."""

    content: dict[str, Any]
    names: dict[str, str]
    files: list[Path]


def compose_files(config: str, chosen: Mapping[str, str], read: Read) -> Composed:
    """Compose a configuration from its file and the chosen files of its groups, Hydra's own keys included.

    Args:
        config: ``train`` or ``simulate``.
        chosen: choices by group, where they differ from the defaults; other groups and unknown names are ignored.
        read: reads a file.
    """
    root = dict(read(conf_folder() / f"{config}.yaml"))
    entries = [entry for entry in root.pop("defaults") if isinstance(entry, dict)]
    names = {group: name for entry in entries for group, name in entry.items() if not group.startswith("override ")}
    names = {group: chosen.get(group, name) for group, name in names.items()}
    files: list[Path] = []
    for group, name in list(names.items()):
        for entry in _content(group, name, read).get("defaults", ()):
            if isinstance(entry, dict) and (found := re.match(r"override /(\w+)", next(iter(entry)))):
                names[found[1]] = chosen.get(found[1], next(iter(entry.values())))
    content: dict[str, Any] = {}
    for group, name in names.items():
        for file in _files(group, name, read):
            files.append(file)
            values = {key: value for key, value in read(file).items() if key != "defaults"}
            content = merged(content, _in_package(file, values))
    return Composed(merged(content, root), names, files)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings merged recursively; where both have a value, the second one's is taken."""
    values = dict(below)
    for key, value in above.items():
        under = values.get(key)
        if isinstance(value, dict):
            values[key] = merged(under if isinstance(under, dict) else {}, value)
        else:
            values[key] = value
    return values


def _files(group: str, name: str, read: Read) -> list[Path]:
    """A file of a group, preceded by the files of the group that it extends."""
    file = conf_file(f"{group}/{name}.yaml")
    if file is None:
        return []
    below = [entry for entry in read(file).get("defaults", ()) if isinstance(entry, str) and entry != "_self_"]
    return [*(path for parent in below for path in _files(group, parent, read)), file]


def _content(group: str, name: str, read: Read) -> dict[str, Any]:
    file = conf_file(f"{group}/{name}.yaml")
    return read(file) if file else {}


def _in_package(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content of a file under its package: the name of its group, or the one that the file declares."""
    declared = re.search(r"^# *@package +(\S+)", file.read_text(), re.MULTILINE)
    package = declared[1] if declared else file.parent.name
    for key in reversed([] if package == "_global_" else package.split(".")):
        content = {key: content}
    return content
