"""Arguments, options and messages that several commands share."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from mtlbench.cli.complete import complete_overrides, complete_path, complete_run
from mtlbench.cli.names import NAMES, as_written
from mtlbench.cli.search_path import named_folders
from mtlbench.experiment.allowed import CONF
from mtlbench.experiment.errors import ConfigError

SPLITS = ("train", "valid", "test")

RUNS = {"run.folder": "runs"}
"""Keys of a command that only reads finished runs, with their defaults."""


PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
"""Values that mean themselves in Hydra's grammar, so that its import can be spared."""


class Command(click.Command):
    """A command with overrides, whose options may be written ``--key value`` or ``key=value``, and ``--config-dir``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        text = f"A folder of configurations and code of yours, beside mtlbench's own; or {CONF}."
        shown: dict[str, Any] = {"metavar": "PATH", "shell_complete": complete_path, "help": text}
        # eager: before other words are completed
        early: dict[str, Any] = {"is_eager": True, "expose_value": False, "callback": _search}
        self.params.append(click.Option(["-cd", "--config-dir"], type=Path, multiple=True, **early, **shown))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, list(args))
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            if isinstance(error, click.NoSuchOption):
                raise click.UsageError(self._no_such_option(error.option_name, args), ctx) from error
            raise
        words = list(ctx.params.get("overrides", ()))
        first, names = self.params[0].name, [word for word in words if "=" not in word]
        if first in ("run", "name") and "=" in (ctx.params[first] or "") and names:  # which may stand behind overrides
            words[words.index(names[0])], ctx.params[first] = ctx.params[first], names[0]
        if "overrides" in ctx.params and not ctx.resilient_parsing:
            ctx.params["overrides"] = [word for word in words if not self._sets_option(ctx, word)]
        return rest

    def _sets_option(self, ctx: click.Context, word: str) -> bool:
        for option in self.params:
            if isinstance(option, click.Option) and f"--{word.partition('=')[0]}" in option.opts and "=" in word:
                text = word.partition("=")[2] if option.name in NAMES else read_value(word)
                value = option.process_value(ctx, [text] if option.multiple else text)
                if option.expose_value:
                    ctx.params[str(option.name)] = value
                return True
        return False

    def _no_such_option(self, name: str, args: Sequence[str]) -> str:
        word = next((word for word in args if word.startswith(name)), name)
        bare = word.lstrip("-")
        if "=" in bare and any(param.name == "overrides" for param in self.params):
            return f"no such option: {word}; did you mean {bare}?"
        options = [param.opts[-1] for param in self.params if isinstance(param, click.Option)]
        return f"no such option: {name}" + (nearest(name, options) or f"; there are {', '.join(options)}")


def read_names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[tuple[str, ...], ...] | None:
    """Callback of an option whose value is names, some of them together: ``country`` or ``[country,[country,device]]``.

    Its name is in `mtlbench.cli.names.NAMES`.
    """
    if value is None:
        return None
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from mtlbench.cli.overrides import parse_override

    try:
        (word,) = as_written([f"{param.name}={value if value[:1] == '[' else f'[{value}]'}"])
        parsed: Any = parse_override(word).value()
        names: Any = OmegaConf.to_object(OmegaConf.create(parsed))
    except (HydraException, ConfigError):
        names = []
    groups = [name if isinstance(name, list) else [name] for name in names]
    if not groups or not all(group and all(isinstance(name, str) for name in group) for group in groups):
        raise click.BadParameter(f"'{value}' is no list of names, as in [country] or [country,[country,device]]")
    return tuple(tuple(group) for group in groups)


def _search(ctx: click.Context, option: click.Parameter, folders: tuple[Path, ...]) -> None:
    """Put folders in front of ``MTLBENCH_CONF``; the end of the command restores it, see `mtlbench.cli.words`."""
    if folders:
        os.environ[CONF] = named_folders(folders)


run = click.argument("run", metavar="RUN", shell_complete=complete_run)
split = click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Rows of its data.")


def overrides(keys: str | Mapping[str, str] = "train") -> Callable[[Any], Any]:
    """The ``key=value`` words of a command.

    Args:
        keys: that it takes, with their defaults; or the name of the configuration that it composes.
    """
    complete = partial(complete_overrides, keys)
    return click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete)


def path_option(*names: str, help: str, default: str | None = None) -> Callable[[Any], Any]:  # noqa: A002
    """An option whose value is a file or folder."""
    given = default is not None
    return click.option(
        *names, metavar="PATH", type=Path, default=default, show_default=given, shell_complete=complete_path, help=help
    )


def verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--quiet`` and ``--verbose`` of a command that trains."""

    @click.option("-v", "--verbose", is_flag=True, help="Also the training losses every trainer.log_steps steps.")
    @click.option("-q", "--quiet", is_flag=True, help="Warnings and results only: no line per evaluation, no bars.")
    @wraps(command)
    def shown(*args: Any, quiet: bool, verbose: bool, **options: Any) -> Any:
        import logging

        from mtlbench.experiment.console import show_progress

        if quiet and verbose:
            raise click.UsageError("--quiet and --verbose contradict each other", click.get_current_context())
        show_progress(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
        return command(*args, **options)

    return shown


def nearest(word: str, candidates: Iterable[str]) -> str:
    """``; did you mean <the most similar candidate>?``, if one is similar."""
    import difflib

    close = difflib.get_close_matches(word, list(candidates), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def read_keys(words: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Values of the few keys of a command that composes no configuration.

    Raises:
        ConfigError: a word that is not ``key=value``, or a key that is not among the defaults.
    """
    found = dict(defaults)
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or key not in defaults:
            allowed = ", ".join(f"{name}=" for name in defaults) or "no overrides"
            raise ConfigError(f"unknown '{word}'{nearest(key, defaults)}; allowed: {allowed}")
        found[key] = read_value(word)
    return found


def read_value(word: str) -> str:
    """The text in ``key=value``, by the grammar that composed configurations are read with.

    Raises:
        ConfigError: it cannot be parsed, or is no text.
    """
    text = word.partition("=")[2]
    if PLAIN.fullmatch(text) and text.lower() != "null":
        return text
    from omegaconf import OmegaConf

    from mtlbench.cli.overrides import parse_override

    value = parse_override(word).value()
    if isinstance(value, bool | int | float):
        return text
    if not isinstance(value, str):
        raise ConfigError(f"'{word}': expected one text")
    return OmegaConf.create({"value": value})["value"]


def find_run(name: str, runs: Path) -> Path:
    """The folder of a run.

    Args:
        name: a path, or the beginning of the name of exactly one folder in `runs`.
    """
    if Path(name).is_dir():
        return Path(name)
    found = [path for path in sorted(runs.glob(f"{name}*")) if path.is_dir()] if name else []
    if len(found) != 1:
        raise ConfigError(
            f"'{name}' is no folder and begins the name of {len(found)} runs in {runs}. "
            "`mtlbench list runs` shows them."
        )
    return found[0]
