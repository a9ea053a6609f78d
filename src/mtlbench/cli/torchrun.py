"""Commands under torchrun: ``train`` is one run of all processes, with output from rank 0; others are rejected."""

import os
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from mtlbench.distributed.job import OtherRankError, launched, launched_rank
from mtlbench.experiment.errors import ConfigError

INSTEAD = {
    "tune": "Start it without torchrun: each of its trials is a run of one process",
    "reproduce": "Start it without torchrun: each of its runs is one process, and it reuses runs that torchrun has "
    "trained",
}
"""What to do instead, by command."""


@contextmanager
def torchrun_job(command: str) -> Generator[None]:
    """Join the process group of torchrun; does nothing without torchrun.

    Raises:
        ConfigError: on rank 0, for a command other than ``train``.
        OtherRankError: on the other ranks, once one has failed and printed why.
    """
    if not launched():
        yield
        return
    if command != "train":
        if launched_rank():
            raise OtherRankError
        what = INSTEAD.get(command, "Start it without torchrun")
        raise ConfigError(
            f"torchrun started several processes of `mtlbench {command}`, which runs as a single process. {what}"
        )
    from mtlbench.distributed.ranks import job_joined

    with job_joined(), _silent(launched_rank() > 0):
        yield


@contextmanager
def _silent(silent: bool) -> Generator[None]:
    """Suppress the output and warnings of a rank other than 0."""
    if not silent:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
