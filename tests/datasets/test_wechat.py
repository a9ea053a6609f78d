"""The WeChat reader: what it accepts and refuses, an independent reading of the same bytes, and what a store holds."""

import math
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damage import damaged
from mtlbench.data.split import by_time
from mtlbench.data.store import Store
from mtlbench.datasets.wechat.dataset import DUPLICATE, WeChat
from mtlbench.datasets.wechat.layout import EMBEDDING, FEED, POSITIVES
from mtlbench.ingest import lines, parse
from mtlbench.ingest.csv import HEADER
from mtlbench.ingest.parse import cut_file
from mtlbench.ingest.prepare import Provenance, prepare
from mtlbench.ingest.protocol import LINE, ROWS, Block, RawError, RawFile

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "wechat"
DATASET = WeChat()

ACTIONS = (
    b"userid,feedid,date_,device,read_comment,comment,like,play,stay,click_avatar,forward,follow,favorite\n"
    b"3,0,1,1,0,1,1,1250,7000,0,0,0,0\n"
    b"3,17,1,2,1,0,0,0,312,1,0,0,1\n"
    b"250236,112871,14,1,0,0,0,250,4698,0,1,0,0\n"
)
FEEDS = (
    b"feedid,authorid,videoplayseconds,description,ocr,asr,bgm_song_id,bgm_singer_id,manual_keyword_list,"
    b"machine_keyword_list,manual_tag_list,machine_tag_list,description_char,ocr_char,asr_char\n"
    b"0,0,60,12 7 12,,5,4,903,7;11;7,88,13;45;159;6,13 0.71;8 1.2e-07;306 0.0;10 0.25,9 9,,3\n"
    b"17,5,9,,,,,,,,,,,,\n"
    b"112871,18788,38,1,2,3,0,0,,3;4,6,267 1;9 5e-1,4,5,6\n"
)
VECTORS = [[round(((feed + 3) * (at - 250) % 997 - 500) / 7000, 8) for at in range(512)] for feed in range(3)]
EMBEDDINGS = b"feedid,feed_embedding\n" + b"".join(
    f"{feed},{' '.join(f'{value:.8f}' for value in vector)} \n".encode()
    for feed, vector in zip((17, 0, 112871), VECTORS, strict=True)
)
NAMES = {ROWS: "user_action.csv", FEED: "feed_info.csv", EMBEDDING: "feed_embeddings.csv"}
GOOD = {ROWS: ACTIONS, FEED: FEEDS, EMBEDDING: EMBEDDINGS}


def file_of(table: str, dataset: WeChat = DATASET) -> RawFile:
    return next(file for file in dataset.files if file.table == table)


def read(folder: Path, table: str, content: bytes, dataset: WeChat = DATASET) -> list[Block]:
    path = folder / NAMES[table]
    path.write_bytes(content)
    return [block for shard in cut_file(path, file_of(table, dataset)) for block in dataset.read(shard)]


def rows(blocks: list[Block]) -> list[dict[str, Any]]:
    return [row for block in blocks for row in block.columns.to_pylist()]


def refused(blocks: list[Block]) -> dict[int, str]:
    return {bad.line: bad.reason for block in blocks for bad in block.rejected}


