"""Takes allowed packages (``run.allow=``) and passwords in addresses off the command line, into the environment."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager

from mtlbench.experiment.allowed import ALLOW, CONF, own
from mtlbench.experiment.errors import ConfigError
from mtlbench.tracking.credentials import KEPT, withheld

KEY = "run.allow="


@contextmanager
def private(arguments: list[str]) -> Generator[Callable[[], list[str]]]:
    """Gives a function for the other words; what was taken off stands in the environment until the end of the command.

    So no configuration holds it, no file can set it, and the processes that the command starts inherit it.
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
        ConfigError: something that is no name of a package.
    """
    packages = [name.strip(" '\"") for name in word.removeprefix(KEY).strip("[] ").split(",")]
    if not all(part.isidentifier() for name in packages for part in name.split(".")):
        raise ConfigError(f"{word}: expected names of packages, as in run.allow=[mypackage]")
    return packages
