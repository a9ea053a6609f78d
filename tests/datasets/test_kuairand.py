"""The KuaiRand reader: what it accepts and refuses, an independent reading of the same bytes, files found, splits."""

import csv
import math
import random
import re
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import open_dict

from damage import damaged
from mtlbench.cli import main
from mtlbench.cli.compose import compose
from mtlbench.data.store import Store, open_store
from mtlbench.datasets.kuairand.dataset import KuaiRand
from mtlbench.datasets.kuairand.layout import DEFAULT, SIGNALS, USER, VIDEO
from mtlbench.experiment.data import resolve_data
from mtlbench.ingest.outliers import outlier_warnings
from mtlbench.ingest.parse import cut_file
from mtlbench.ingest.protocol import LINE, ROWS, Block, RawError, RawFile

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "kuairand"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no published rows in {REAL}")

LOG = (
    b"user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    b"play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n"
    b"3,0,20220422,0,1650812741436,1,0,0,0,0,0,1,61802,49866,0,0,0,0,1\n"
    b"3,17,20220430,2300,1650812934945,0,1,0,1,0,0,1,1184,11933,0,0,1,0,14\n"
    b"99,17,20220508,700,1650812934945,0,0,1,0,1,1,0,0,0,0,0,0,0,0\n"
)
USERS = (
    b"user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,"
    b"follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,"
    b"register_days_range," + b",".join(b"onehot_feat%d" % at for at in range(18)) + b"\n"
    b'3,full_active,0,1,1,514,500+,150,"[100,1k)",34,"[30,60)",799,730+,'
    b"1,1,29,949,1.0,0,0,14,135,6,3,0,0.0,1.0,0.0,0.0,0.0,0.0\n"
    b'0,2_14_day_new,1,-124,0,0,0,1,"[1,10)",0,0,14,below30,0,0,0,0,,1,0,1,1,1,1,0,,,,,,\n'
    b"99,UNKNOWN,0,-124,1,5,,7,,1,,1000000,730+,1,1,29,00,15.00,0,0,14,135,6,3,0,1,1,0,0,0,0\n"
)
VIDEOS = (
    b"video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,"
    b"music_id,music_type,tag\n"
    b'17,7349781,NORMAL,2022-04-10,LongImport,0.0,87433.0,720.0,1280.0,9155697141,9.0,"20,43,7"\n'
    b"0,2103883,AD,2022-04-10,Kmovie,0.0,,720.0,1280.0,6355810746,,\n"
    b"5,0,UNKNOWN,2022-04-09,Web,1,500,720,1280,0,4,39\n"
)
NAMES = {
    ROWS: "log_standard_4_22_to_5_08_pure.csv",
    USER: "user_features_pure.csv",
    VIDEO: "video_features_basic_pure.csv",
}
GOOD = {ROWS: LOG, USER: USERS, VIDEO: VIDEOS}
EARLY, RANDOM = "log_standard_4_08_to_4_21_pure.csv", "log_random_4_22_to_5_08_pure.csv"
EVERYTHING = KuaiRand(signals=tuple(SIGNALS), field_set="all")


def read(folder: Path, table: str, content: bytes, dataset: KuaiRand = EVERYTHING, name: str = "") -> list[Block]:
    path = folder / (name or NAMES[table])
    path.write_bytes(content)
    file = RawFile(name=path.name, table=table, part="train")
    return [block for shard in cut_file(path, file) for block in dataset.read(shard)]


def rows(blocks: list[Block]) -> list[dict[str, Any]]:
    return [row for block in blocks for row in block.columns.to_pylist()]


def refused(blocks: list[Block]) -> dict[int, str]:
    return {bad.line: bad.reason for block in blocks for bad in block.rejected}


