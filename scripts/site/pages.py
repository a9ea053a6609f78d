"""Generated pages: one for each model and data set, one for each other configuration group, and the command line."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import yaml

from mtlbench.cli import COMMANDS
from mtlbench.cli.choices import GROUPS, choices, comments
from mtlbench.cli.search_path import conf_file
from scripts.site.docstring import documented, documented_module

OWN_PAGES = {"model": "models", "dataset": "datasets"}
"""Groups whose choices have a page each, and the folders of these pages."""


def generated_pages() -> Iterator[tuple[str, str]]:
    """Path and Markdown of every page that is made of the source."""
    for group, folder in OWN_PAGES.items():
        for name in choices(group):
            yield f"{folder}/{name}.md", choice_page(group, name)
    for group in GROUPS:
        if group not in OWN_PAGES:
            yield f"settings/{group}.md", group_page(group)
    yield "commands.md", commands_page()


def choice_page(group: str, name: str) -> str:
    """Source, docstrings, configuration and results of one model or data set."""
    paper, what = comments(group, name)
    title, _, source = paper.partition(": ")
    trained = f"model={name} dataset=census" if group == "model" else f"model=mmoe dataset={name}"
    about = what if group == "model" else ""
    lines = [f"# {title}", source, f"{about}." if about else "", _console(f"mtlbench train {trained}")]
    files = "\n\n".join(_files(group, name))
    shared = "`${profile.*}` are [settings that models share](../settings/profile.md)." if "${profile." in files else ""
    lines += [*_objects(group, name), *_schema_keys(group, name), "## Configuration", shared, files]
    if rows := "\n".join(_rows_of(group, name)):
        lines += ["## Measured", "It has rows in these tables, figures and studies:", rows]
    if "conf/study/" in rows:
        lines.append("Results so far are in the [leaderboard](../leaderboard.md).")
    return "\n\n".join(filter(None, lines))


def group_page(group: str) -> str:
    """All choices of one group."""
    lines = [f"# {group}", f"{GROUPS[group].capitalize()}: `{group}=<choice>`."]
    for name, comment in choices(group).items():
        lines += [f"## {name}", comment, *_objects(group, name, "###"), *_files(group, name)]
    return "\n\n".join(lines)


def commands_page() -> str:
    """What ``--help`` prints, for every command."""
    lines = ["# Command line", "Every command takes `--help`; this is what it prints."]
    program = import_module("mtlbench.cli").commands
    lines += ["## mtlbench", _console(_help(program, "mtlbench"), "text")]
    for name in COMMANDS:
        command = import_module(f"mtlbench.cli.{name}").command
        lines += [f"## mtlbench {name}", _console(_help(command, f"mtlbench {name}"), "text")]
    return "\n\n".join(lines)


def _help(command: click.Command, name: str) -> str:
    with click.Context(command, info_name=name, max_content_width=80, help_option_names=["-h", "--help"]) as context:
        return command.get_help(context).rstrip()


def _objects(group: str, name: str, heading: str = "##") -> Iterator[str]:
    """Docstrings of the classes and functions of mtlbench that a configuration names."""
    for number, target in enumerate(_targets(group, name)):
        if number == 0 and group == "dataset":
            yield documented_module(target)
        yield f"{heading} `{target.rpartition('.')[2]}`"
        yield f"`{target}`"
        yield documented(target)


def _schema_keys(group: str, name: str) -> Iterator[str]:
    """What may stand in the schema of a data set that has one."""
    for target in _targets(group, name):
        module, _, kind = target.rpartition(".")
        if keys := getattr(getattr(import_module(module), kind), "schema_keys", None):
            yield "## Keys of a schema"
            yield _console(keys(), "text")


def _targets(group: str, name: str) -> list[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in reversed(_chain(group, name)))
    return list(dict.fromkeys(re.findall(r"_target_: (mtlbench\.[\w.]+)", text)))


def _rows_of(group: str, name: str) -> Iterator[str]:
    """The commands that measure a model or data set, with what each is about."""
    for kind in ("table", "figure", "study"):
        for title, comment in choices(kind).items():
            path = conf_file(f"{kind}/{title}.yaml")
            assert path is not None, f"{title} is one of the choices"
            if re.search(rf"\b{group}={name}\b", path.read_text(encoding="utf-8")):
                yield f"- `mtlbench reproduce {f'conf/study/{path.name}' if kind == 'study' else title}`: {comment}"


def _files(group: str, name: str) -> Iterator[str]:
    for path in _chain(group, name):
        yield f'```yaml title="conf/{group}/{path.name}"\n{path.read_text(encoding="utf-8").rstrip()}\n```'


def _chain(group: str, name: str) -> list[Path]:
    """The file of a choice, then the files that it starts from."""
    path = conf_file(f"{group}/{name}.yaml")
    assert path is not None, f"{group}={name} is one of the choices"
    parents = [entry for entry in yaml.safe_load(path.read_bytes()).get("defaults", ()) if isinstance(entry, str)]
    return [path, *(file for parent in parents if parent != "_self_" for file in _chain(group, parent))]


def _console(text: str, language: str = "sh") -> str:
    return f"```{language}\n{text}\n```"
