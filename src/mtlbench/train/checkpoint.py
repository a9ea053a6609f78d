"""Checkpoints: one file each, written beside and renamed, so that a file that is there is whole."""

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or that belongs to something else."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors, numbers, strings, lists and dicts.

    Raises:
        OSError: nothing could be written (a full disk, say); whatever stood at `path` before still does.
    """
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, RuntimeError) as error:
        beside.unlink(missing_ok=True)
        # torch's zip writer turns a full disk into a RuntimeError without a number.
        number = error.errno if isinstance(error, OSError) and error.errno else errno.ENOSPC
        raise OSError(
            number,
            f"could not write the checkpoint ({error}); what stood there before is untouched. Free some "
            "space and run the same command again: it goes on from there",
            str(path),
        ) from error


def load(path: Path, *, identity: str) -> dict[str, Any]:
    """Read a checkpoint that `save` wrote, on the CPU and without running any code from it.

    Raises:
        CheckpointError: the file is damaged, or belongs to a run of another identity.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
        reason = (str(error) or "unexpected end").splitlines()[0]
        raise CheckpointError(
            f"checkpoint {path} is damaged, or holds more than tensors and numbers: {reason}. "
            "Start over with run.fresh=true."
        ) from error
    found = content.get("identity") if isinstance(content, dict) else None
    if found != identity:
        raise CheckpointError(
            f"checkpoint {path} belongs to run {found!r}, not to {identity!r}. Move it away, or "
            "start over with run.fresh=true."
        )
    return content
