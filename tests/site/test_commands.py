"""Command lines in the documentation: each names a command, options and choices that there are."""

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from mtlbench.cli import COMMANDS
from mtlbench.cli.choices import GROUPS, choices

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OWN = {"mynet", "shop", "brier", "NAME", "my", "spark_aliccp"}
"""Names in examples that stand for what a reader makes."""


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Page and words of every call of mtlbench, in blocks and inline."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, block in re.findall(r"^```(\w*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines() if language in ("", "sh") else ():
                if line.startswith("mtlbench "):
                    yield page.name, shlex.split(line, comments=True)[1:]
        for line in re.findall(r"`mtlbench\s+([^`]+)`", text):
            yield page.name, shlex.split(line)


def unknown_choices(words: list[str]) -> list[str]:
    pairs = [word.partition("=") for word in words]
    named = [(group, name) for group, equals, names in pairs if equals and group in GROUPS for name in names.split(",")]
    return [f"{group}={name}" for group, name in named if name not in {*choices(group), *OWN} and "<" not in name]


def test_they_can_be_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTLBENCH_CONF", "")
    for folder in ("mine", "prepared"):
        Path(folder).mkdir()
    lines = list(command_lines())
    assert len(lines) >= 70
    problems: list[str] = []
    for page, (name, *words) in lines:
        if name not in COMMANDS:
            problems.append(f"{page}: mtlbench {name}")
        if name not in COMMANDS or not words:  # a command that is only mentioned
            continue
        try:
            import_module(f"mtlbench.cli.{name}").command.make_context(name, list(words))
        except click.exceptions.Exit:  # after --help
            pass
        except click.ClickException as error:
            problems.append(f"{page}: {name} {shlex.join(words)}: {error.format_message()}")
        problems += [f"{page}: {choice}" for choice in unknown_choices(words)]
    assert problems == []
