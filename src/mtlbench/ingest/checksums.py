"""Presence and checksums of raw files."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter
from tqdm import tqdm

from mtlbench.files import write_beside
from mtlbench.ingest.protocol import RawDataset, RawError, RawFile

READ_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checksum:
    """A cached checksum, with the size and modification time of its file."""

    bytes: int
    modified: int
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


_Cache = TypeAdapter(dict[str, _Checksum])


def find_files(dataset: RawDataset, folder: Path) -> list[Path]:
    """Path of every raw file, in the order of ``dataset.files``.

    Raises:
        RawError: files are missing or empty; the message lists all of them and where to get them.
    """
    found = [(file, file.find(folder)) for file in dataset.files]
    if absent := [" or ".join((file.name, *file.other_names)) for file, path in found if path is None]:
        raise RawError(f"data set '{dataset.name}': missing or empty in {folder}: {', '.join(absent)}. {dataset.where}")
    return [path for _, path in found if path is not None]


def raw_identity(files: Sequence[RawFile], folder: Path, cache: Path) -> dict[str, str]:
    """SHA-256 of each raw file, hexadecimal, by the file's first name.

    Args:
        files: present files of a data set.
        folder: the raw folder.
        cache: JSON file that caches checksums by path, size and modification time.

    Raises:
        RawError: a file is missing.
    """
    known = _load(cache)
    identity: dict[str, str] = {}
    for file in files:
        path = file.find(folder)
        if path is None:
            raise RawError(f"{folder / file.name} is missing or empty")
        facts = path.stat()
        entry = known.get(str(path.resolve()))
        if entry is None or (entry.bytes, entry.modified) != (facts.st_size, facts.st_mtime_ns):
            entry = _Checksum(bytes=facts.st_size, modified=facts.st_mtime_ns, sha256=_hash(path, facts.st_size))
            known[str(path.resolve())] = entry
            _save(cache, known)
        identity[file.name] = entry.sha256
    return identity


def _hash(path: Path, size: int) -> str:
    digest = sha256()
    with (
        path.open("rb") as file,
        tqdm(
            total=size, desc=f"checksum of {path.name}", unit="B", unit_scale=True, disable=None, delay=2, leave=False
        ) as progress,
    ):
        while block := file.read(READ_BYTES):
            digest.update(block)
            progress.update(len(block))
    return digest.hexdigest()


def _load(cache: Path) -> dict[str, _Checksum]:
    if not cache.is_file():
        return {}
    try:
        return _Cache.validate_json(cache.read_bytes())
    except ValueError:
        return {}  # an unreadable cache only costs time


def _save(cache: Path, known: dict[str, _Checksum]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_beside(cache, _Cache.dump_json(dict(sorted(known.items())), indent=1))
