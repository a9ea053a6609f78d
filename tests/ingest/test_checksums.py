"""Raw identity: checksums, remembered while size and time of modification stay."""

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from mtlbench.data.layout import ROWS
from mtlbench.ingest import checksums as identity
from mtlbench.ingest.checksums import raw_identity
from mtlbench.ingest.protocol import RawError, RawFile

FILES = (RawFile(name="a.gz", other_names=("a",), table=ROWS, part="train"), RawFile(name="b", table=ROWS, part="test"))


def test_checksums_are_cached_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"second")
    wanted = {"a.gz": sha256(b"first").hexdigest(), "b": sha256(b"second").hexdigest()}
    cache = tmp_path / "data" / "checksums.json"
    assert raw_identity(FILES, tmp_path, cache) == wanted
    assert len(json.loads(cache.read_text())) == 2

    hashed: list[str] = []
    plain = identity._hash
    monkeypatch.setattr(identity, "_hash", lambda path, size: hashed.append(path.name) or plain(path, size))
    assert raw_identity(FILES, tmp_path, cache) == wanted
    assert hashed == []
    (tmp_path / "b").write_bytes(b"sekond")
    os.utime(tmp_path / "b", ns=(0, 1))
    assert raw_identity(FILES, tmp_path, cache)["b"] == sha256(b"sekond").hexdigest()
    assert hashed == ["b"]


@pytest.mark.parametrize(
    "damaged",
    [
        "no json", "[1]", "null", '"text"', "[" * 100_000, b"\xff\xfe",
        '{"%s": "text"}', '{"%s": {"bytes": 5}}', '{"%s": {"bytes": 5, "modified": %d, "sha256": "0"}}',
    ],
)  # fmt: skip
def test_a_damaged_cache_costs_time_and_nothing_else(tmp_path: Path, damaged: str | bytes) -> None:
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"second")
    cache, path = tmp_path / "checksums.json", (tmp_path / "a").resolve()
    if isinstance(damaged, str) and "%d" in damaged:
        damaged %= (path, path.stat().st_mtime_ns)
    elif isinstance(damaged, str) and "%s" in damaged:
        damaged %= path
    cache.write_bytes(damaged.encode() if isinstance(damaged, str) else damaged)
    wanted = {"a.gz": sha256(b"first").hexdigest(), "b": sha256(b"second").hexdigest()}
    assert raw_identity(FILES, tmp_path, cache) == wanted
    assert raw_identity(FILES, tmp_path, cache) == wanted


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RawError, match=r"a\.gz is missing or empty"):
        raw_identity(FILES, tmp_path, tmp_path / "cache.json")
