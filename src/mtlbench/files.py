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
    """Add the name of the file being written to an OSError without one.

    Errors of the operating system have the name if opening a file fails, but not if a write fails, for example on a
    full disk.

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
    """Write a file or a folder atomically, under a temporary name beside it that is renamed at the end.

    On failure, readers see the previous content, and nothing is left behind; the remains of a killed process are
    replaced by the next one.

    Args:
        path: the file, or the folder.
        alone: whether no other process writes it at the same time; otherwise the temporary name has a process id.

    Yields:
        The temporary path, which does not exist yet.

    Raises:
        FileExistsError: another process created the folder meanwhile.
        IsADirectoryError: a file was written, but a folder of that name exists.
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
                raise FileExistsError(error.errno, "another process created this folder", str(path)) from error
    finally:
        _remove(beside)


def write_beside(path: Path, content: bytes) -> None:
    """Replace a file atomically: after a crash, it has either the old or the new content."""
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
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