class TestGoodFiles:
    def test_an_action(self, tmp_path: Path) -> None:
        first, second, third = rows(read(tmp_path, ROWS, ACTIONS))
        assert first == {
            LINE: 1, "key:feed": 0, "key:feed_embedding": 0, "userid": 3, "feedid": 0, "device": 1,
            "group": 3, "time": 1, "read_comment": 0, "like": 1, "click_avatar": 0,
        }  # fmt: skip
        assert (second["read_comment"], second["like"], second["click_avatar"], second["device"]) == (1, 0, 1, 2)
        assert (third["group"], third["key:feed"], third["time"], third[LINE]) == (250236, 112871, 14, 3)

    def test_a_feed(self, tmp_path: Path) -> None:
        first, second, third = rows(read(tmp_path, FEED, FEEDS))
        assert first == {
            LINE: 1, "key": 0, "authorid": 0, "bgm_song_id": 4, "bgm_singer_id": 903,
            "manual_keyword_list": [7, 11, 7], "machine_keyword_list": [88], "manual_tag_list": [13, 45, 159, 6],
            "machine_tag_list": [13, 8, 306, 10],
            "machine_tag_list:weight": [np.float32(x) for x in (0.71, 1.2e-07, 0, 0.25)],
            "videoplayseconds": 60.0,
        }  # fmt: skip
        assert second == {
            LINE: 2, "key": 17, "authorid": 5, "bgm_song_id": None, "bgm_singer_id": None,
            "manual_keyword_list": [], "machine_keyword_list": [], "manual_tag_list": [], "machine_tag_list": [],
            "machine_tag_list:weight": [], "videoplayseconds": 9.0,
        }  # fmt: skip
        assert (third["bgm_song_id"], third["machine_tag_list:weight"]) == (0, [1.0, 0.5])

    def test_an_embedding_with_and_without_the_space_at_its_end(self, tmp_path: Path) -> None:
        for content in (EMBEDDINGS, EMBEDDINGS.replace(b" \n", b"\n"), EMBEDDINGS.replace(b" \n", b"\n", 1)):
            found = rows(read(tmp_path, EMBEDDING, content))
            assert [row["key"] for row in found] == [17, 0, 112871]
            assert np.array_equal([row[EMBEDDING] for row in found], np.float32(VECTORS))

    def test_columns_are_found_by_name(self, tmp_path: Path) -> None:
        expected = rows(read(tmp_path, ROWS, ACTIONS))
        shuffled = [[*line.split(b",")[::-1], b"new"] for line in ACTIONS.split(b"\n")[:-1]]
        assert rows(read(tmp_path, ROWS, b"".join(b",".join(line) + b"\n" for line in shuffled))) == expected
        without_texts = [line.split(b",")[:3] + line.split(b",")[6:12] for line in FEEDS.split(b"\n")[:-1]]
        short = b"".join(b",".join(line) + b"\n" for line in without_texts)
        assert rows(read(tmp_path, FEED, short)) == rows(read(tmp_path, FEED, FEEDS))

    def test_the_header_is_a_line_that_is_no_row(self, tmp_path: Path) -> None:
        header, block = read(tmp_path, ROWS, ACTIONS)
        assert (header.lines, header.dropped, header.columns.num_rows) == (1, {HEADER: 1}, 0)
        assert (block.lines, block.dropped, block.columns.schema) == (3, {}, header.columns.schema)

    def test_tasks_are_the_actions_asked_for_and_nothing_after_the_fact_is_an_input(self) -> None:
        assert [task.name for task in DATASET.tasks] == ["read_comment", "like", "click_avatar"]
        every = WeChat(actions=tuple(POSITIVES))
        assert not {"play", "stay", *POSITIVES} & {field.name for field in every.fields}
        assert len(every.fields) == 12
        plain = WeChat(embedding=False)
        assert [file.name for file in plain.files] == ["user_action.csv", "feed_info.csv"]
        assert EMBEDDING not in {field.name for field in plain.fields}

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            (
                {"actions": ("like", "play")},
                r"dataset.tasks is \['like', 'play'\]; allowed: one or more of read",
            ),
            ({"actions": ()}, r"tasks is \[\]; allowed"),
            ({"actions": ("like", "like")}, "each once"),
            ({"duplicates": "first"}, "duplicates is 'first'; allowed: keep, last"),
            ({"tag_width": 1}, "tag_width is 1; allowed: 2 or more"),
        ],
    )
    def test_choices_are_checked(self, keys: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            WeChat(**keys)

    def test_where_names_the_key_that_does_without_the_files(self) -> None:
        assert "set dataset.source=simulated" in DATASET.where


class TestRefusals:
    @pytest.mark.parametrize(
        ("table", "old", "new", "reason"),
        [
            (ROWS, b"3,17,1,2,", b"3,17,1,", "12 comma-separated columns; there must be 13"),
            (ROWS, b"3,17,1,2,", b"3,17,1,2,0,", "14 comma-separated columns"),
            (ROWS, b"3,17,1,2,1,0,0,0,312,1,0,0,1", b"", "1 comma-separated columns"),
            (ROWS, b"3,17,1,2,", b"-3,17,1,2,", "userid is '-3'; expected digits"),
            (ROWS, b"3,17,1,2,", b",17,1,2,", "userid is ''"),
            (ROWS, b"3,17,1,2,", b"3,17.0,1,2,", "feedid is '17.0'"),
            (ROWS, b"3,17,1,2,", b"3,9223372036854775808,1,2,", "at most 9223372036854775807"),
            (ROWS, b"3,17,1,2,", b"3,17,15,2,", "date_ is '15'; expected one of 1, 2, 3"),
            (ROWS, b"3,17,1,2,", b"3,17,01,2,", "date_ is '01'"),
            (ROWS, b"3,17,1,2,", b"3,17,1,0,", "device is '0'; expected one of 1, 2"),
            (ROWS, b"3,17,1,2,1,", b"3,17,1,2,2,", "read_comment is '2'; expected one of 0, 1"),
            (ROWS, b"3,17,1,2,1,", b"3,17,1,2, 1,", "read_comment is ' 1'"),
            (ROWS, b"0,0,1", b"0,0,1\r", "carriage return at the end"),
            (ROWS, b"3,17,", b'"3",17,', "byte 1 is b'\"'; lines are printable ASCII without quotes"),
            (ROWS, b"3,17,", b"3,\x0017,", "byte 3 is b'\\x00'"),
            (ROWS, b"3,17,", b"\xef\xbb\xbf3,17,", "byte order mark"),
            (FEED, b"17,5,9,", b"17,5,,", "videoplayseconds is ''; expected a finite decimal number"),
            (FEED, b"17,5,9,", b"17,5,nan,", "videoplayseconds is 'nan'"),
            (FEED, b"17,5,9,", b"17,5,1e39,", "videoplayseconds is '1e39'"),
            (FEED, b"17,5,9,,,,,", b"17,5,9,,,,4.0,", "bgm_song_id is '4.0'; expected digits, at most"),
            (FEED, b"17,5,9,,,,,,,", b"17,5,9,,,,,,;7,", "manual_keyword_list is ';7'; expected entries with ';'"),
            (FEED, b"17,5,9,,,,,,,,", b"17,5,9,,,,,,,7 8,", "machine_keyword_list is '7 8'"),
            (FEED, b"17,5,9,,,,,,,,,", b"17,5,9,,,,,,,,,7:0.5", "machine_tag_list is '7:0.5'; expected entries"),
            (FEED, b"17,5,9,,,,,,,,,", b"17,5,9,,,,,,,,,7 -0.5", "machine_tag_list is '7 -0.5'"),
            (FEED, b"17,5,9,,,,,,,,,", b"17,5,9,,,,,,,,,7 0.5;", "machine_tag_list is '7 0.5;'"),
            (EMBEDDING, b"0,", b"0,0.5 ", "feed_embedding is '0.5 "),
            (EMBEDDING, b"0,", b"0,1 2 3 ", "expected 512 entries with ' ' between them"),
            (EMBEDDING, b"0,", b"0, ", "feed_embedding is ' "),
        ],
    )
    def test_a_bad_line_is_refused_with_its_number_and_the_reason(
        self, tmp_path: Path, table: str, old: bytes, new: bytes, reason: str
    ) -> None:
        text = GOOD[table].split(b"\n")
        good, text[2] = text[2], text[2].replace(old, new, 1)
        assert text[2] != good
        blocks = read(tmp_path, table, b"\n".join(text))
        ((line, found),) = refused(blocks).items()
        assert line == 2
        assert reason in found
        assert [row[LINE] for row in rows(blocks)] == [1, 3]
        assert sum(block.lines for block in blocks) == 4

    @pytest.mark.parametrize("table", NAMES)
    def test_a_file_that_does_not_end_with_a_newline_was_cut_off(self, tmp_path: Path, table: str) -> None:
        """Even where what is left is a line: ``...,31`` may have been ``...,312``."""
        blocks = read(tmp_path, table, GOOD[table][:-1])
        assert refused(blocks) == {3: "no newline at the end of the file: the file was cut off"}
        assert len(rows(blocks)) == 2

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (ACTIONS.replace(b"userid", b"user_id"), "line 1: .* violated by: userid. It names user_id, feedid, date_"),
            (ACTIONS.replace(b"play", b"like"), "violated by: like"),
            (ACTIONS.replace(b"\n", b"\r\n"), "line 1: the header cannot be read: carriage return"),
            (b"\xef\xbb\xbf" + ACTIONS, "byte order mark"),
            (ACTIONS.decode().encode("utf-16-le"), "byte 2 is b'.x00'"),
            (ACTIONS.split(b"\n")[0], "does not end with a newline"),
            (ACTIONS.split(b"\n", 1)[1], "violated by: feedid, userid"),
            (b"\n" + ACTIONS, "violated by: feedid, userid"),
        ],
    )
    def test_a_file_without_its_header_is_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        with pytest.raises(RawError, match=r"user_action\.csv, " + message if message.startswith("line") else message):
            read(tmp_path, ROWS, content)


