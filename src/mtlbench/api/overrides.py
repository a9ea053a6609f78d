"""Overrides of a call, as the command line reads them."""

import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def as_words(
    overrides: Sequence[str], allow: Sequence[str], config_dir: str | os.PathLike[str] | None
) -> Generator[list[str]]:
    """The overrides for a command; permissions and Hydra's state are restored at the end of the context."""
    from hydra.core.global_hydra import GlobalHydra

    from mtlbench.allowed import CONF
    from mtlbench.cli import set_environment
    from mtlbench.cli.names import as_written
    from mtlbench.cli.search_path import named_folders
    from mtlbench.cli.words import KEY, moved_to_environment
    from mtlbench.experiment.errors import ConfigError

    if invalid := [word for word in overrides if not isinstance(word, str)]:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"{invalid[0]!r}: overrides must be text, as in 'model=mmoe'")
    set_environment()
    outer = GlobalHydra.instance().hydra
    permission = [f"{KEY}[{','.join([allow] if isinstance(allow, str) else allow)}]"] if allow else []
    with moved_to_environment([*overrides, *permission]) as remaining:
        if config_dir is not None:
            os.environ[CONF] = named_folders((Path(config_dir),))
        try:
            yield as_written(remaining())
        finally:
            GlobalHydra.instance().hydra = outer


def written(keys: dict[str, Any]) -> list[str]:
    """``key=value`` as on the command line."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in keys.items()]
