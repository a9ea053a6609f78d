"""File helpers: content hashes, and file names in operating-system errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path


@contextmanager
def writing(path: Path) -> Iterator[None]:
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


def checksum(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
