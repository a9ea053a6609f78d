"""Prepared data set on disk: manifest, schema, splits, content hashes."""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
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
"""Store format; incremented whenever stores of an earlier version can no longer be read."""

MANIFEST = "manifest.json"
SEAL = "sha256"
"""Entry of a manifest: content hash of all its other entries. Stores of earlier versions have none."""

ENTRIES = ("dataset", "origin", "schema", "schema_fingerprint", "splits", "fields", "raw", "files")
"""What a manifest must have to be read."""


class StoreError(ValueError):
    """A store that is not what its manifest says: which file, what was found, what to run."""


@dataclass(frozen=True)
class Store:
    """A prepared data set.

    Attributes:
        folder: where it lies.
        manifest: parsed manifest.json; see `ingest.prepare`.
        subset: the tasks and fields that are read; ``None``: all of them.
    """

    folder: Path
    manifest: dict[str, Any]
    subset: Subset | None = None

    @cached_property
    def schema(self) -> Schema:
        """Of what is read."""
        return self._whole if self.subset is None else self.subset.of(self._whole)

    @cached_property
    def _whole(self) -> Schema:
        return Schema.from_dict(self.manifest["schema"])

    @property
    def origin(self) -> str:
        """``real`` or ``simulated``."""
        return self.manifest["origin"]

    def split(self, name: str) -> "Rows":
        """The rows of ``train``, ``valid`` or ``test``, mapped."""
        # They import torch: two seconds that plans of runs and preparing do not need.
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
        """The columns that identify the rows of a split, in their order; ``None`` if the data set has no key."""
        one_of("split", name, SPLITS)
        return pq.read_table(key_path(self.folder, name)) if "key" in self.manifest else None

    def vocabulary(self, name: str) -> Vocabulary:
        """The values behind the ids of the fields that use the vocabulary ``name``."""
        return Vocabulary.load(self.folder / "vocabulary" / f"{name}.parquet")

    def verify(self) -> Self:
        """Compare the content hash of every file with the manifest; gives the store itself.

        A file is read once per process, as long as its size and time of modification stay what they are.

        Raises:
            StoreError: a file that differs, or cannot be read.
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
            facts = path.stat()
            return _content_hash(path.absolute(), facts.st_size, facts.st_mtime_ns)
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}. " + advice(self.folder, self.manifest)) from error


def key_path(store: Path, split: str) -> Path:
    """File of the columns that identify the rows of a split."""
    return store / "keys" / f"{split}.parquet"


def open_store(folder: Path) -> Store:
    """Open a prepared data set after checking its manifest, and the presence and size of its files.

    Their content is checked by `Store.verify`: before anything is computed with it, not to list what there is.

    Raises:
        StoreError: no store there, one of another format version, or one that its manifest does not describe.
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
    """A folder to make a store in, which gets the store's name when it is whole; nothing is left if that fails.

    Of several processes that make one store, one works and the others wait for it.

    Yields:
        The folder; ``None`` where the store is there already.

    Raises:
        StoreError: there is something at ``store`` that is no store.
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


def write_manifest(folder: Path, entries: Mapping[str, Any]) -> None:
    """Write the manifest of a store, with a content hash of its own."""
    text = json.dumps({**entries, SEAL: _seal(entries)}, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _seal(entries: Mapping[str, Any]) -> str:
    """sha256 of the entries of a manifest as canonical JSON."""
    others = {name: value for name, value in entries.items() if name != SEAL}
    return sha256(json.dumps(json.loads(json.dumps(others)), sort_keys=True).encode()).hexdigest()


@cache
def _content_hash(path: Path, size: int, modified: int) -> str:
    """sha256 of a file that has not changed since the last call, judged by its size and time of modification."""
    return checksum(path)


def advice(folder: Path, manifest: dict[str, Any]) -> str:
    """What to do about a store that cannot be used."""
    name = manifest.get("dataset", folder.parent.name)
    return f"Remove the folder {folder} and run 'mtlbench prepare dataset={name}'"
