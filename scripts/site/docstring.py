"""Docstrings as Markdown, read statically (griffe), so that building the site imports no torch."""

import re
from functools import cache
from pathlib import Path

import griffe

SOURCE = Path(__file__).parents[2] / "src"
LABELS = ("Shape", "Paper", "Departure", "Source", "Terms", "Tasks", "Files")
"""Words that name what follows them; each begins a paragraph of its own."""

LISTED = {
    griffe.DocstringSectionKind.parameters: "Parameters",
    griffe.DocstringSectionKind.attributes: "Parameters",
    griffe.DocstringSectionKind.raises: "Errors",
}


def documented(target: str) -> str:
    """The docstring of a class or function by its dotted name, as Markdown; empty where there is none."""
    return _markdown(_found(target).docstring)


def documented_module(target: str) -> str:
    """The docstring of the module in which a class or function is defined."""
    return _markdown(_found(target).module.docstring)


@cache
def _package() -> griffe.Object | griffe.Alias:
    return griffe.load("mtlbench", search_paths=[SOURCE], try_relative_path=False)


def _found(target: str) -> griffe.Object:
    found = _package()[target.removeprefix("mtlbench.")]
    return found.final_target if isinstance(found, griffe.Alias) else found


def _markdown(docstring: griffe.Docstring | None) -> str:
    return "\n\n".join(map(_section, docstring.parse("google", warnings=False))) if docstring else ""


def _section(section: griffe.DocstringSection) -> str:
    if section.kind not in LISTED:
        return _paragraphs(str(section.value))
    lines = [f"- {_entry(entry)}" for entry in section.value]
    return "\n".join([f"**{LISTED[section.kind]}**", "", *lines])


def _entry(entry: griffe.DocstringElement) -> str:
    name = getattr(entry, "name", None) or str(entry.annotation)
    return f"`{name}`: {' '.join(entry.description.split())}"


def _paragraphs(text: str) -> str:
    """Labels at the beginning of a line or sentence begin a paragraph, in bold."""
    return re.sub(rf"(?:^|(?<=\. ))({'|'.join(LABELS)}):", r"\n\n**\1:**", text, flags=re.MULTILINE).strip()
