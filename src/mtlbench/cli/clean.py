"""``mtlbench clean``: removes unfinished runs, or the runs that are named."""

import shutil
import sys
from collections.abc import Collection
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from filelock import Timeout

from mtlbench.cli import arguments
from mtlbench.cli.complete import complete_run
from mtlbench.experiment.errors import ConfigError
from mtlbench.locking import locked

if TYPE_CHECKING:
    from mtlbench.tracking.folder import State


@click.command(cls=arguments.Command)
@click.argument("words", nargs=-1, metavar="[RUN]... [KEY=VALUE]...", shell_complete=complete_run)
@click.option("-y", "--yes", is_flag=True, help="Remove without asking.")
def command(words: tuple[str, ...], yes: bool) -> None:
    """Remove unfinished runs, or the runs that are named.

    Without names, it lists the runs that failed or were interrupted, and asks before removing them, since the command
    that started them could still resume them. A finished run is removed only by name; a run that is being trained is
    never removed. Copies in MLflow are kept.

    \b
    Examples:
      mtlbench clean
      mtlbench clean 3f2a 91cc --yes run.folder=/data/runs
    """
    runs = Path(arguments.read_keys([w for w in words if "=" in w], arguments.RUNS)["run.folder"])
    names = [word for word in words if "=" not in word]
    found = _named(names, runs) if names else _unfinished(runs)
    with ExitStack() as held:
        chosen = {folder: state for folder, state in found.items() if _take_lock(folder, held, refuse=bool(names))}
        if not names:
            _drop_locks(runs, chosen)
        if not chosen:
            print(f"nothing to remove in {runs}")
            return
        print("".join(f"  {folder}  {state}\n" for folder, state in chosen.items()), end="")
        if not yes and not _agreed():
            print("nothing was removed")
            return
        for folder in chosen:
            shutil.rmtree(folder)
    print(f"removed: {len(chosen)} run{'s' * (len(chosen) > 1)}")


def _agreed() -> bool:
    """Whether the user confirms at the terminal.

    Raises:
        ConfigError: no terminal can answer.
    """
    try:
        return click.confirm("Remove?")
    except click.Abort as error:
        raise ConfigError("no terminal to confirm on, so nothing was removed; --yes removes without asking") from error


def _named(names: list[str], runs: Path) -> "dict[Path, State | str]":
    from mtlbench.tracking.folder import FILES

    found: dict[Path, State | str] = {}
    for name in names:
        folder = arguments.find_run(name, runs)
        if not any((folder / file).exists() for file in FILES):
            raise ConfigError(f"{folder} holds no run, so nothing was removed")
        found[folder] = _state(folder)
    if running := [folder.name for folder, state in found.items() if state == "running"]:
        raise ConfigError(f"{', '.join(running)}: being trained. Stop it first; nothing was removed")
    return found


def _unfinished(runs: Path) -> "dict[Path, State | str]":
    """Runs that failed or were interrupted. A run with a damaged status may have finished, so it must be named."""
    from mtlbench.tracking.folder import run_folders

    states = {folder: _state(folder) for folder in run_folders(runs)}
    for folder, state in states.items():
        if state in ("running", "damaged"):
            print(f"kept: {folder} is {state}", file=sys.stderr)
    return {folder: state for folder, state in states.items() if state in ("failed", "interrupted")}


def _state(folder: Path) -> "State | str":
    from mtlbench.tracking.files import DamagedFileError
    from mtlbench.tracking.folder import read_status

    try:
        return read_status(folder).state
    except DamagedFileError:
        return "damaged"


def _take_lock(folder: Path, held: ExitStack, *, refuse: bool) -> bool:
    """Hold a run's lock until the end of the command; returns whether it was free.

    Raises:
        ConfigError: another process holds it, and `refuse` is set.
    """
    try:
        held.enter_context(locked(folder.with_name(folder.name + ".lock"), timeout=0))
    except Timeout:
        if refuse:
            raise ConfigError(f"{folder.name}: being trained. Stop it first; nothing was removed") from None
        print(f"kept: {folder} is being trained", file=sys.stderr)
        return False
    return True


def _drop_locks(runs: Path, chosen: Collection[Path]) -> None:
    """Remove the lock files of killed processes: taking and releasing a free lock deletes it."""
    for path in sorted(runs.glob("*.lock")):
        if path.with_suffix("") not in chosen:
            with suppress(Timeout), locked(path, timeout=0):
                pass
