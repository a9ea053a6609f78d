"""IJCAI-15: from lines of the log to samples and pasts, and every line that cannot be used."""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtlbench.data.split import by_time
from mtlbench.datasets.ijcai15.dataset import AFTERWARDS, IJCAI15
from mtlbench.datasets.ijcai15.layout import LOG, USERS
from mtlbench.ingest import parse
from mtlbench.ingest.parse import cut_file
from mtlbench.ingest.prepare import Provenance, prepare
from mtlbench.ingest.protocol import ROWS, RawError, Rewritten

LOG_HEADER = "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type"
USER_HEADER = "user_id,age_range,gender"
MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
DEFAULT = IJCAI15()
Refused = list[tuple[str, int, str, bytes]]


def lines(header: str, *rows: str) -> bytes:
    return "".join(f"{row}\n" for row in (header, *rows)).encode()


def arrange(
    folder: Path,
    log: bytes,
    users: bytes,
    dataset: IJCAI15 = DEFAULT,
    processes: int = 1,
) -> tuple[Rewritten, Refused]:
    """Arrange two files, given as their bytes; and what was refused."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOG).write_bytes(log)
    (folder / USERS).write_bytes(users)
    target = folder / "arranged"
    target.mkdir()
    refused: Refused = []
    arranged = dataset.arrange(
        {LOG: folder / LOG, USERS: folder / USERS},
        target,
        lambda path, line, reason, text: refused.append((path.name, line, reason, text)),
        processes,
    )
    return arranged, refused


def table(arranged: Rewritten, name: str, dataset: IJCAI15 = DEFAULT) -> list[dict[str, Any]]:
    """All rows of a table, without their line numbers."""
    rows = [
        row
        for file, path in arranged.files
        if file.table == name
        for shard in cut_file(path, file)
        for block in dataset.read(shard)
        for row in block.columns.to_pylist()
    ]
    for row in rows:
        del row["line"]
    return rows


# What the files mean, written once more, line by line and without numpy.


def day_number(written: str) -> int | None:
    """Days since the beginning of the year of what is written as 829."""
    if not re.fullmatch("[1-9][0-9]{2,3}", written):
        return None
    month, day = int(written[:-2]), int(written[-2:])
    if not (1 <= month <= 12 and 1 <= day <= MONTH_LENGTHS[month - 1]):
        return None
    return sum(MONTH_LENGTHS[: month - 1]) + day


def whole(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]+", text) and int(text) < 2**63 else None


def plain_lines(data: bytes, header: str) -> Iterator[tuple[int, list[str] | None]]:
    """Number and cells, by name, of every line below the header, None for a line that is not cells.

    Raises:
        RawError: the file has no such header.
    """
    first, *rest = data.split(b"\n")
    names = first.decode("latin-1").split(",")
    wanted = header.split(",")
    printable = all(re.fullmatch(rb"[ !#-~]*", part) for part in [first])
    if not rest or not printable or any(names.count(name) != 1 for name in wanted):
        raise RawError("header")
    for number, line in enumerate(rest, start=1):
        last = number == len(rest)
        if last and not line:
            return
        cells = line.decode("latin-1").split(",")
        good = re.fullmatch(rb"[ !#-~]*", line) and len(cells) == len(names) and not last
        yield number, [cells[names.index(name)] for name in wanted] if good else None


def plain_users(data: bytes) -> tuple[dict[int, tuple[int | None, int | None]], list[int]]:
    users: dict[int, tuple[int | None, int | None]] = {}
    refused = []
    ages = {"": None, "NULL": None, "0": None, "0.0": None}
    ages |= {text: age for age in range(1, 9) for text in (f"{age}", f"{age}.0")}
    genders = {"": None, "NULL": None, "2": None, "2.0": None, "0": 0, "0.0": 0, "1": 1, "1.0": 1}
    for number, cells in plain_lines(data, USER_HEADER):
        user = whole(cells[0]) if cells else None
        if user is None or cells is None or cells[1] not in ages or cells[2] not in genders or user in users:
            refused.append(number)
        else:
            users[user] = ages[cells[1]], genders[cells[2]]
    return users, refused


def plain_log(data: bytes, users: set[int]) -> tuple[list[tuple], list[int]]:
    """(user, item, category, seller, brand, day, action) of every good line, and numbers of the others."""
    events, refused = [], []
    for number, cells in plain_lines(data, LOG_HEADER):
        ids = [whole(cell) for cell in cells[:4]] if cells else [None]
        brand = None if not cells or not cells[4] else whole(cells[4])
        day = day_number(cells[5]) if cells else None
        good = cells and None not in ids and (not cells[4] or brand is not None) and day is not None
        if not (good and cells and cells[6] in ("0", "1", "2", "3") and ids[0] in users):
            refused.append(number)
        else:
            events.append((*ids, brand, day, int(cells[6])))
    return events, refused


def plain_arranged(dataset: IJCAI15, events: list[tuple]) -> tuple[dict, dict]:
    """Samples by (user, window, item, day or None), and behaviours by (user, window)."""
    last = max(event[5] for event in events) if dataset.last_day is None else day_number(str(dataset.last_day))
    assert last is not None
    starts = [last + 1 - dataset.window_days * back for back in range(dataset.windows, 0, -1)]
    samples: dict[tuple, dict[str, Any]] = {}
    for user, item, category, seller, brand, day, action in sorted(events, key=lambda event: event[5]):
        for window, start in enumerate(starts):
            if start <= day < start + dataset.window_days:
                key = (user, window, item, day if dataset.sample == "pair_day" else None)
                described = {"item_id": item, "cat_id": category, "seller_id": seller, "brand_id": brand}
                sample = samples.setdefault(key, described | {"favourite": 0, "purchase": 0})
                sample["favourite"] |= action == 3
                sample["purchase"] |= action == 2
    pasts = {}
    for user, window in {key[:2] for key in samples}:
        before = [event for event in events if event[0] == user and event[5] < starts[window]]
        past: dict[str, Any] = {"group": user, "time": window}
        for name, place in (("item", 1), ("cat", 2), ("seller", 3), ("brand", 4)):
            counts = Counter(event[place] for event in before if event[place] is not None)
            latest = {value: max(event[5] for event in before if event[place] == value) for value in counts}
            order = sorted(counts, key=lambda value: (-latest[value], value))  # used at once
            past[f"{name}_history"] = order
            past[f"{name}_history:weight"] = [np.float32(math.log1p(counts[value])) for value in order]
        for action, name in enumerate(("clicks", "carts", "purchases", "favourites")):
            past[f"past_{name}"] = np.float32(math.log1p(sum(event[6] == action for event in before)))
        pasts[user, window] = past
    return samples, pasts


def assert_plainly_arranged(dataset: IJCAI15, arranged: Rewritten, log: bytes, users: bytes) -> None:
    known, _ = plain_users(users)
    events, _ = plain_log(log, set(known))
    samples, pasts = plain_arranged(dataset, events)
    assert {row["key"]: (row["age_range"], row["gender"]) for row in table(arranged, "user")} == known
    assert {row["key"]: row["user_id"] for row in table(arranged, "user")} == {user: user for user in known}
    behaviours = {row.pop("key"): row for row in table(arranged, "behaviour", dataset)}
    assert {(row["group"], row["time"]): row for row in behaviours.values()} == pasts
    found = []
    for row in table(arranged, ROWS, dataset):
        behaviour = behaviours[row.pop("key:behaviour")]
        assert row.pop("key:user") == behaviour["group"]
        found.append((behaviour["group"], behaviour["time"], row))
    assert sorted(found, key=repr) == sorted(((*key[:2], row) for key, row in samples.items()), key=repr)


DAYS = (511, 829, 1020, 1026, 1027, 1029, 1030, 1031, 1101, 1104, 1105, 1107, 1108, 1110, 1111)
FIVE_USERS = lines(USER_HEADER, "1,6,1", "2,0,0", "3,NULL,2", "4,,", "5,3.0,1.0")
TWO_USERS = lines(USER_HEADER, "7,6,1", "8,,0")


def made_up(draw: random.Random, count: int, users: int = 5, items: int = 6) -> bytes:
    """A log in which everything happens several times; an item keeps its category, seller and brand."""
    rows = ["1,0,0,0,0,511,0", "1,0,0,0,0,1030,0", "1,0,0,0,0,1112,0"]
    for _ in range(count):
        item = draw.randrange(items)
        brand = "" if item == 3 else item % 3
        user, action = draw.randrange(1, users + 1), draw.choice((0, 0, 0, 1, 2, 3))
        rows.append(f"{user},{item},{item % 2},{item % 4},{brand},{draw.choice(DAYS)},{action}")
    return lines(LOG_HEADER, *rows)


def by_key(arranged: Rewritten, dataset: IJCAI15 = DEFAULT) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each sample with what is known of its user, by user, window and item."""
    behaviours = {row["key"]: row for row in table(arranged, "behaviour", dataset)}
    pairs = [(row, behaviours[row["key:behaviour"]]) for row in table(arranged, ROWS, dataset)]
    return sorted(pairs, key=lambda pair: (pair[1]["group"], pair[1]["time"], pair[0]["item_id"]))


