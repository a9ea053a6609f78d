"""A lock between processes whose file is gone once it is released."""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock


@contextmanager
def locked(path: Path, timeout: float = -1) -> Generator[None]:
    """Hold the lock of a file, made for this purpose and deleted afterwards.

    The file is deleted while the lock is held: a process that waits for it then gets the lock of a deleted file,
    notices that (filelock looks at the number of its links), and starts over with a new file. Deleted after its release
    it could already be the next holder's, and a third process would lock another one.

    Args:
        path: of the lock file.
        timeout: seconds to wait; -1 waits as long as it takes, 0 not at all.

    Raises:
        filelock.Timeout: another process holds the lock.
    """
    with FileLock(path, timeout=timeout):
        try:
            yield
        finally:
            with suppress(OSError):  # Windows deletes no open file; there filelock does it on release
                path.unlink(missing_ok=True)
