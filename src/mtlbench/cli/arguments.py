"""Arguments, options and messages that several commands share."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from mtlbench.allowed import CONF
from mtlbench.cli.complete import complete_overrides, complete_path, complete_run
from mtlbench.cli.names import NAMES, as_written
from mtlbench.cli.search_path import named_folders
from mtlbench.experiment.errors import ConfigError

SPLITS = ("train", "valid", "test")

RUNS = {"run.folder": "runs"}
"""Keys and defaults of commands that only read finished runs."""


PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
"""Values that Hydra's grammar reads literally: for them Hydra is not imported."""


class Command(click.Command):
    """A command with overrides, ``--config-dir``, and options that may also be written ``key=value``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        text = f"Folder of your own configurations and code, searched beside mtlbench's; or {CONF}."
        shown: dict[str, Any] = {"metavar": "PATH", "shell_complete": complete_path, "help": text}
        # eager: set before other arguments are completed
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
        if first in ("run", "name") and "=" in (ctx.params[first] or "") and names:  # the name may follow the overrides
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
        return f"no such option: {name}" + (nearest(name, options) or f"; allowed: {', '.join(options)}")


def read_names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[tuple[str, ...], ...] | None:
    """Callback of an option that takes names and combinations of names: ``country``, ``[country,[country,device]]``.

    The option's name must be in `mtlbench.cli.names.NAMES`.
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
        raise click.BadParameter(
            f"'{value}' is not a list of names; expected, for example, [country] or [country,[country,device]]"
        )
    return tuple(tuple(group) for group in groups)


def _search(ctx: click.Context, option: click.Parameter, folders: tuple[Path, ...]) -> None:
    """Prepend folders to ``MTLBENCH_CONF``, which `mtlbench.cli.words` restores at the end of the command."""
    if folders:
        os.environ[CONF] = named_folders(folders)


run = click.argument("run", metavar="RUN", shell_complete=complete_run)
split = click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Split to read.")


def overrides(keys: str | Mapping[str, str] = "train") -> Callable[[Any], Any]:
    """The ``key=value`` arguments of a command.

    Args:
        keys: its keys with their defaults, or the name of the configuration that it composes.
    """
    complete = partial(complete_overrides, keys)
    return click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete)


def path_option(*names: str, help: str, default: str | None = None) -> Callable[[Any], Any]:  # noqa: A002
    """An option whose value is a file or folder."""
    has_default = default is not None
    return click.option(
        *names,
        metavar="PATH",
        type=Path,
        default=default,
        show_default=has_default,
        shell_complete=complete_path,
        help=help,
    )


def verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--quiet`` and ``--verbose`` to a command that trains."""

    @click.option("-v", "--verbose", is_flag=True, help="Also print training losses, every trainer.log_steps steps.")
    @click.option(
        "-q", "--quiet", is_flag=True, help="Print warnings and results only: no progress bars, no line per evaluation."
    )
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
    """``; did you mean <most similar candidate>?``, or an empty text if none is similar."""
    import difflib

    close = difflib.get_close_matches(word, list(candidates), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def read_keys(words: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The values of keys, for a command that composes no configuration.

    Raises:
        ConfigError: an argument is not ``key=value``, or its key is not among the defaults.
    """
    values = dict(defaults)
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or key not in defaults:
            allowed = ", ".join(f"{name}=" for name in defaults) or "no overrides"
            raise ConfigError(f"unknown '{word}'{nearest(key, defaults)}; allowed: {allowed}")
        values[key] = read_value(word)
    return values


def read_value(word: str) -> str:
    """The text in ``key=value``, parsed by the same grammar as composed configurations.

    Raises:
        ConfigError: it cannot be parsed, or is not a single text.
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
        raise ConfigError(f"'{word}': expected a single text value")
    return OmegaConf.create({"value": value})["value"]


def find_run(name: str, runs: Path) -> Path:
    """The folder of a run.

    Args:
        name: a path, or a prefix that matches exactly one folder in `runs`.
    """
    if Path(name).is_dir():
        return Path(name)
    found = [path for path in sorted(runs.glob(f"{name}*")) if path.is_dir()] if name else []
    if len(found) != 1:
        raise ConfigError(
            f"'{name}' is not a folder, and {len(found)} runs in {runs} have names that begin with it. "
            "`mtlbench list runs` shows them."
        )
    return found[0]
