"""Checkpoints: one file each, written beside and renamed, so that a file that is there is whole; with a content hash.

The last 40 bytes of a file are `MARK` and the SHA-256 of all bytes before. Checking it reads the file once more, about
a second per gigabyte. Files without a hash, of earlier versions, are checked by the CRC-32 that torch's zip format
keeps of every record (torch itself never looks at it).
"""

import errno
import hashlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from mtlbench.distributed.job import first_only
from mtlbench.files import atomic

MARK = b"\nSHA256\n"
TRAILER = len(MARK) + hashlib.sha256().digest_size


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or that belongs to something else."""


@first_only
def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors, numbers, strings, lists and dicts.

    Raises:
        OSError: nothing could be written (a full disk, say); whatever stood at `path` before still does.
    """
    try:
        with atomic(path) as beside, beside.open("wb") as file:
            hashing = _Hashing(file)
            torch.save(content, hashing)  # pyright: ignore[reportArgumentType]
            file.write(MARK + hashing.digest.digest())
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
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
        CheckpointError: the file is damaged (a single bit is enough), or belongs to a run of another identity.
    """
    try:
        _check_content(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = (str(error) or "unexpected end").splitlines()[0]
        if isinstance(error, pickle.UnpicklingError):  # torch advises to load it all the same, with weights_only=False
            reason = "its pickle holds other objects, or is cut off"
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


class _Hashing:
    """A file to write to, with the SHA-256 of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()


def _check_content(path: Path) -> None:
    """Compare the content with its hash, or with the zip format's own checksums where an earlier version wrote it."""
    digest, chunk = hashlib.sha256(), 1 << 20
    with path.open("rb") as file:
        left = max(os.fstat(file.fileno()).st_size - TRAILER, 0)
        while left and (some := file.read(min(chunk, left))):
            digest.update(some)
            left -= len(some)
        trailer = file.read(TRAILER)
    if not trailer.startswith(MARK):
        with zipfile.ZipFile(path) as records:
            if (damaged := records.testzip()) is not None:
                raise ValueError(f"record {damaged} does not match its checksum")
    elif trailer != MARK + digest.digest():
        raise ValueError("its content does not match its hash")
