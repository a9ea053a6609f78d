"""Commands under torchrun: ``train`` is one run of all processes, and rank 0 prints; no other command takes part."""

import os
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from mtlbench.distributed.job import OtherRankError, launched, launched_rank
from mtlbench.experiment.errors import ConfigError

INSTEAD = {
    "tune": "Start it without torchrun: each of its trials is a run of one process",
    "reproduce": "Start it without torchrun: each of its runs is one process, and it finds those that torchrun has "
    "trained before",
}
"""What to do instead, by command."""


@contextmanager
def one_of_several(command: str) -> Generator[None]:
    """Join the processes that torchrun has started; nothing outside of torchrun.

    Raises:
        ConfigError: on rank 0, for a command that trains no single run.
        OtherRankError: on the others, as soon as one has failed and has printed why.
    """
    if not launched():
        yield
        return
    if command != "train":
        if launched_rank():
            raise OtherRankError
        what = INSTEAD.get(command, "Start it without torchrun")
        raise ConfigError(f"torchrun has started several processes of `mtlbench {command}`, which is one. {what}")
    from mtlbench.distributed.ranks import job_joined

    with job_joined(), _silent(launched_rank() > 0):
        yield


@contextmanager
def _silent(silent: bool) -> Generator[None]:
    """Keep what one of several processes prints, and warns of, off the terminal."""
    if not silent:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
