"""Hooks of MkDocs: generated pages, pages of the repository's root, and a navigation of what is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts.site.notebook import notebook_page
from scripts.site.pages import generated_pages

ROOT = Path(__file__).parents[2]
ROOT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are no files in docs/, and reduce the navigation to pages that exist."""
    for path, text in _pages(files):
        files.append(File.generated(config, path, content=text))
    there = [file.src_uri for file in files.documentation_pages()]
    navigation = _navigation(config.nav, there)
    named = set(_paths(navigation))
    navigation[-1]["More"] += [path for path in there if path not in named]
    config.nav = navigation
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Make links between docs/ and the root links within the site, which has both in one folder."""
    outside = r"docs/" if page.file.src_uri in ROOT_PAGES else r"\.\./(?=(\.\./)*[A-Z]+\.md)"
    return re.sub(rf"\]\({outside}", "](", markdown)


def _pages(files: Files) -> Iterator[tuple[str, str]]:
    yield from generated_pages()
    for name in ROOT_PAGES:
        yield name, (ROOT / name).read_text(encoding="utf-8")
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            yield file.src_uri.replace(".ipynb", ".md"), notebook_page(file.content_string)


def _navigation(node: Any, there: list[str]) -> Any:
    """The navigation without missing pages; ``folder/*`` stands for all pages of a folder."""
    if isinstance(node, list):
        found = (_navigation(entry, there) for entry in node)
        return [entry for part in found if part for entry in (part if isinstance(part, list) else [part])]
    if isinstance(node, dict):
        return {title: inner for title, entry in node.items() if (inner := _navigation(entry, there))}
    if node.endswith("/*"):
        return [{Path(path).stem: path} for path in there if path.startswith(node[:-1])]
    return node if node in there else None


def _paths(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for entry in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _paths(entry)