class TestAStory:
    """Windows begin on 1027, 1030, 1102, 1105 and 1108."""

    LOG = lines(
        LOG_HEADER,
        "7,100,10,1000,,1029,0",  # window 0, neither
        "7,200,20,2000,5,1027,2",  # window 0, both: two days are one sample
        "7,200,20,2000,5,1028,3",
        "7,100,10,1000,,1031,3",  # window 1, a favourite
        "7,200,20,2000,5,1111,2",  # after the last one
        "7,300,10,1000,6,1026,0",  # before the first one
        "7,300,10,1000,6,1026,2",
        "7,400,30,1000,6,829,1",
        "8,100,10,1000,,1110,0",  # window 4, neither
        "8,500,10,3000,6,511,3",
    )

    def test_samples(self, tmp_path: Path) -> None:
        arranged, refused = arrange(tmp_path, self.LOG, TWO_USERS)
        samples = [
            (past["group"], past["time"], row["item_id"], row["favourite"], row["purchase"])
            for row, past in by_key(arranged)
        ]
        assert samples == [(7, 0, 100, 0, 0), (7, 0, 200, 1, 1), (7, 1, 100, 1, 0), (8, 4, 100, 0, 0)]
        described = [row for row, _ in by_key(arranged)][1]
        assert [described[name] for name in ("cat_id", "seller_id", "brand_id", "key:user")] == [20, 2000, 5, 7]
        assert by_key(arranged)[0][0]["brand_id"] is None
        assert refused == []
        assert arranged.lines == {LOG: 10, USERS: 2}
        assert arranged.dropped == {LOG: {AFTERWARDS: 1}}

    def test_pasts(self, tmp_path: Path) -> None:
        (_, first), _, (_, second), (_, other) = by_key(arrange(tmp_path, self.LOG, TWO_USERS)[0])
        one, two, three = (np.float32(math.log(1 + count)) for count in (1, 2, 3))
        assert first["item_history"] == [300, 400]
        assert first["item_history:weight"] == [two, one]
        assert (first["cat_history"], first["seller_history"], first["brand_history"]) == ([10, 30], [1000], [6])
        assert first["seller_history:weight"] == first["brand_history:weight"] == [three]
        counts = [first[name] for name in ("past_clicks", "past_carts", "past_purchases", "past_favourites")]
        assert counts == [one, one, one, 0]
        assert second["item_history"] == [100, 200, 300, 400], "what was met last stands first"
        assert (second["brand_history"], second["brand_history:weight"]) == ([5, 6], [two, three])
        assert (second["past_purchases"], second["past_favourites"]) == (two, one)
        assert (other["item_history"], other["past_clicks"], other["past_favourites"]) == ([500], 0, one)

    def test_a_day_can_be_a_sample(self, tmp_path: Path) -> None:
        dataset = IJCAI15(sample="pair_day")
        samples = [
            (past["group"], past["time"], row["item_id"], row["favourite"], row["purchase"])
            for row, past in by_key(arrange(tmp_path, self.LOG, TWO_USERS, dataset)[0], dataset)
        ]
        assert samples == [
            (7, 0, 100, 0, 0), (7, 0, 200, 0, 1), (7, 0, 200, 1, 0), (7, 1, 100, 1, 0), (8, 4, 100, 0, 0)
        ]  # fmt: skip

    def test_the_last_window_may_hold_the_last_day_of_the_log(self, tmp_path: Path) -> None:
        dataset = IJCAI15(last_day=None, windows=2, window_days=5)
        arranged, _ = arrange(tmp_path, self.LOG, TWO_USERS, dataset)
        samples = [
            (past["group"], past["time"], row["item_id"], row["purchase"]) for row, past in by_key(arranged, dataset)
        ]
        assert samples == [(7, 1, 200, 1), (8, 1, 100, 0)]  # windows of 1102 and 1107
        assert arranged.dropped == {LOG: {AFTERWARDS: 0}}

    def test_an_item_is_described_by_its_first_line_in_the_window(self, tmp_path: Path) -> None:
        log = lines(LOG_HEADER, "7,1,1,1,1,511,0", "7,1,2,2,2,1110,0", "7,1,3,3,3,1109,0", "7,1,4,4,,1109,2")
        ((row, _),) = by_key(arrange(tmp_path, log, TWO_USERS)[0])
        assert (row["cat_id"], row["seller_id"], row["brand_id"], row["purchase"]) == (3, 3, 3, 1)