class TestGoodFiles:
    def test_a_row(self, tmp_path: Path) -> None:
        first, second, third = rows(read(tmp_path, ROWS, LOG))
        assert first == {
            LINE: 1, "key:user": 3, "key:video": 0, "user_id": 3, "video_id": 0, "tab": 1, "hourmin": 0,
            "group": 3, "source": 1, "time": 20220422, "is_click": 1, "is_like": 0, "is_follow": 0, "is_comment": 0,
            "is_forward": 0, "is_hate": 0, "long_view": 1, "is_profile_enter": 0,
        }  # fmt: skip
        assert [second[SIGNALS[name]] for name in ("click", "like", "comment", "long_view", "profile_enter")] == [
            *(0, 1, 1, 1, 1)
        ]
        assert [third[SIGNALS[name]] for name in ("follow", "forward", "hate", "long_view")] == [1, 1, 1, 0]
        assert (second["source"], second["hourmin"], third["time"]) == (14, 2300, 20220508)

    def test_a_user(self, tmp_path: Path) -> None:
        first, second, third = rows(read(tmp_path, USER, USERS))
        assert first | {
            "key": 3, "user_active_degree": "full_active", "is_live_streamer": 1, "fans_user_num_range": "[100,1k)",
            "friend_user_num_range": "[30,60)", "register_days": 799.0, "onehot_feat3": 949, "onehot_feat4": 1,
            "onehot_feat13": 1,
        } == first  # fmt: skip
        assert (second["is_live_streamer"], second["onehot_feat4"], second["onehot_feat17"]) == (None, None, None)
        assert (third["is_live_streamer"], third["onehot_feat4"], third["onehot_feat3"]) == (None, 15, 0)
        assert (third["fans_user_num_range"], third["register_days"]) == (None, 1_000_000.0)

    def test_a_video(self, tmp_path: Path) -> None:
        first, second, third = rows(read(tmp_path, VIDEO, VIDEOS))
        assert first == {
            LINE: 1, "key": 17, "author_id": 7349781, "video_type": "NORMAL", "upload_dt": "2022-04-10",
            "upload_type": "LongImport", "visible_status": 0, "video_duration": 87433.0, "server_width": 720.0,
            "server_height": 1280.0, "music_id": 9155697141, "music_type": 9, "tag": [20, 43, 7],
        }  # fmt: skip
        assert (second["tag"], second["video_duration"], second["music_type"]) == ([], None, None)
        assert (third["tag"], third["video_duration"], third["music_type"]) == ([39], 500.0, 4)

    def test_nothing_that_is_known_after_the_video_was_shown_is_an_input(self) -> None:
        after = {*SIGNALS, *SIGNALS.values(), "play_time_ms", "profile_stay_time", "comment_stay_time", "duration_ms"}
        assert not after & {field.name for field in EVERYTHING.fields}
        assert len(EVERYTHING.fields) == 4 + 30 + 11

    def test_the_default_inputs_are_eleven_ids_and_three_numbers(self) -> None:
        dataset = KuaiRand()
        assert [task.name for task in dataset.tasks] == ["click", "long_view", "like"]
        assert [task.given for task in dataset.tasks] == [None] * 3
        assert {field.name for field in dataset.fields if field.kind == "id"} == {
            *("user_id", "video_id", "tab", "hourmin", "user_active_degree", "onehot_feat3", "onehot_feat4"),
            *("author_id", "video_type", "music_type", "tag"),
        }
        assert {field.name for field in dataset.fields if field.kind == "number"} == {
            *("register_days", "fans_user_num", "video_duration"),
        }

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            (
                {"signals": ("click", "play_time_ms")},
                r"dataset.tasks is \['click', 'play_time_ms'\]; allowed: one or more",
            ),
            ({"signals": ()}, r"tasks is \[\]; allowed"),
            ({"signals": ("like", "like")}, "each once"),
            ({"given": {"click": "long_view"}}, "task 'click' is given 'long_view'; both must be among the tasks"),
            ({"given": {"follow": "click"}}, "task 'follow' is given 'click'"),
            ({"variant": "2k"}, "variant is '2k'; allowed: pure, 1k, 27k"),
            ({"logs": "none"}, "logs is 'none'; allowed: found, both, late"),
            ({"field_set": "wide"}, "field_set is 'wide'; allowed: default, all"),
            ({"tag_width": 1}, "tag_width is 1; allowed: 2 or more"),
        ],
    )
    def test_choices_are_checked(self, keys: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            KuaiRand(**keys)


class TestRefusals:
    @pytest.mark.parametrize(
        ("table", "old", "new", "reason"),
        [
            (ROWS, b"3,17,", b"3,17,5,", "20 comma-separated columns; there must be 19"),
            (ROWS, b"3,17,", b",17,", "user_id is ''; expected digits"),
            (ROWS, b"3,17,", b"3,17.0,", "video_id is '17.0'; expected digits"),
            (ROWS, b"20220430", b"20220421", "date is '20220421'; expected one of 20220422, 20220423"),
            (ROWS, b"20220430", b"20220431", "date is '20220431'"),
            (ROWS, b"945,0,1", b"945,2,1", "is_click is '2'; expected one of 0, 1"),
            (ROWS, b"945,0,1", b"945,,1", "is_click is ''"),
            (ROWS, b"0,14", b"0,-14", "tab is '-14'; expected digits"),
            (ROWS, b"3,17,", b'"3",17,', "byte 1 is b'\"'; lines are printable ASCII without quotes"),
            (USER, b",-124,0,", b",-123,0,", "is_live_streamer is '-123'; expected one of 0, 1, -124"),
            (USER, b"0,2_14", b"0.0,2_14", "user_id is '0.0'"),
            (USER, b'"[1,10)"', b"[1,10)", "32 comma-separated columns; there must be 31"),
            (USER, b'"[1,10)"', b'"[1,10)', "a quote that is not the first or the last character of a cell"),
            (USER, b'"[1,10)"', b'x"[1,10)"', "a quote that is not the first"),
            (USER, b'"[1,10)"', b'"[1,""10)"', "a quote that is not the first"),
            (USER, b"0,0,0,0,,1", b"0,0,0,0,.5,1", "onehot_feat4 is '.5'; expected digits with or without '.0' behind"),
            (
                USER,
                b",14,below30",
                b",inf,below30",
                "register_days is 'inf'; expected a finite decimal number, or noth",
            ),
            (VIDEO, b",AD,", b",A\xc3\xa9,", "byte 12 is b'\\xc3'"),
            (VIDEO, b",,720", b",1e39,720", "video_duration is '1e39'"),
            (VIDEO, b"6355810746,,", b'6355810746,,"20;43"', "tag is '20;43'; expected entries with ','"),
            (VIDEO, b"6355810746,,", b'6355810746,,"20,"', "tag is '20,'"),
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

    def test_a_log_holds_the_days_in_its_name(self, tmp_path: Path) -> None:
        early = LOG.replace(b"20220430", b"20220408").replace(b"20220508", b"20220421")
        blocks = read(tmp_path, ROWS, early, name=EARLY)
        assert [row["time"] for row in rows(blocks)] == [20220408, 20220421]
        assert list(refused(blocks)) == [1]


# --- An independent reading, from the description of the files: the definition of what is accepted -------------------


def whole(text: str) -> int:
    if text == "" or set(text) - set("0123456789") or int(text) >= 2**63:
        raise ValueError
    return int(text)


def code(text: str) -> int | None:
    head, dot, tail = text.partition(".")
    if dot and (tail == "" or set(tail) != {"0"}):
        raise ValueError
    return None if text == "" else whole(head)


def decimal(text: str) -> float | None:
    if set(text) - set("0123456789+-.eE"):  # what Python reads beside these: nan, inf, 1_000, spaces
        raise ValueError
    if text == "":
        return None
    try:
        value = struct.unpack("f", struct.pack("f", float(text)))[0]
    except OverflowError:
        raise ValueError from None
    if math.isinf(value):
        raise ValueError
    return value


def within(*allowed: str) -> Callable[[str], int | None]:
    def convert(text: str) -> int | None:
        if text not in allowed:
            raise ValueError
        return None if text == "-124" else int(text)

    return convert


def text_or_none(text: str) -> str | None:
    return text or None


def tags(text: str) -> list[int]:
    return [whole(part) for part in text.split(",")] if text != "" else []


flag, told = within("0", "1"), within("0", "1", "-124")
RANGES = {f"{name}_range": text_or_none for name in ("follow_user_num", "fans_user_num", "friend_user_num")}
READINGS: dict[str, dict[str, Callable[[str], Any]]] = {
    ROWS: {
        **dict.fromkeys(("user_id", "video_id", "hourmin", "tab"), whole),
        "date": within(*(str(day) for day in (*range(20220422, 20220431), *range(20220501, 20220509)))),
        **dict.fromkeys(SIGNALS.values(), flag),
    },
    USER: {
        "user_id": whole, "user_active_degree": text_or_none, "register_days_range": text_or_none, **RANGES,
        **dict.fromkeys(("is_lowactive_period", "is_live_streamer", "is_video_author"), told),
        **dict.fromkeys(("follow_user_num", "fans_user_num", "friend_user_num", "register_days"), decimal),
        **{f"onehot_feat{at}": code for at in range(18)},
    },
    VIDEO: {
        "video_id": whole, "tag": tags,
        **dict.fromkeys(("author_id", "visible_status", "music_id", "music_type"), code),
        **dict.fromkeys(("video_type", "upload_dt", "upload_type"), text_or_none),
        **dict.fromkeys(("video_duration", "server_width", "server_height"), decimal),
    },
}  # fmt: skip


def sound(line: bytes, table: str) -> bool:
    """Printable ASCII; in the tables, quotes at both ends of a cell and nowhere else."""
    if any(not 0x20 <= byte < 0x7F for byte in line):
        return False
    if table == ROWS or b'"' not in line:
        return b'"' not in line
    inside, at = False, 0
    for at, byte in enumerate(line):
        if byte == 0x22 and not inside and line[at - 1 : at] not in (b"", b","):
            return False
        if byte == 0x22 and inside and line[at + 1 : at + 2] not in (b"", b","):
            return False
        inside ^= byte == 0x22
    return not inside


def reference(table: str, content: bytes) -> tuple[dict[int, dict[str, Any]], list[int]] | None:
    """Rows by line, and lines refused; ``None`` without a header."""
    *finished, rest = content.split(b"\n")
    if not finished or not sound(finished[0], ROWS):
        return None
    names = finished[0].decode("ascii").split(",")
    readings = READINGS[table]
    if any(names.count(name) != 1 for name in readings):
        return None
    found: dict[int, dict[str, Any]] = {}
    bad: list[int] = []
    for number, line in enumerate(finished[1:], start=1):
        try:
            if not sound(line, table):
                raise ValueError
            (cells,) = csv.reader([line.decode("ascii")], strict=True)
            row = dict(zip(names, cells, strict=True))
            found[number] = {name: convert(row[name]) for name, convert in readings.items()}
        except ValueError:
            bad.append(number)
    return found, bad + [len(finished)] * bool(rest)


def as_read(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row of the reader in the words of the reference."""
    if table == ROWS:
        assert row["key:user"] == row["group"] == row["user_id"]
        assert (row["key:video"], row["source"]) == (row["video_id"], row["tab"])
    ours = {"date": "time"} if table == ROWS else {f"{table}_id": "key"}
    return {name: row[ours.get(name, name)] for name in READINGS[table]}


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
        assert {row[LINE]: as_read(table, row) for row in rows(blocks)} == expected[0], content
        assert sorted(refused(blocks)) == expected[1], content
        outcomes["lines refused" if expected[1] else "all read"] += 1
    assert min(outcomes.values()) > count // 25, outcomes  # else the damage proves little


# --- Which files are read --------------------------------------------------------------------------------------------


def folder_of(folder: Path, *names: str) -> Path:
    for name in names:
        table = next((table for table in (USER, VIDEO) if name.startswith(f"{table}_features")), ROWS)
        (folder / name).write_bytes(GOOD[table])
    return folder


def names_in(folder: Path, **keys: Any) -> dict[str, str]:
    return {file.name: file.part for file in KuaiRand(**keys).in_folder(folder).files}


class TestFiles:
    def test_the_early_and_the_random_log_are_optional(self, tmp_path: Path) -> None:
        tables = {NAMES[USER]: "all", NAMES[VIDEO]: "all"}
        folder_of(tmp_path, *NAMES.values())
        assert names_in(tmp_path) == {NAMES[ROWS]: "train", **tables}
        folder_of(tmp_path, EARLY, RANDOM, "video_features_statistic_pure.csv")
        assert list(names_in(tmp_path).items()) == [(EARLY, "train"), (NAMES[ROWS], "train"), *tables.items()]
        assert names_in(tmp_path, logs="late") == {NAMES[ROWS]: "train", **tables}
        assert names_in(tmp_path, split_rule="random_log") == {EARLY: "train", RANDOM: "test", **tables}

    @pytest.mark.parametrize(
        ("there", "keys", "missing"),
        [
            ((), {}, rf"in .*: {NAMES[ROWS]}, {NAMES[USER]}, {NAMES[VIDEO]}\. They are at https://.*CC BY-SA 4\.0"),
            ((NAMES[ROWS], NAMES[USER]), {}, rf"in .*: {NAMES[VIDEO]}\. "),
            (tuple(NAMES.values()), {"logs": "both"}, rf"in .*: {EARLY}\. "),
            (tuple(NAMES.values()), {"split_rule": "random_log"}, rf"in .*: {EARLY}, {RANDOM}\. "),
            (tuple(NAMES.values()), {"variant": "1k"}, r"user_features_1k.csv.* another variant: dataset.variant=pure"),
        ],
    )
    def test_a_needed_file_that_is_missing_is_named(
        self, tmp_path: Path, there: tuple[str, ...], keys: dict[str, Any], missing: str
    ) -> None:
        folder_of(tmp_path, *there)
        with pytest.raises(RawError, match=missing):
            names_in(tmp_path, **keys)

    def test_numbered_parts_are_one_file(self, tmp_path: Path) -> None:
        late = [f"log_standard_4_22_to_5_08_27k_part{part}.csv" for part in (1, 2)]
        tables = ["user_features_27k.csv", "video_features_basic_27k.csv"]
        folder_of(tmp_path, *late, *tables)
        assert list(names_in(tmp_path, variant="27k")) == [*late, *tables]

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            (("27k_part1",), "log_standard_4_22_to_5_08_27k lacks part 2 of 2; all are needed"),
            (("27k_part2",), "lacks part 1 of 2"),
            (("27k_part1", "27k_part2", "27k_part4"), "lacks part 3 of 4"),
            (("27k", "27k_part1"), "27k.csv and parts of it .*27k_part1.csv.* would be read twice"),
            (("27k_part1", "27k_part01"), "are the same part"),
            (("27k_part1", "27k_copy"), "27k_copy.csv: the name is neither"),
        ],
    )
    def test_parts_that_are_missing_or_doubled_are_refused(
        self, tmp_path: Path, parts: tuple[str, ...], message: str
    ) -> None:
        folder_of(tmp_path, "user_features_27k.csv", "video_features_basic_27k.csv")
        folder_of(tmp_path, *(f"log_standard_4_22_to_5_08_{part}.csv" for part in parts))
        with pytest.raises(RawError, match=message):
            names_in(tmp_path, variant="27k")

    def test_the_published_number_of_rows_is_compared(self, tmp_path: Path) -> None:
        folder_of(tmp_path, *NAMES.values(), EARLY, RANDOM)
        files = KuaiRand(split_rule="random_log").in_folder(tmp_path).files
        assert [file.published_rows for file in files] == [None, 1_186_059, 27_285, 7_583]


# --- The command -----------------------------------------------------------------------------------------------------


def log_of(days: dict[int, int], *, users: int = 40, start: int = 0) -> bytes:
    """A log with so many rows on each day, half of them clicked."""
    lines = [LOG.split(b"\n")[0]]
    for day, count in days.items():
        for at in range(start, start + count):
            click, like = at % 2, at % 3 == 0
            lines.append(
                b"%d,%d,%d,100,1,%d,%d,0,0,0,0,%d,1,1,0,0,0,0,1" % (at % users, at % 5, day, click, like, click)
            )
    return b"\n".join(lines) + b"\n"


def prepared(raw: Path, folder: Path, *words: str) -> Store:
    """The store that the user's command makes."""
    assert main(["prepare", "dataset=kuairand", f"dataset.raw={raw}", f"run.data={folder}", *words]) == 0
    (store,) = folder.glob("store/kuairand/[!.]*")
    return open_store(store)


def days_of(store: Store) -> dict[str, dict[int, int]]:
    """Rows of each split, by day."""
    return {split: dict(Counter(store.split(split).columns["time"].tolist())) for split in ("train", "valid", "test")}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    head, first, *_ = USERS.split(b"\n")
    users = [first.replace(b"3,full", b"%d,full" % user, 1) for user in range(40)]
    (folder / NAMES[USER]).write_bytes(b"\n".join([head, *users, b""]))
    head, first, *_ = VIDEOS.split(b"\n")
    videos = [first.replace(b"17,", b"%d," % video, 1) for video in range(5)]
    (folder / NAMES[VIDEO]).write_bytes(b"\n".join([head, *videos, b""]))
    (folder / NAMES[ROWS]).write_bytes(log_of({20220425: 60, 20220426: 40, 20220507: 30, 20220508: 21}))
    (folder / EARLY).write_bytes(log_of({20220420: 70, 20220421: 30}))
    (folder / RANDOM).write_bytes(log_of({20220422: 25, 20220508: 25}))
    return folder


class TestSplits:
    def test_by_day(self, raw: Path, tmp_path: Path) -> None:
        store = prepared(raw, tmp_path / "data", "dataset.logs=late")
        assert days_of(store) == {
            "train": {20220425: 60, 20220426: 40}, "valid": {20220507: 30}, "test": {20220508: 21}
        }  # fmt: skip
        schema = store.schema
        assert (schema.group, schema.time, schema.source) == (True, True, 1)
        assert {field.table for field in schema.fields} == {None, USER, VIDEO}
        assert {field.name for field in schema.fields if field.table} == set(DEFAULT)

    def test_by_day_with_the_early_log_and_other_days(self, raw: Path, tmp_path: Path) -> None:
        store = prepared(raw, tmp_path / "data", "dataset.splits.by_day.test=2")
        assert days_of(store) == {
            "train": {20220420: 70, 20220421: 30, 20220425: 60},
            "valid": {20220426: 40},
            "test": {20220507: 30, 20220508: 21},
        }

    def test_by_day_as_if_the_log_had_ended_a_day_earlier(self, raw: Path, tmp_path: Path) -> None:
        store = prepared(raw, tmp_path / "data", "dataset.logs=late", "dataset.splits.by_day.skip=1")
        assert days_of(store) == {"train": {20220425: 60}, "valid": {20220426: 40}, "test": {20220507: 30}}
        assert store.manifest["split"]["skip"] == 1

    def test_data_of_which_no_day_is_skipped_are_those_of_versions_without_the_key(
        self, raw: Path, tmp_path: Path
    ) -> None:
        config = compose(["dataset=kuairand", f"dataset.raw={raw}"])
        known = resolve_data(config.dataset, tmp_path).fingerprint
        config.dataset.splits.by_day.skip = 1
        assert resolve_data(config.dataset, tmp_path).fingerprint != known
        with open_dict(config):
            del config.dataset.splits.by_day["skip"]
        assert resolve_data(config.dataset, tmp_path).fingerprint == known

    def test_compressed_numbers_are_other_data_and_others_those_of_versions_without_the_key(
        self, raw: Path, tmp_path: Path
    ) -> None:
        config = compose(["dataset=kuairand", f"dataset.raw={raw}"])
        known = resolve_data(config.dataset, tmp_path).fingerprint
        with open_dict(config):
            del config.dataset["compress"], config.dataset.reader["compress"]
        assert resolve_data(config.dataset, tmp_path).fingerprint == known
        store = prepared(raw, tmp_path / "data", "dataset.compress=true")
        assert store.folder.name != known
        assert {field.compress for field in store.schema.number_fields} == {True}

    def test_an_outlier_is_told_and_gone_once_compressed(
        self, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Of 20,001 rows, one of a user with a million fans, others with 0 to 36: sqrt(20,000) = 141 deviations."""
        head, *users = (raw / NAMES[USER]).read_bytes().splitlines()
        at = head.split(b",").index(b"fans_user_num")
        cells = [user.split(b",") for user in users]
        for user, row in enumerate(cells):
            row[at] = b"%d" % user if user < 39 else b"1000000"
        (raw / NAMES[USER]).write_bytes(b"\n".join([head, *map(b",".join, cells), b""]))
        outlier = log_of({20220425: 1}, start=39).splitlines()[1]
        others = log_of({20220425: 20_000, 20220507: 30, 20220508: 21}, users=37)
        (raw / NAMES[ROWS]).write_bytes(others + outlier + b"\n")
        prepared(raw, tmp_path / "data", "dataset.logs=late")
        told = capsys.readouterr().out
        assert "WARNING: 'fans_user_num' has 1 row of 'user' more than 100 standard deviations from the mean of" in told
        assert "Compress it" in told
        prepared(raw, tmp_path / "other", "dataset.logs=late", "dataset.compress=true")
        assert "WARNING" not in capsys.readouterr().out

    def test_a_compressed_field_is_not_to_be_compressed_again(self) -> None:
        fields = [{"name": "fans", "compress": True}, {"name": "days"}]
        outliers = {"outliers": {"train": 0, "test": 2}}
        manifest = {"schema": {"fields": fields}, "fields": {"fans": outliers, "days": outliers}, "splits": {}}
        first, second = outlier_warnings(manifest)
        assert first.startswith("'fans' has 2 rows of 'test' more than 100 standard deviations")
        assert first.endswith("raise them to powers. Exclude it")
        assert "Compress it" in second

    def test_halves_of_the_last_day(self, raw: Path, tmp_path: Path) -> None:
        found = days_of(prepared(raw, tmp_path / "data", "dataset.split_rule=halves"))
        assert (found["valid"], found["test"]) == ({20220508: 10}, {20220508: 11})
        assert 20220507 in found["train"]

    def test_by_user(self, raw: Path, tmp_path: Path) -> None:
        words = ("dataset.split_rule=by_user", "dataset.disjoint=[group]", "dataset.one_class=note")
        store = prepared(raw, tmp_path / "data", *words)
        groups = [set(store.split(split).columns["group"].tolist()) for split in ("train", "valid", "test")]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 40
        assert all(groups)

    def test_the_random_log_is_a_test_set_and_all_other_rows_are_earlier(self, raw: Path, tmp_path: Path) -> None:
        found = days_of(prepared(raw, tmp_path / "data", "dataset.split_rule=random_log"))
        assert found == {"train": {20220420: 70}, "valid": {20220421: 30}, "test": {20220422: 25, 20220508: 25}}

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("dataset.split_rule=halves", "dataset.splits.halves.times=6"), "split.times=6 of 6 distinct times"),
            (
                ("dataset.split_rule=random_log", "dataset.splits.random_log.valid=2"),
                "training part's 2 distinct times",
            ),
        ],
    )
    def test_a_split_that_leaves_nothing_to_train_is_refused(
        self, raw: Path, tmp_path: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["prepare", "dataset=kuairand", f"dataset.raw={raw}", f"run.data={tmp_path}", *words]) == 2
        assert message in capsys.readouterr().err


def test_a_row_whose_video_is_in_no_table_is_told(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = raw / NAMES[VIDEO]
    videos.write_bytes(re.sub(rb"\n4,.*", b"", videos.read_bytes()))
    assert main(["prepare", "dataset=kuairand", f"dataset.raw={raw}", f"run.data={tmp_path}"]) == 2
    message = capsys.readouterr().err
    assert re.search(rf"{EARLY}, line 6: its key is not in table 'video'.*'4,4,20220420,", message)
    words = ("dataset.on_error=quarantine", "dataset.fields=all", "dataset.tasks=[like,click]")
    store = prepared(raw, tmp_path, *words)
    assert "30 rejected" in capsys.readouterr().out
    assert [task.label for task in store.schema.tasks] == ["is_like", "is_click"]


def test_without_files_the_command_says_where_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "dataset=kuairand", f"run.data={tmp_path}"]) == 2
    assert "https://zenodo.org/records/10439422" in capsys.readouterr().err
    assert main(["prepare", "dataset=kuairand", "dataset.source=simulated", f"run.data={tmp_path}"]) == 2
    assert "'kuairand' has no simulator" in capsys.readouterr().err


# --- Published rows --------------------------------------------------------------------------------------------------


@needs_real
class TestPublishedRows:
    @pytest.mark.parametrize("table", NAMES)
    def test_lines_are_read_at_once_as_the_independent_reader_reads_them(self, tmp_path: Path, table: str) -> None:
        with (REAL / NAMES[table]).open("rb") as file:
            head = b"".join(file.readline() for _ in range(2001))
        _, block = read(tmp_path, table, head)
        assert block.columns.num_rows == 2000
        assert reference(table, head) == ({row[LINE]: as_read(table, row) for row in rows([block])}, [])

    def test_what_is_documented_of_them(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        store = prepared(REAL, tmp_path, f"dataset.tasks=[{','.join(SIGNALS)}]", "dataset.one_class=note")
        facts = store.manifest["splits"]
        assert [facts[split]["rows"] for split in ("train", "valid", "test")] == [198_895, 13_687, 15_747]
        positives = {name: sum(part["positives"][name] for part in facts.values()) for name in SIGNALS}
        assert positives == {
            "click": 100_900, "long_view": 70_963, "like": 3_915, "profile_enter": 4_231, "comment": 579,
            "follow": 304, "forward": 195, "hate": 190,
        }  # fmt: skip
        days = Counter[int]()
        for counts in days_of(store).values():
            days.update(counts)
        assert [days[day] for day in sorted(days)] == [
            *(14911, 14530, 14328, 13972, 15839, 21204, 20790, 19554, 18943, 17600, 13390, 13834, 13687, 15747)
        ]
        assert sum(len(store.split(split)) for split in facts) == 228_329
        assert store.schema.source == 15
        assert all(field["cut"] == 0 for field in store.manifest["fields"].values() if "cut" in field)
        told = capsys.readouterr().out
        assert re.search(r"user_features_pure.csv: 27,286 lines read, 0 rejected.*matches the published counts", told)
