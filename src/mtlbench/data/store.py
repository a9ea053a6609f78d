"""A prepared store on disk: manifest, schema, splits, content hashes."""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from mtlbench.checks import one_of
from mtlbench.data.layout import SPLITS
from mtlbench.data.subset import Subset
from mtlbench.data.vocabulary import Vocabulary
from mtlbench.files import atomic, checksum
from mtlbench.locking import locked
from mtlbench.schema import Schema

if TYPE_CHECKING:
    from mtlbench.data.loader import Rows

FORMAT = 2
"""Version of the store format; increased by incompatible changes."""

MANIFEST = "manifest.json"
SEAL = "sha256"
"""Key in a manifest of the content hash of all other entries; absent in stores of earlier versions."""

_hashes: dict[tuple[Path, int, int], str] = {}
"""SHA-256 of the files that this process has read, by `_state`."""

ENTRIES = ("dataset", "origin", "schema", "schema_fingerprint", "splits", "fields", "raw", "files")
"""Required keys of a manifest."""


class StoreError(ValueError):
    """A store does not match its manifest; the message has the file, the value found, and the remedy."""


@dataclass(frozen=True)
class Store:
    """A prepared data set.

    Attributes:
        folder: folder of the store.
        manifest: parsed manifest.json; see `ingest.prepare`.
        subset: the tasks and fields to read; ``None`` for all.
    """

    folder: Path
    manifest: dict[str, Any]
    subset: Subset | None = None

    @cached_property
    def schema(self) -> Schema:
        """Schema of the tasks and fields to read."""
        return self._whole if self.subset is None else self.subset.of(self._whole)

    @cached_property
    def _whole(self) -> Schema:
        return Schema.from_dict(self.manifest["schema"])

    @property
    def origin(self) -> str:
        """``real`` or ``simulated``."""
        return self.manifest["origin"]

    def split(self, name: str) -> "Rows":
        """The rows of ``train``, ``valid`` or ``test``, memory-mapped."""
        # The loader imports torch, two seconds that planning and preparing do not need.
        from mtlbench.data.loader import read_rows
        from mtlbench.data.subset_rows import select_subset

        one_of("split", name, SPLITS)
        rows = read_rows(
            self._whole,
            self.folder / "rows" / f"{name}.arrow",
            {table: self.folder / "tables" / f"{table}.arrow" for table in self._whole.tables},
        )
        return rows if self.subset is None else select_subset(rows, self.schema)

    def keys(self, name: str) -> pa.Table | None:
        """The key columns of the rows of a split, in row order; ``None`` if the data set has no key."""
        one_of("split", name, SPLITS)
        return pq.read_table(key_path(self.folder, name)) if "key" in self.manifest else None

    def vocabulary(self, name: str) -> Vocabulary:
        """The vocabulary ``name``, which maps the ids of its fields to values."""
        return Vocabulary.load(self.folder / "vocabulary" / f"{name}.parquet")

    def verify(self) -> Self:
        """Verify the content hash of every file against the manifest; returns the store itself.

        A file is read once per process, unless its size or modification time changes; the files of a store that this
        process has made were read for its manifest.

        Raises:
            StoreError: a file differs or cannot be read.
        """
        files: Mapping[str, Mapping[str, Any]] = self.manifest["files"]
        title = f"content hashes of {self.folder.name}"
        for name, facts in tqdm(files.items(), desc=title, disable=None, delay=2, leave=False):
            if (found := self._hash(name)) != facts["sha256"]:
                raise StoreError(
                    f"{self.folder / name} is damaged: sha256 is {found}, {MANIFEST} says {facts['sha256']}. "
                    + advice(self.folder, self.manifest)
                )
        return self

    def _hash(self, name: str) -> str:
        path = self.folder / name
        try:
            key = _state(path)
            if key not in _hashes:
                _hashes[key] = checksum(path)
            return _hashes[key]
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}. " + advice(self.folder, self.manifest)) from error


def key_path(store: Path, split: str) -> Path:
    """File of the row keys of a split."""
    return store / "keys" / f"{split}.parquet"


def open_store(folder: Path) -> Store:
    """Open a store, checking its manifest and the presence and size of its files.

    The content of files is verified by `Store.verify`, which must be called before computing with it.

    Raises:
        StoreError: the store does not exist, has another format version, or does not match its manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise StoreError(f"{folder} holds no {MANIFEST}, so it is not a prepared data set. " + advice(folder, {}))
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path} is not JSON ({error}). " + advice(folder, {})) from error
    if not isinstance(manifest, dict):
        raise StoreError(f"{path} holds {type(manifest).__name__}, not the entries of a store. " + advice(folder, {}))
    for problem in _problems(folder, manifest):
        raise StoreError(f"{folder}: {problem}. " + advice(folder, manifest))
    return Store(folder, manifest)


def _problems(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    if manifest.get("format") != FORMAT:
        yield f"store format is {manifest.get('format')}, this version reads {FORMAT}"
        return
    if SEAL in manifest and manifest[SEAL] != (found := _seal(manifest)):
        yield f"{MANIFEST} is damaged: the sha256 of its entries is {found}, it says {manifest[SEAL]}"
    if absent := [name for name in ENTRIES if name not in manifest]:
        yield f"{MANIFEST} is damaged: it has no entry {', '.join(absent)}"
    for name, facts in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            yield f"{name} is missing"
        elif (size := file.stat().st_size) != facts["bytes"]:
            yield f"{name} has {size} bytes, {MANIFEST} says {facts['bytes']}"
    fingerprint = Schema.from_dict(manifest["schema"]).fingerprint
    if fingerprint != manifest["schema_fingerprint"]:
        yield f"the schema's fingerprint is {fingerprint}, {MANIFEST} says {manifest['schema_fingerprint']}"


@contextmanager
def made_once(store: Path, dataset: str) -> Generator[Path | None]:
    """Context manager for creating a store atomically, in a temporary folder that is renamed at the end.

    If several processes create the same store, one works and the others wait for it.

    Yields:
        The temporary folder; ``None`` if the store already exists.

    Raises:
        StoreError: ``store`` exists but is not a store.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    with locked(store.with_name(f".{store.name}.lock")):
        if (store / MANIFEST).is_file():
            yield None
            return
        if store.exists():
            raise StoreError(f"{store} exists and is no prepared data set. " + advice(store, {"dataset": dataset}))
        with atomic(store) as folder:
            folder.mkdir()
            yield folder
        manifest = json.loads((store / MANIFEST).read_text(encoding="utf-8"))
        _hashes.update({_state(store / name): facts["sha256"] for name, facts in manifest["files"].items()})


def write_manifest(folder: Path, entries: Mapping[str, Any]) -> None:
    """Write the manifest of a store, with its own content hash."""
    text = json.dumps({**entries, SEAL: _seal(entries)}, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _seal(entries: Mapping[str, Any]) -> str:
    """SHA-256 of the entries of a manifest as canonical JSON."""
    sealed = {name: value for name, value in entries.items() if name != SEAL}
    return sha256(json.dumps(json.loads(json.dumps(sealed)), sort_keys=True).encode()).hexdigest()


def _state(path: Path) -> tuple[Path, int, int]:
    """Absolute path, size in bytes, and modification time of a file."""
    facts = path.stat()
    return path.absolute(), facts.st_size, facts.st_mtime_ns


def advice(folder: Path, manifest: dict[str, Any]) -> str:
    """The remedy for an unusable store, for messages."""
    name = manifest.get("dataset", folder.parent.name)
    return f"Remove the folder {folder} and run 'mtlbench prepare dataset={name}'"