def test_fields_point_at_what_they_remember() -> None:
    fields = {field.name: field for field in IJCAI15(history_width=7).fields}
    for name in ("item", "cat", "seller", "brand"):
        history = fields[f"{name}_history"]
        assert (history.target, history.vocabulary, history.role) == (f"{name}_id", f"{name}_id", "history")
        assert (history.width, history.weighted, history.table) == (7, True, "behaviour")
    assert [task.name for task in IJCAI15().tasks] == ["favourite", "purchase"]


class TestPlainly:
    """The arranged files hold what a reading line by line finds."""

    @pytest.mark.parametrize("sample", ["pair", "pair_day"])
    @pytest.mark.parametrize("last_day", [1110, None, 1104])
    def test_made_up_logs(self, tmp_path: Path, sample: Any, last_day: int | None) -> None:
        for seed in range(4):
            log = made_up(random.Random(seed), 300)
            dataset = IJCAI15(sample=sample, last_day=last_day, windows=3 + seed % 2)
            arranged, refused = arrange(tmp_path / str(seed), log, FIVE_USERS, dataset)
            assert refused == []
            assert_plainly_arranged(dataset, arranged, log, FIVE_USERS)

    def test_however_the_log_is_cut(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Shards and buckets change neither rows nor their order, and one process gives the files that two give."""
        log = made_up(random.Random(1), 400, users=9)
        users = lines(USER_HEADER, *(f"{user},1,1" for user in range(1, 10)))
        whole, _ = arrange(tmp_path / "whole", log, users)
        monkeypatch.setattr(parse, "SHARD_BYTES", 1500)
        cut, _ = arrange(tmp_path / "cut", log, users)
        twice, _ = arrange(tmp_path / "twice", log, users, processes=2)
        assert len(cut.files) > 10 > len(whole.files) == 3
        assert table(cut, ROWS) == table(whole, ROWS)
        assert_plainly_arranged(IJCAI15(), cut, log, users)
        for (_, one), (_, two) in zip(cut.files, twice.files, strict=True):
            assert one.read_bytes() == two.read_bytes()
        assert not (tmp_path / "cut" / "arranged" / "events").exists()

    def test_the_order_of_lines_says_nothing(self, tmp_path: Path) -> None:
        header, *rows = made_up(random.Random(2), 300).splitlines()
        shuffled = random.Random(0).sample(rows, len(rows))
        one, _ = arrange(tmp_path / "one", b"\n".join([header, *rows, b""]), FIVE_USERS)
        two, _ = arrange(tmp_path / "two", b"\n".join([header, *shuffled, b""]), FIVE_USERS)
        assert by_key(one) == by_key(two)


@pytest.mark.parametrize(("window", "start"), list(enumerate((1027, 1030, 1102, 1105, 1108))))
def test_nothing_later_changes_what_is_known_before(tmp_path: Path, window: int, start: int) -> None:
    """Any actions from the first day of a window on leave the inputs of that window's and earlier samples alone."""
    log = made_up(random.Random(3), 400)
    later = [day for day in (*DAYS, 1109, 1112) if day >= start]
    draw = random.Random(4)
    more = [f"{draw.randrange(1, 6)},{item},7,7,7,{draw.choice(later)},{draw.randrange(4)}\n" for item in range(6, 90)]
    before = by_key(arrange(tmp_path / "before", log, FIVE_USERS)[0])
    after = by_key(arrange(tmp_path / "after", log + "".join(more).encode(), FIVE_USERS)[0])
    pasts = [{(past["group"], past["time"]): past for _, past in samples} for samples in (before, after)]
    earlier = [key for key in pasts[0] if key[1] <= window]
    assert len(earlier) >= window + 1
    assert all(pasts[1][key] == pasts[0][key] for key in earlier)
    assert any(pasts[1][key] != pasts[0][key] for key in pasts[0] if key[1] > window) or window == 4


GOOD = "1,2,3,4,5,829,0"


class TestRefusals:
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            ("", "1 comma-separated columns; there must be 7"),
            (GOOD + ",", "8 comma-separated columns"),
            ("1,2,3,4,829,0", "6 comma-separated columns"),
            ("x,2,3,4,5,829,0", "user_id is 'x'; expected digits"),
            ("1,-2,3,4,5,829,0", "item_id is '-2'"),
            ("1,2,,4,5,829,0", "cat_id is ''"),
            ("1,2,3, 4,5,829,0", "seller_id is ' 4'"),
            ("1,2,3,4,5.0,829,0", "brand_id is '5.0'; expected digits, at most 9223372036854775807, or nothing"),
            ("1,2,3,4,5,229,0", "time_stamp is '229'; expected month and day without a leading zero"),
            ("1,2,3,4,5,0829,0", "time_stamp is '0829'"),
            ("1,2,3,4,5,1131,0", "time_stamp is '1131'"),
            ("1,2,3,4,5,829,4", "action_type is '4'; expected one of 0, 1, 2, 3"),
            ("1,2,3,4,5,829,", "action_type is ''"),
            (GOOD + "\r", "carriage return at the end"),
            ("\ufeff" + GOOD, "byte order mark"),
            ('"1",2,3,4,5,829,0', "without quotes"),
            ("1,2,3,4,5,829,\x000", "printable ASCII"),
            ("6,2,3,4,5,829,0", "its user_id is not in user_info_format1.csv"),
        ],
    )
    def test_lines_of_the_log(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str, reason: str) -> None:
        """The number is that of the line in the file, wherever shards end."""
        monkeypatch.setattr(parse, "SHARD_BYTES", 400)
        good = made_up(random.Random(0), 60)
        log = good + bad.encode() + b"\n" + GOOD.encode() + b"\n"
        arranged, ((name, line, why, text),) = arrange(tmp_path, log, FIVE_USERS)
        assert (name, line, text) == (LOG, good.count(b"\n"), bad.encode())
        assert reason in why
        assert arranged.lines[LOG] == log.count(b"\n") - 1
        assert_plainly_arranged(IJCAI15(), arranged, log, FIVE_USERS)

    def test_a_log_that_was_cut_off(self, tmp_path: Path) -> None:
        log = made_up(random.Random(0), 30)[:-1]
        arranged, ((_, line, why, _),) = arrange(tmp_path, log, FIVE_USERS)
        assert (line, why) == (log.count(b"\n"), "no newline at the end of the file: the file was cut off")
        assert_plainly_arranged(IJCAI15(), arranged, log, FIVE_USERS)

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            ("6,9,1", "age_range is '9'; expected 0 to 8, NULL or nothing"),
            ("6,1,3", "gender is '3'; expected 0 to 2, NULL or nothing"),
            ("6,1.5,1", "age_range is '1.5'"),
            ("6,null,1", "age_range is 'null'"),
            (",1,1", "user_id is ''"),
            ("6,1", "2 comma-separated columns; there must be 3"),
            ("3,1,1", "its user_id is in an earlier line"),
        ],
    )
    def test_users(self, tmp_path: Path, bad: str, reason: str) -> None:
        log, users = made_up(random.Random(0), 60), FIVE_USERS + f"{bad}\n9,1,1\n".encode()
        arranged, ((name, line, why, text),) = arrange(tmp_path, log, users)
        assert (name, line, text) == (USERS, 6, bad.encode())
        assert reason in why
        assert (arranged.lines[USERS], len(table(arranged, "user"))) == (7, 6)
        assert_plainly_arranged(IJCAI15(), arranged, log, users)

    def test_columns_are_found_by_name(self, tmp_path: Path) -> None:
        names = LOG_HEADER.split(",")
        log = made_up(random.Random(5), 100)
        turned = b"\n".join(b",".join([*line.split(b",")[::-1], b"more"]) for line in log.splitlines()) + b"\n"
        assert by_key(arrange(tmp_path / "turned", turned, FIVE_USERS)[0]) == by_key(
            arrange(tmp_path / "straight", log, FIVE_USERS)[0]
        )
        for number, header in enumerate((LOG_HEADER.replace("brand_id", "brand"), ",".join([*names, "item_id"]))):
            with pytest.raises(RawError, match=r"user_log_format1\.csv, line 1: the header must name every column"):
                arrange(tmp_path / str(number), lines(header, GOOD), FIVE_USERS)

    @pytest.mark.parametrize(
        ("log", "users", "reason"),
        [
            (lines(LOG_HEADER), FIVE_USERS, f"{LOG} has no line that can be used"),
            (lines(LOG_HEADER, GOOD), lines(USER_HEADER), f"{USERS} has no line that can be used"),
            (lines(LOG_HEADER, GOOD), FIVE_USERS, "the log goes from 829 to 829; dataset.windows=5 of"),
            (
                lines(LOG_HEADER, "1,2,3,4,5,1027,0", "1,2,3,4,5,1110,0"),
                FIVE_USERS,
                "must begin more than 15 days earlier",
            ),
            (
                lines(LOG_HEADER, "1,2,3,4,5,1026,0", "1,2,3,4,5,1111,0"),
                FIVE_USERS,
                f"{LOG} has no line within the windows",
            ),
        ],
    )
    def test_files_that_give_no_samples(self, tmp_path: Path, log: bytes, users: bytes, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            arrange(tmp_path, log, users)

    @pytest.mark.parametrize(
        ("key", "value", "reason"),
        [
            ("sample", "session", "sample is 'session'; allowed: pair, pair_day"),
            ("windows", 0, "windows is 0; allowed: 1 or more"),
            ("window_days", -1, "window_days is -1"),
            ("history_width", 1, "history_width is 1; allowed: 2 or more"),
            ("last_day", 1131, "last_day is 1131; allowed: month and day such as 1110, or null"),
        ],
    )
    def test_choices(self, key: str, value: Any, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            IJCAI15(**{key: value})


def in_a_line(draw: random.Random, text: bytes) -> bytes:
    """The text with one of its lines below the header damaged."""
    header, *rows = text.splitlines()
    at = draw.randrange(len(rows))
    line = rows[at]
    cells, spot = line.split(b","), draw.randrange(len(line) + 1)
    place, other = draw.randrange(len(cells)), draw.randrange(len(cells))
    strange = draw.choice((b"\x00", b"\x1f", b"\xff", b'"', b" ", b"\x7f", b"-", b"."))
    number = draw.choice((b"", b"9" * 18, b"9" * 19, b"9" * 400, b"0005", b"-1", b"1e3", b"2147483648", b"1.0"))
    swapped, changed, quoted = cells.copy(), cells.copy(), cells.copy()
    swapped[place], swapped[other] = cells[other], cells[place]
    changed[place], quoted[place] = number, b'"' + cells[place] + b'"'
    damages = (
        line[:spot],
        line[:spot] + strange + line[spot:],
        line.replace(b",", draw.choice((b";", b"\t", b", ", b",,"))),
        line + b"\n" * draw.choice((1, 3)),
        header + b"\n" + line,
        *(b",".join(some) for some in (swapped, changed, quoted)),
    )
    rows[at] = draw.choice(damages)
    return b"\n".join([header, *rows, b""])


def in_the_file(draw: random.Random, text: bytes) -> bytes:
    """The text damaged as a whole."""
    header, body = text.split(b"\n", 1)
    names = header.split(b",")
    one, other = draw.sample(range(len(names)), 2)
    names[one], names[other] = names[other], names[one]
    damages = (
        b"",
        text[: draw.randrange(len(text))],
        text[:-1],
        text.replace(b"\n", b"\r\n"),
        draw.choice((b"\xef\xbb\xbf", b"\n", b" ")) + text,
        text.decode("latin-1").encode("utf-16"),
        b",".join(names) + b"\n" + body,
        header + b"," + names[0] + b"\n" + body,
    )
    return draw.choice(damages)


def expected_refusals(log: bytes, users: bytes) -> list[tuple[str, int]] | None:
    """The lines that cannot be used, or None if the files as a whole cannot."""
    try:
        known, bad_users = plain_users(users)
        events, bad_lines = plain_log(log, set(known))
    except RawError:
        return None
    days = [event[5] for event in events]
    inside = [day for day in days if 300 <= day <= 314]
    if not (known and inside and min(days) < 300 and max(days) >= 314):
        return None
    return [(USERS, line) for line in bad_users] + [(LOG, line) for line in bad_lines]


@pytest.mark.parametrize("count", [400, pytest.param(4000, marks=pytest.mark.long)])
def test_damaged_files_are_read_as_they_are_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(parse, "SHARD_BYTES", 500)
    draw = random.Random(count)
    outcomes: Counter[str] = Counter()
    for number in range(count):
        log, users = made_up(draw, 12), FIVE_USERS
        for _ in range(draw.choice((0, 1, 1, 2))):
            log = in_a_line(draw, log)
        if draw.random() < 0.3:
            users = in_a_line(draw, users)
        if draw.random() < 0.15:
            log = in_the_file(draw, log)
        if draw.random() < 0.1:
            users = in_the_file(draw, users)
        expected = expected_refusals(log, users)
        folder = tmp_path / str(number)
        if expected is None:
            outcomes["whole"] += 1
            with pytest.raises(ValueError, match=f"{LOG}|{USERS}|the log goes from"):
                arrange(folder, log, users)
            continue
        arranged, refused = arrange(folder, log, users)
        assert [(name, line) for name, line, _, _ in refused] == expected, (log, users)
        assert all(text == (folder / name).read_bytes().split(b"\n")[line] for name, line, _, text in refused)
        assert_plainly_arranged(IJCAI15(), arranged, log, users)
        outcomes["some lines" if refused else "none"] += 1
    assert min(outcomes[name] for name in ("whole", "some lines", "none")) > count // 20, outcomes


def test_prepare_stops_at_a_bad_line_or_sets_it_aside(tmp_path: Path) -> None:
    rows = [f"{user},1,1,1,1,{day},{user % 2 + 2}" for day in (511, 1028, 1031, 1103, 1106, 1110) for user in (1, 2)]
    rows[5:5] = ["1,2,3", "9,1,1,1,1,1031,0"]
    (tmp_path / LOG).write_bytes(lines(LOG_HEADER, *rows))
    (tmp_path / USERS).write_bytes(TWO_USERS.replace(b"7,", b"1,").replace(b"8,", b"2,"))
    rules: dict[str, Any] = {
        "split": partial(by_time, valid=1, test=1), "provenance": Provenance(origin="real"), "processes": 1
    }  # fmt: skip
    with pytest.raises(RawError, match=f"{LOG}, line 7: 3 comma-separated columns.*reads '1,2,3'"):
        prepare(DEFAULT, tmp_path, tmp_path / "store", **rules)
    store = prepare(DEFAULT, tmp_path, tmp_path / "store", on_error="quarantine", **rules)
    aside = [json.loads(line) for line in (store.folder / "quarantine.jsonl").read_text().splitlines()]
    assert [(bad["file"], bad["line"], bad["text"]) for bad in aside] == [(LOG, 7, rows[5]), (LOG, 8, rows[6])]
    facts = store.manifest["raw"]
    assert (facts[LOG]["lines"], facts[LOG]["rejected"], facts[USERS]["lines"]) == (14, 2, 2)
    assert facts[LOG]["published"] == "differs: 14 lines, published are 54925330"
    assert [store.manifest["splits"][split]["rows"] for split in ("train", "valid", "test")] == [6, 2, 2]
