"""Checkpoints: single files with a content hash, written atomically (to a temporary file that is then renamed).

If tables are sharded (`mtlbench.train.table_rows`), each rank writes its rows to a separate part file, and the
checkpoint lists the parts: it is replaced once all parts exist, and then the old parts are removed.

The last 40 bytes of a file are `MARK` and the SHA-256 of all preceding bytes. Verifying it takes one more read of the
file, about a second per gigabyte. Files of earlier versions have no hash and are verified by the CRC-32 of every record
in torch's zip format, which torch itself does not check.
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
"""Key in a checkpoint: the names of the part files with the rows of its tables."""


class CheckpointError(ValueError):
    """A checkpoint is damaged, or belongs to another run or model."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors, numbers, strings, lists, dicts and `TableRows`; must be called on all ranks.

    Raises:
        OSError: the write failed, for example on a full disk; an existing file at `path` is unchanged.
    """
    content, own_rows = separated(content)
    parts: list[str] = []
    if own_rows:
        token, ranks = on_first(lambda: secrets.token_hex(4)), rank_count()
        parts = [f"{path.stem}.{token}.{number}of{ranks}.pt" for number in range(ranks)]
        _write(path.with_name(parts[rank()]), {"identity": content["identity"], "rows": own_rows})
        wait()
    if is_first():
        _write(path, content | {PARTS: parts} if parts else content)
        for other in path.parent.glob(f"{path.stem}.*of*.pt"):
            if other.name not in parts:
                other.unlink()
    if own_rows:
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
        # torch's zip writer turns a full disk into a RuntimeError without an error number.
        number = error.errno if isinstance(error, OSError) and error.errno else errno.ENOSPC
        raise OSError(
            number,
            f"could not write the checkpoint ({error}); the previous one is unchanged. Free some "
            "space and run the same command again: it resumes from there",
            str(path),
        ) from error


def load(path: Path, *, identity: str) -> dict[str, Any]:
    """Read a checkpoint written by `save`, onto the CPU and without executing code from it.

    Rows of sharded tables are returned as `TableRows`, memory-mapped from the part files.

    Raises:
        CheckpointError: a file is missing, damaged (even by a single bit), or belongs to another run.
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
        if isinstance(error, pickle.UnpicklingError):  # torch's message recommends weights_only=False, which is unsafe
            reason = "its pickle holds other objects, or is cut off"
        raise CheckpointError(
            f"checkpoint {path} is damaged, or contains objects other than tensors and numbers: {reason}. "
            "Start over with run.fresh=true."
        ) from error
    stored_identity = content.get("identity") if isinstance(content, dict) else None
    if stored_identity != identity:
        raise CheckpointError(
            f"checkpoint {path} belongs to run {stored_identity!r}, not to {identity!r}. Move it away, or "
            "start over with run.fresh=true."
        )
    return content


class _Hashing:
    """A writable file that computes the SHA-256 of its content."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()


def _check_content(path: Path) -> None:
    """Verify the content by its hash or, in files of earlier versions, by the checksums of the zip format."""
    digest, chunk = hashlib.sha256(), 1 << 20
    with path.open("rb") as file:
        remaining = max(os.fstat(file.fileno()).st_size - TRAILER, 0)
        while remaining and (block := file.read(min(chunk, remaining))):
            digest.update(block)
            remaining -= len(block)
        trailer = file.read(TRAILER)
    if not trailer.startswith(MARK):
        with zipfile.ZipFile(path) as records:
            if (damaged := records.testzip()) is not None:
                raise ValueError(f"record {damaged} does not match its checksum")
    elif trailer != MARK + digest.digest():
        raise ValueError("its content does not match its hash")
