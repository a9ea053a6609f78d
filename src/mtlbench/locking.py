"""A lock between processes whose file is deleted on release."""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock


@contextmanager
def locked(path: Path, timeout: float = -1) -> Generator[None]:
    """Hold the lock of a file, which is created for this purpose and deleted afterwards.

    The file is deleted while the lock is held: a process that waits for it then gets the lock of a deleted file,
    detects this (filelock checks the number of links), and tries again with a new file. If the file were deleted after
    the release, it could already belong to the next holder, and a third process would lock another file.

    Args:
        path: path of the lock file.
        timeout: seconds to wait; -1 waits without limit, 0 does not wait.

    Raises:
        filelock.Timeout: another process holds the lock.
    """
    with FileLock(path, timeout=timeout):
        try:
            yield
        finally:
            with suppress(OSError):  # Windows does not delete open files; there filelock deletes it on release
                path.unlink(missing_ok=True)