class TestDuplicates:
    LINES = ("3,5,1", "3,6,1", "4,5,1", "3,5,2", "3,5,2", "4,5,x", "3,6,9", "7,7,3")

    def content(self) -> bytes:
        head = ACTIONS.split(b"\n")[0]
        return b"\n".join([head, *(f"{line},1,0,0,0,0,0,0,0,0,0".encode() for line in self.LINES), b""])

    def test_all_are_kept(self, tmp_path: Path) -> None:
        assert [row[LINE] for row in rows(read(tmp_path, ROWS, self.content()))] == [1, 2, 3, 4, 5, 7, 8]

    def test_or_the_last_one(self, tmp_path: Path) -> None:
        dataset = WeChat(duplicates="last")
        assert not file_of(ROWS, dataset).splittable
        blocks = read(tmp_path, ROWS, self.content(), dataset)
        assert [row[LINE] for row in rows(blocks)] == [3, 5, 7, 8]
        assert sum(block.dropped.get(DUPLICATE, 0) for block in blocks) == 3
        assert list(refused(blocks)) == [6]
        assert sum(block.lines for block in blocks) == 9

    def test_of_many(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A plain dictionary keeps the last one too."""
        monkeypatch.setattr(lines, "PIECE_BYTES", 700)
        draw = random.Random(1)
        pairs = [(draw.randrange(20), draw.randrange(20)) for _ in range(600)]
        text = [f"{user},{feed},1,1,0,0,0,0,0,0,0,0,0\n".encode() for user, feed in pairs]
        content = ACTIONS.split(b"\n")[0] + b"\n" + b"".join(text)
        last = {pair: number for number, pair in enumerate(pairs, start=1)}
        found = rows(read(tmp_path, ROWS, content, WeChat(duplicates="last")))
        assert [row[LINE] for row in found] == sorted(last.values())


def test_shards_and_pieces_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, body = ACTIONS.split(b"\n", 1)
    content = head + b"\n" + (body * 60 + b"3,x\n") * 2 + body
    whole = read(tmp_path, ROWS, content)
    assert list(refused(whole)) == [181, 362]
    for piece, shard in ((50, 1 << 20), (1000, 4000), (2 << 20, 30)):
        monkeypatch.setattr(lines, "PIECE_BYTES", piece)
        monkeypatch.setattr(parse, "SHARD_BYTES", shard)
        first, cut = 0, []
        for part in cut_file(tmp_path / NAMES[ROWS], file_of(ROWS)):
            blocks = list(DATASET.read(part))
            cut += [{**row, LINE: row[LINE] + first} for row in rows(blocks)]
            first += sum(block.lines for block in blocks)
        assert (cut, first) == (rows(whole), 366)


# --- An independent reading, from the description of the files -------------------------------------------------------


def whole(text: str) -> int:
    if text == "" or set(text) - set("0123456789") or int(text) >= 2**63:
        raise ValueError
    return int(text)


def decimal(text: str) -> float:
    if set(text) - set("0123456789+-.eE"):  # what Python reads beside these: nan, inf, 1_000, spaces
        raise ValueError
    try:
        value = struct.unpack("f", struct.pack("f", float(text)))[0]
    except OverflowError:
        raise ValueError from None
    if math.isinf(value):
        raise ValueError
    return value


def within(*allowed: str) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if text not in allowed:
            raise ValueError
        return int(text)

    return convert


def listed(text: str) -> list[int]:
    return [whole(part) for part in text.split(";")] if text != "" else []


def chances(text: str) -> list[tuple[int, float]]:
    found = []
    for part in text.split(";") if text != "" else []:
        tag, chance = part.split(" ")
        found.append((whole(tag), decimal(chance)))
    if any(chance < 0 for _, chance in found):
        raise ValueError
    return found


def vector(text: str) -> list[float]:
    while text.endswith(" "):
        text = text[:-1]
    found = [decimal(part) for part in text.split(" ")]
    if len(found) != 512:
        raise ValueError
    return found


def optional(text: str) -> int | None:
    return None if text == "" else whole(text)


flag = within("0", "1")
READINGS: dict[str, dict[str, Callable[[str], Any]]] = {
    ROWS: {
        "userid": whole, "feedid": whole, "date_": within(*map(str, range(1, 15))), "device": within("1", "2"),
        "read_comment": flag, "like": flag, "click_avatar": flag,
    },
    FEED: {
        "feedid": whole, "authorid": whole, "videoplayseconds": decimal, "bgm_song_id": optional,
        "bgm_singer_id": optional, "manual_keyword_list": listed, "machine_keyword_list": listed,
        "manual_tag_list": listed, "machine_tag_list": chances,
    },
    EMBEDDING: {"feedid": whole, "feed_embedding": vector},
}  # fmt: skip


@dataclass
class Reading:
    """What an independent reader makes of a file: rows by line, lines that it refuses; or nothing without a header."""

    rows: dict[int, dict[str, Any]]
    refused: list[int]


def sound(line: bytes) -> bool:
    return all(0x20 <= byte < 0x7F and byte != 0x22 for byte in line)


def reference(table: str, content: bytes) -> Reading | None:
    *finished, rest = content.split(b"\n")
    if not finished or not sound(finished[0]):
        return None
    names = finished[0].decode("ascii").split(",")
    readings = READINGS[table]
    if any(names.count(name) != 1 for name in readings):
        return None
    reading = Reading({}, [])
    for number, line in enumerate(finished[1:], start=1):
        try:
            cells = line.decode("ascii").split(",")
            if not sound(line) or len(cells) != len(names):
                raise ValueError
            row = dict(zip(names, cells, strict=True))
            reading.rows[number] = {name: convert(row[name]) for name, convert in readings.items()}
        except ValueError:
            reading.refused.append(number)
    if rest:
        reading.refused.append(len(finished))
    return reading


def as_read(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row of the reader in the words of the reference."""
    if table == ROWS:
        assert row["key:feed"] == row["key:feed_embedding"] == row["feedid"]
        assert row["group"] == row["userid"]
        return {**{name: row[name] for name in READINGS[ROWS] if name != "date_"}, "date_": row["time"]}
    found = {name: row["key" if name == "feedid" else name] for name in READINGS[table]}
    if table == FEED:
        weights = row["machine_tag_list:weight"]
        found["machine_tag_list"] = list(zip(row["machine_tag_list"], weights, strict=True))
    return found


@pytest.mark.parametrize("table", NAMES)
@pytest.mark.parametrize("count", [200, pytest.param(4000, marks=pytest.mark.long)])
def test_damaged_files_are_read_as_an_independent_reader_reads_them(tmp_path: Path, table: str, count: int) -> None:
    outcomes = {"file refused": 0, "lines refused": 0, "all read": 0}
    for content in damaged(random.Random(count), GOOD[table], count):
        expected = reference(table, content)
        if expected is None:
            outcomes["file refused"] += 1
            with pytest.raises(RawError, match=f"{NAMES[table]}, line 1: the header"):
                read(tmp_path, table, content or b"x")
            continue
        blocks = read(tmp_path, table, content)
        found = {row[LINE]: as_read(table, row) for row in rows(blocks)}
        assert found == expected.rows, content
        assert sorted(refused(blocks)) == expected.refused, content
        assert sum(block.lines for block in blocks) == 1 + len(expected.rows) + len(expected.refused)
        outcomes["lines refused" if expected.refused else "all read"] += 1
    assert min(outcomes.values()) > count // 25, outcomes  # else the mutations prove little


# --- The store -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no published rows in {REAL}")
class TestPublishedRows:
    def content(self, table: str) -> bytes:
        return (REAL / NAMES[table].replace(".csv", "_mini.csv")).read_bytes()

    @pytest.mark.parametrize("table", NAMES)
    def test_every_line_is_read_at_once_as_the_independent_reader_reads_it(self, tmp_path: Path, table: str) -> None:
        header, block = read(tmp_path, table, self.content(table))
        expected = reference(table, self.content(table))
        assert expected is not None
        assert (header.lines, block.lines, block.rejected, expected.refused) == (1, 99, (), [])
        assert {row[LINE]: as_read(table, row) for row in rows([block])} == expected.rows

    def test_what_is_documented_of_them(self, tmp_path: Path) -> None:
        feeds = rows(read(tmp_path, FEED, self.content(FEED)))
        missing = {name: sum(row[name] in (None, []) for row in feeds) for name in feeds[0]}
        assert [missing[name] for name in ("bgm_song_id", "bgm_singer_id", "manual_keyword_list")] == [48, 48, 36]
        assert (missing["machine_keyword_list"], missing["manual_tag_list"], missing["machine_tag_list"]) == (8, 0, 0)
        widths = {field.name: field.width for field in DATASET.fields}
        assert all(len(row[name]) <= widths[name] for row in feeds for name in widths if name.endswith("_list"))
        vectors = np.array([row[EMBEDDING] for row in rows(read(tmp_path, EMBEDDING, self.content(EMBEDDING)))])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
        actions = rows(read(tmp_path, ROWS, self.content(ROWS)))
        assert sum(row["like"] for row in actions) == 19


@dataclass(frozen=True, kw_only=True)
class Tiny(WeChat):
    """Of which five rows are published."""

    positives: tuple[int, int, int] = (1, 2, 1)

    @property
    def files(self) -> tuple[RawFile, ...]:
        actions, *others = super().files
        known = dict(zip(("read_comment", "like", "click_avatar"), self.positives, strict=True))
        return replace(actions, published_rows=5, published_positives={**known, "follow": 9}), *others


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (Tiny(), "matches the published counts and positives"),
        (Tiny(positives=(1, 2, 3)), "differs: 1 positive for click_avatar, published are 3"),
        (Tiny(actions=("like",), positives=(9, 2, 9)), "matches the published counts and positives"),
        (
            Tiny(duplicates="last", positives=(9, 9, 9)),
            "matches the published counts",
        ),  # of what is left there are none
    ],
)
def test_rows_and_positives_are_compared_with_the_published_ones(tmp_path: Path, dataset: Tiny, expected: str) -> None:
    # User, feed, day; read_comment, like, click_avatar. The first two rows have the same user and feed.
    table = ("3,0,1 0,0,0", "3,0,1 1,0,1", "4,17,2 0,1,0", "3,17,13 0,0,0", "4,0,14 0,1,0")
    text = "userid,feedid,date_,read_comment,like,click_avatar,device\n"
    text += "".join(line.replace(" ", ",") + ",1\n" for line in table)
    (tmp_path / "user_action.csv").write_text(text)
    (tmp_path / "feed_info.csv").write_bytes(FEEDS)
    (tmp_path / "feed_embeddings.csv").write_bytes(EMBEDDINGS)
    store = prepared(dataset, tmp_path, tmp_path / "store", origin="real", one_class="note")
    facts = store.manifest["raw"]["user_action.csv"]
    assert (facts["published"], facts["lines"], facts["dropped"].pop(HEADER)) == (expected, 6, 1)
    assert facts["dropped"] == ({DUPLICATE: 1} if dataset.duplicates == "last" else {})
    assert [store.manifest["splits"][name]["rows"] for name in ("valid", "test")] == [1, 1]


def prepared(dataset: WeChat, raw: Path, store: Path, origin: Any = "simulated", **keys: Any) -> Store:
    return prepare(
        dataset,
        raw,
        store,
        split=partial(by_time, valid=1, test=1),
        provenance=Provenance(origin=origin),
        disjoint=("time",),
        processes=1,
        **keys,
    )
