"""What may be said to Hydra itself: how a sweep is spread and where, and nothing that makes Hydra run code.

Hydra builds its launcher, sweeper, callbacks and logging from configuration nodes, sets environment variables, and
unpickles a job to run it again, all before a configuration of ours can be checked.
"""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.utils import get_args_parser  # abbreviated flags are flags too
from omegaconf import OmegaConf

from mtlbench.cli.choices import conf_folder
from mtlbench.experiment.errors import ConfigError

_ALLOWED = re.compile(
    r"\+{0,2}(hydra/(launcher|sweeper)|hydra\.(launcher|sweeper|sweep|run)\.[A-Za-z0-9_.]+|hydra\.(verbose|mode))"
)
_NAMED = re.compile(r"\bhydra\b")
_PACKAGE = re.compile(r"^\s*#\s*@package\s.*\bhydra\b", re.MULTILINE)


def check_hydra(arguments: Sequence[str]) -> None:
    """Refuse words and files of ``--config-dir`` that would have Hydra run code.

    Raises:
        ConfigError: such a word or file, or a YAML file that cannot be read.
    """
    given, unknown = get_args_parser().parse_known_args(list(arguments))
    if given.experimental_rerun:
        raise ConfigError("--experimental-rerun runs what a pickle says; give the run's overrides instead")
    for word in (*given.overrides, *unknown):
        key = word.partition("=")[0]
        if _NAMED.search(key) and (not _ALLOWED.fullmatch(key) or "_target_" in word):
            raise ConfigError(
                f"'{word}': of Hydra's own keys only hydra/launcher, hydra/sweeper, hydra.launcher.<key>, "
                "hydra.sweeper.<key>, hydra.sweep.<key>, hydra.run.<key>, hydra.verbose and hydra.mode are taken"
            )
    for folder in (given.config_dir, given.config_path):
        if folder and Path(folder).resolve() != conf_folder().resolve():
            _refuse_hydra_in(Path(folder))


def _refuse_hydra_in(folder: Path) -> None:
    # Path.rglob does not follow links, and Hydra does
    for name in sorted(glob.glob("**/*.yaml", root_dir=folder, recursive=True, include_hidden=True)):  # noqa: PTH207
        path = folder / name
        try:
            text = path.read_text(encoding="utf-8")
            content = OmegaConf.to_container(OmegaConf.create(text or "{}"), resolve=False)
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
        if _NAMED.search(name) or _PACKAGE.search(text) or any(map(_NAMED.search, _texts(content))):
            raise ConfigError(
                f"{path}: files of --config-dir configure the experiment, not Hydra. Say it on the command line, as in "
                "hydra/launcher=joblib"
            )


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)
    elif isinstance(content, str):
        yield content
