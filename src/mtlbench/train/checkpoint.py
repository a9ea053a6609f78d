"""Checkpoints: one file each, written beside and renamed, so that a file that is there is whole; with a content hash.

Where tables are sharded (`mtlbench.train.table_rows`), each rank writes its rows into a part, a file of its own, and
the checkpoint names the parts: it is replaced when all of them are there, and then the old parts are removed.

The last 40 bytes of a file are `MARK` and the SHA-256 of all bytes before. Checking it reads the file once more, about
a second per gigabyte. Files without a hash, of earlier versions, are checked by the CRC-32 that torch's zip format
keeps of every record (torch itself never looks at it).
"""

import errno
import hashlib
import os
import pickle
import secrets
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from mtlbench.distributed.job import is_first, rank, rank_count
from mtlbench.distributed.ranks import on_first, wait
from mtlbench.files import atomic
from mtlbench.train.table_rows import reassembled, separated

MARK = b"\nSHA256\n"
TRAILER = len(MARK) + hashlib.sha256().digest_size

PARTS = "parts_of_tables"
"""Key of a checkpoint with the names of the files that hold the rows of its tables."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or that belongs to something else."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors, numbers, strings, lists, dicts and `TableRows`; called on all ranks.

    Raises:
        OSError: nothing could be written (a full disk, say); whatever stood at `path` before still does.
    """
    content, own = separated(content)
    parts: list[str] = []
    if own:
        token, ranks = on_first(lambda: secrets.token_hex(4)), rank_count()
        parts = [f"{path.stem}.{token}.{number}of{ranks}.pt" for number in range(ranks)]
        _write(path.with_name(parts[rank()]), {"identity": content["identity"], "rows": own})
        wait()
    if is_first():
        _write(path, content | {PARTS: parts} if parts else content)
        for other in path.parent.glob(f"{path.stem}.*of*.pt"):
            if other.name not in parts:
                other.unlink()
    if own:
        wait()


def _write(path: Path, content: dict[str, Any]) -> None:
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

    Rows of sharded tables stay `TableRows`, in memory that is mapped from the files of the ranks that wrote them.

    Raises:
        CheckpointError: a file is missing, damaged (a single bit is enough), or belongs to a run of another identity.
    """
    content = _read(path, identity)
    if not (names := content.pop(PARTS, None)):
        return content
    parts = [path.with_name(name) for name in names]
    if missing := [part.name for part in parts if not part.exists()]:
        raise CheckpointError(
            f"checkpoint {path} has the rows of its tables in {len(parts)} files, of which {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Copy them there, or start over with run.fresh=true."
        )
    return reassembled(content, [_read(part, identity, mapped=True)["rows"] for part in parts])


def _read(path: Path, identity: str, *, mapped: bool = False) -> dict[str, Any]:
    try:
        _check_content(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
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
