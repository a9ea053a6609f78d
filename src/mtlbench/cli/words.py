"""Moves allowed packages (``run.allow=``) and passwords in addresses from the command line to the environment."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager

from mtlbench.allowed import ALLOW, CONF, own
from mtlbench.experiment.errors import ConfigError
from mtlbench.tracking.credentials import KEPT, withheld

KEY = "run.allow="


@contextmanager
def moved_to_environment(arguments: list[str]) -> Generator[Callable[[], list[str]]]:
    """Set environment variables for the duration of the command; yields a function that filters the arguments.

    So no configuration contains these values, no file can set them, and child processes inherit them.
    """
    before = {name: os.environ.get(name) for name in (ALLOW, CONF, KEPT)}
    words = [withheld(word) if "tracker" in word.partition("=")[0] else word for word in arguments]
    try:
        yield lambda: _without_packages(words)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _without_packages(words: list[str]) -> list[str]:
    packages = [package for word in words if word.startswith(KEY) for package in _packages(word)]
    os.environ[ALLOW] = ",".join(dict.fromkeys((*own(), *packages)))
    return [word for word in words if not word.startswith(KEY)]


def _packages(word: str) -> list[str]:
    """The names in ``run.allow=[a,b.c]``.

    Raises:
        ConfigError: an entry is not the name of a package.
    """
    packages = [name.strip(" '\"") for name in word.removeprefix(KEY).strip("[] ").split(",")]
    if not all(part.isidentifier() for name in packages for part in name.split(".")):
        raise ConfigError(f"{word}: expected names of packages, as in run.allow=[mypackage]")
    return packages
