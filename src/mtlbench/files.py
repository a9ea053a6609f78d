"""File helpers: atomic writes, file names in operating-system errors, content hashes."""

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Give an error that names no file the name of the one being written.

    The operating system knows the name where a file is opened, and not where a write to it fails: on a full disk, over
    a quota.

    Args:
        path: the file, or the folder whose files are written.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.strerror, error.filename = os.strerror(error.errno), str(path)
        raise


@contextmanager
def atomic(path: Path, *, alone: bool = True) -> Generator[Path]:
    """Write a file or a folder under a temporary name beside its own, which it gets when it is whole.

    Whatever fails, a reader sees what stood there before, and nothing is left behind; what a killed process left is
    replaced by the next one.

    Args:
        path: the file, or the folder.
        alone: whether no other process writes it at the same time; otherwise the temporary name holds a process id.

    Yields:
        The temporary path, at which there is nothing yet.

    Raises:
        FileExistsError: another process made a folder of that name meanwhile.
        IsADirectoryError: a file was written where a folder stands.
    """
    beside = path.with_name(f".{path.name}.part" if alone else f".{path.name}.{os.getpid()}.new")
    _remove(beside)
    try:
        with writing(path):
            yield beside
            try:
                beside.replace(path)
            except IsADirectoryError as error:
                said = "there is a folder of this name; name a file"
                raise IsADirectoryError(error.errno, said, str(path)) from error
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise FileExistsError(error.errno, "another process made this folder meanwhile", str(path)) from error
    finally:
        _remove(beside)


def write_beside(path: Path, content: bytes) -> None:
    """Replace a file whole or not at all: a reader, or a crash, sees the old content or the new one."""
    with atomic(path, alone=False) as beside, beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
