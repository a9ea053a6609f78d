"""Keys become row numbers of the right table, whatever the kind of key."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mtlbench.ingest.encode import ScratchColumns
from mtlbench.ingest.join import NOWHERE, point, table_keys, uses
from mtlbench.ingest.parse import Chunk
from mtlbench.ingest.protocol import KEY, LINE, RawError
from mtlbench.ingest.rejects import RejectLog

RAW = "raw.csv"


def spill(path: Path, part: str, first_row: int, name: str, keys: list) -> Chunk:
    batch = pa.record_batch({LINE: pa.array(range(len(keys)), pa.int64()), name: pa.array(keys)})
    with pa.ipc.new_file(str(path), batch.schema) as writer:
        writer.write_batch(batch)
    return Chunk(path, path.with_name(RAW), part, range(1), len(keys), first_row, first_line=100)


@pytest.mark.parametrize("kind", [int, str, lambda key: key - (1 << 62)])
def test_equals_a_plain_join(tmp_path: Path, kind) -> None:
    random = np.random.default_rng(0)
    tables = {part: [kind(int(key)) for key in random.permutation(50)[:30]] for part in ("train", "test")}
    wanted = {part: [tables[part][at] for at in random.integers(0, 30, 200)] for part in tables}
    users = [spill(tmp_path / f"u{p}", p, 30 * at, KEY, tables[p]) for at, p in enumerate(tables)]
    rows = [spill(tmp_path / f"r{p}", p, 200 * at, f"{KEY}:users", wanted[p]) for at, p in enumerate(tables)]
    facts, refusals = ScratchColumns(tmp_path), RejectLog(tmp_path / "q", "fail")
    point("users", table_keys("users", users, refusals), users, rows, facts, refusals)

    frame = pd.DataFrame({"part": np.repeat(["train", "test"], 30), "key": tables["train"] + tables["test"]})
    frame["number"] = np.arange(60)
    asked = pd.DataFrame({"part": np.repeat(["train", "test"], 200), "key": wanted["train"] + wanted["test"]})
    expected = asked.merge(frame, how="left", on=["part", "key"], sort=False)["number"]
    assert facts.map("pointer:users", np.int32).tolist() == expected.tolist()


@pytest.mark.parametrize("kind", [int, str])
def test_strangers_and_repeated_keys(tmp_path: Path, kind) -> None:
    (tmp_path / RAW).write_text("".join(f"line {number}\r\n" for number in range(1, 201)))
    users = [spill(tmp_path / "u", "train", 0, KEY, [kind(key) for key in (5, 3, 5, 7)])]
    rows = [spill(tmp_path / "r", "train", 0, f"{KEY}:users", [kind(key) for key in (7, 4, 5)])]
    facts, refusals = ScratchColumns(tmp_path), RejectLog(tmp_path / "q", "quarantine")
    point("users", table_keys("users", users, refusals), users, rows, facts, refusals)
    assert facts.map("pointer:users", np.int32).tolist() == [3, NOWHERE, 0], "the first of two with one key"
    assert refusals.counts == {tmp_path / RAW: 2}
    assert [json.loads(line)["text"] for line in (tmp_path / "q").read_text().splitlines()] == ["line 103", "line 102"]
    with pytest.raises(RawError, match=r"line 103: an earlier line has the same key\. The line reads 'line 103'"):
        table_keys("users", users, RejectLog(tmp_path / "q", "fail"))


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_refused_lines_are_fetched_from_their_file(tmp_path: Path, name: str) -> None:
    """Whatever the order of calls and files; a last line without a newline too."""
    text = b"\n".join(b"%d of a" % number for number in range(10))
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    (tmp_path / "b.txt").write_bytes(text.replace(b"a", b"b"))
    refusals = RejectLog(tmp_path / "q", "quarantine")
    for source, lines in ((name, [0, 3]), (name, [4, 9]), ("b.txt", [5]), (name, []), (name, [6]), (name, [2])):
        refusals.add_lines(tmp_path / source, lines, "no reason")
    entries = [json.loads(line) for line in (tmp_path / "q").read_text().splitlines()]
    assert [entry["text"] for entry in entries] == [
        "0 of a",
        "3 of a",
        "4 of a",
        "9 of a",
        "5 of b",
        "6 of a",
        "2 of a",
    ]
    assert [entry["line"] for entry in entries] == [1, 4, 5, 10, 6, 7, 3]


def test_uses() -> None:
    pointer = np.array([2, 0, 2, 2, 1], np.int32)
    assert uses(pointer, np.array([True, True, False, True, False]), rows=4).tolist() == [1, 0, 2, 0]
