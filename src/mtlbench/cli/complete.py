"""Candidates for shell completion, found without importing torch, Hydra or MLflow."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click

from mtlbench.cli.choices import GROUPS, choices, default_values
from mtlbench.cli.names import PATHS


def complete_overrides(
    keys: str | Mapping[str, str], ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[str]:
    """Complete groups, choices, keys (one level at a time), and paths of keys that hold one.

    Args:
        keys: the command's keys, or the name of the configuration that it composes.
        ctx, param, incomplete: as click gives them.
    """
    earlier = [word.split("=", 1) for word in ctx.params.get(str(param.name)) or () if "=" in word]
    values = default_values(keys, dict(earlier)) if isinstance(keys, str) else keys
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={text}" for text in _values(key, value, isinstance(values.get(key), bool))]
    options = [option.opts[0] for option in ctx.command.params if isinstance(option, click.Option)]
    option_names = [name[2:] for name in options if name.startswith("--")]
    groups = list(GROUPS) if isinstance(keys, str) else []
    return sorted(
        {_next_level(name, incomplete) for name in [*groups, *values, *option_names] if name.startswith(incomplete)}
    )


def complete_path(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return list(_paths(incomplete))


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete names of folders in ``run.folder``, and paths."""
    earlier = [word.partition("=") for word in ctx.params.get("overrides") or ()]
    runs = Path(next((value for key, _, value in earlier if key == "run.folder"), "runs"))
    return [*starting(incomplete, (file.parent.name for file in runs.glob("*/run.json"))), *_paths(incomplete)]


def starting(text: str, words: Iterable[str]) -> list[str]:
    """The candidates that begin with a text, sorted."""
    return sorted(word for word in words if word.startswith(text))


def _next_level(key: str, incomplete: str) -> str:
    """Candidates one level deep: ``trainer.``, not ``trainer.epochs``, for ``tr``; a complete key ends in ``=``."""
    dot = key.find(".", len(incomplete))
    return f"{key}=" if dot < 0 else key[: dot + 1]


def _values(key: str, value: str, switch: bool) -> list[str]:
    if key in PATHS:
        return list(_paths(value))
    first, comma, last = value.rpartition(",")  # comma-separated values of a sweep
    words = choices(key) if key in GROUPS else ("true", "false") if switch else ()
    return [first + comma + word for word in starting(last, words)]


def _paths(text: str) -> Iterator[str]:
    """Files and folders that begin with a text; folders end in ``/``."""
    folder, name = os.path.split(text)
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
            yield os.path.join(folder, entry.name) + "/" * entry.is_dir()  # noqa: PTH118
