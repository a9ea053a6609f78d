"""AliExpress: both forms of its files against a plain reader written from the description of the format, and the
simulator against its own files.
"""

import csv
import io
import itertools
import json
import math
import random
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from decoded import decoded
from mtlbench.data.split import by_train_group
from mtlbench.data.store import SPLITS, Store
from mtlbench.datasets.aliexpress import simulator
from mtlbench.datasets.aliexpress.dataset import AliExpress
from mtlbench.datasets.aliexpress.layout import PAGE
from mtlbench.ingest import lines as text_lines
from mtlbench.ingest.parse import cut_file
from mtlbench.ingest.prepare import Provenance, prepare
from mtlbench.ingest.protocol import KEY, LINE, ROWS, Block, RawError, Rejected

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "aliexpress"
needs_real_rows = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real rows are not in {REAL}")

# The format, from its description: 1-based columns of the two raw files, and the header of the processed form.
USER_IDS, USER_NUMBERS = [*range(2, 9), 32, 33], list(range(9, 32))
PRODUCT_IDS = [19, 34, 35, 36, 40, 41, 42]
PRODUCT_NUMBERS = [column for column in range(2, 49) if column not in PRODUCT_IDS]
HEADER = (
    "search_id,"
    + ",".join(f"categorical_{n}" for n in range(1, 17))
    + ","
    + ",".join(f"numerical_{n}" for n in range(1, 64))
    + ",click,conversion"
)


def place_of(columns: list[int], *, first: int, name: str) -> dict[int, str]:
    return {column: f"{name}_{number}" for number, column in enumerate(columns, start=first)}


PAGE_NAMES = {
    1: "search_id",
    **place_of(USER_IDS, first=1, name="categorical"),
    **place_of(USER_NUMBERS, first=1, name="numerical"),
}
PRODUCT_NAMES = {
    1: "search_id",
    **place_of(PRODUCT_IDS, first=10, name="categorical"),
    **place_of(PRODUCT_NUMBERS, first=24, name="numerical"),
    49: "label",
}
NAMES = {
    "page": [PAGE_NAMES[column] for column in range(1, 34)],
    "product": [PRODUCT_NAMES[column] for column in range(1, 50)],
    "processed": HEADER.split(","),
}
Kind = Literal["page", "product", "processed"]
FILES: dict[Kind, tuple[AliExpress, str]] = {
    "page": (AliExpress(numbers="apart"), "nl_user_train.csv"),
    "product": (AliExpress(numbers="apart"), "nl_item_train.csv"),
    "processed": (AliExpress(form="processed", numbers="apart"), "train.csv"),
}


def reference(content: bytes, kind: Kind) -> tuple[list[dict[str, Any]], list[int]] | None:
    """Accepted lines by name (``line`` too) and numbers of refused lines; ``None`` if the whole file is refused."""
    *ended, rest = content.split(b"\n")
    names, first = NAMES[kind], 0
    if kind == "processed":
        header = ended[0].decode("latin-1") if ended else ""
        names, first = header.split(","), 1
        if any(names.count(name) != 1 for name in NAMES["processed"]) or not clean(ended[0] if ended else b"\x00"):
            return None
    accepted, refused = [], []
    for number, line in enumerate([*ended, rest] if rest else ended):
        if number < first:
            continue
        values = plain_values(line, names) if number < len(ended) else None
        if values is None:
            refused.append(number)
        else:
            accepted.append({"line": number, **values})
    return accepted, refused


def clean(line: bytes) -> bool:
    return all(32 <= byte < 127 and byte != ord('"') for byte in line)


def plain_values(line: bytes, names: list[str]) -> dict[str, Any] | None:
    cells = line.decode("latin-1").split(",")
    if not clean(line) or len(cells) != len(names):
        return None
    values: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=True):
        if name in ("label", "click", "conversion"):
            if cell not in ("012" if name == "label" else "01") or not cell:
                return None
            values[name] = int(cell)
        elif name.startswith("numerical"):
            if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell, re.ASCII):
                return None
            with np.errstate(over="ignore"):
                values[name] = float(np.float32(float(cell)))
            if not math.isfinite(values[name]):
                return None
        elif name in NAMES["page"] or name in NAMES["product"]:
            if not re.fullmatch(r"0*\d{1,19}", cell, re.ASCII) or int(cell) >= 2**63:
                return None
            values[name] = int(cell)
    return values


def read(path: Path, dataset: AliExpress) -> list[Block]:
    file = next(file for file in dataset.files if path.name == file.name)
    return [block for shard in cut_file(path, file) for block in dataset.read(shard)]


def by_name(blocks: list[Block]) -> list[dict[str, Any]]:
    return [row for block in blocks for row in block.columns.to_pylist()]


def refused(blocks: list[Block]) -> list[Rejected]:
    return [bad for block in blocks for bad in block.rejected]


def made_up(draw: random.Random, kind: Kind, search_id: int = 7) -> str:
    """A good line, with numbers of every spelling."""
    cells = []
    for name in NAMES[kind]:
        if name == "search_id":
            cells.append(str(search_id))
        elif name.startswith("categorical"):
            cells.append(str(draw.choice((0, 1, draw.randrange(60)))))
        elif name.startswith("numerical"):
            decimal = f"{draw.random():.{draw.randrange(1, 17)}f}"
            cells.append(
                draw.choice(("0", "0.0", "1.0", decimal, decimal, "1e-05", "0.1111109999999999", "1E+2", ".5"))
            )
        else:
            cells.append({"label": str(draw.randrange(3)), "click": "1"}.get(name, str(draw.randrange(2))))
    return ",".join(cells)


def made_up_file(draw: random.Random, kind: Kind, lines: int = 3) -> bytes:
    text = [made_up(draw, kind, draw.randrange(20)) for _ in range(lines)]
    return "\n".join([HEADER] * (kind == "processed") + text + [""]).encode()


def line_of(kind: Kind, **changed: str) -> str:
    values = {name: "0.5" if name.startswith("numerical") else "1" for name in NAMES[kind]} | changed
    return ",".join(values[name] for name in NAMES[kind])


def write(folder: Path, kind: Kind, *lines: str) -> Path:
    path = folder / FILES[kind][1]
    path.write_text("".join(f"{line}\n" for line in ([HEADER] if kind == "processed" else []) + list(lines)))
    return path


def test_fields_are_the_sixteen_ids_and_sixty_three_numbers() -> None:
    for form in ("raw", "processed"):
        fields = AliExpress(form=form, numbers="apart").fields
        assert [f.name for f in fields if f.kind == "id"] == [f"categorical_{n}" for n in range(1, 17)]
        assert [f.name for f in fields if f.kind == "number"] == [f"numerical_{n}" for n in range(1, 64)]
        assert all((f.table == PAGE) == (form == "raw" and f.role == "user") for f in fields)
    assert [(f.name, f.width) for f in AliExpress().fields if f.kind == "number"] == [
        ("page_numbers", 23),
        ("item_numbers", 40),
    ]


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_label_of_two_is_a_click_and_a_purchase(tmp_path: Path, label: int) -> None:
    (row,) = by_name(read(write(tmp_path, "product", line_of("product", label=str(label))), FILES["product"][0]))
    assert (row["click"], row["conversion"]) == [(0, 0), (1, 0), (1, 1)][label]
    assert row[f"{KEY}:{PAGE}"] == 1


def test_numbers_stand_together_in_the_order_of_their_columns(tmp_path: Path) -> None:
    numbers = {name: f"0.{number:03}" for number, name in enumerate(NAMES["product"]) if name.startswith("numer")}
    (row,) = by_name(read(write(tmp_path, "product", line_of("product", **numbers)), AliExpress()))
    assert row["item_numbers"] == [np.float32(numbers[f"numerical_{n}"]) for n in range(24, 64)]


def test_pages_of_the_test_part_are_other_groups(tmp_path: Path) -> None:
    (tmp_path / "nl_user_train.csv").write_text(line_of("page", search_id="0") + "\n" + line_of("page") + "\n")
    (tmp_path / "nl_user_test.csv").write_bytes((tmp_path / "nl_user_train.csv").read_bytes())
    groups = [
        [(row[KEY], row["group"]) for row in by_name(read(tmp_path / f"nl_user_{part}.csv", AliExpress()))]
        for part in ("train", "test")
    ]
    assert groups == [[(0, 0), (1, 1)], [(0, -1), (1, -2)]]


@pytest.mark.parametrize(
    ("kind", "bad", "reason"),
    [
        ("page", "", "1 comma-separated columns; there must be 33"),
        ("page", line_of("page") + ",1", "34 comma-separated columns; there must be 33"),
        ("page", line_of("page", search_id="x7"), "search_id is 'x7'; expected digits"),
        ("page", line_of("page", search_id=""), "search_id is ''; expected digits"),
        ("page", line_of("page", categorical_9="-1"), "categorical_9 is '-1'; expected digits"),
        ("page", line_of("page", categorical_2="9223372036854775808"), "expected digits, at most 9223372036854775807"),
        ("page", line_of("page", numerical_1="nan"), "numerical_1 is 'nan'; expected a finite decimal number"),
        ("page", line_of("page", numerical_23="1e39"), "numerical_23 is '1e39'"),
        ("page", line_of("page", numerical_2=""), "numerical_2 is ''"),
        ("page", line_of("page") + "\r", "carriage return at the end"),
        ("page", line_of("page", numerical_3='"0.5"'), "quotes"),
        ("product", line_of("product", label="3"), "label is '3'; expected one of 0, 1, 2"),
        ("product", line_of("product", label="1.0"), "label is '1.0'"),
        ("product", line_of("product", categorical_10="1.0"), "categorical_10 is '1.0'; expected digits"),
        ("product", line_of("product").replace(",", ";"), "1 comma-separated columns"),
        ("processed", line_of("processed", click="2"), "click is '2'; expected one of 0, 1"),
        ("processed", HEADER, "search_id is 'search_id'"),
    ],
)
def test_bad_lines_are_refused_with_their_number_and_the_reason(
    tmp_path: Path, kind: Kind, bad: str, reason: str
) -> None:
    blocks = read(write(tmp_path, kind, line_of(kind), bad, line_of(kind)), FILES[kind][0])
    first = int(kind == "processed")
    (found,) = refused(blocks)
    assert found.line == first + 1
    assert reason in found.reason
    assert [row[LINE] for row in by_name(blocks)] == [first, first + 2]
    assert sum(block.lines for block in blocks) == first + 3


@pytest.mark.parametrize("kind", FILES)
def test_a_last_line_without_a_newline_may_have_been_cut_off(tmp_path: Path, kind: Kind) -> None:
    path = write(tmp_path, kind, line_of(kind), line_of(kind))
    path.write_bytes(path.read_bytes()[:-1])
    blocks = read(path, FILES[kind][0])
    assert len(by_name(blocks)) == 1
    assert [bad.reason for bad in refused(blocks)] == ["no newline at the end of the file: the file was cut off"]


def test_a_processed_file_needs_its_header(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(line_of("processed") + "\n")
    with pytest.raises(RawError, match=r"train\.csv, line 1: the header must name every column"):
        read(path, FILES["processed"][0])


def mutated(draw: random.Random, content: bytes) -> bytes:  # noqa: C901, PLR0911, PLR0912  # a case per kind of damage
    """A file as careless copying, cutting and converting leave it."""
    lines = content.split(b"\n")[:-1]
    at = draw.randrange(len(lines))
    cells = lines[at].split(b",")
    place, other = draw.randrange(len(cells)), draw.randrange(len(cells))
    match draw.randrange(16):
        case 0:
            return content[: draw.randrange(len(content))]
        case 1:
            cells[place], cells[other] = cells[other], cells[place]
        case 2:
            cells.pop(place)
        case 3:
            cells.insert(place, draw.choice((b"", b"1", b"0.5")))
        case 4:
            return content.replace(b",", draw.choice((b";", b"\t", b", ", b",,")), draw.choice((1, 3, -1)))
        case 5:
            cells[place] += draw.choice((b"\x00", b"\x01", b"\x1f", b"\x7f", b"\t", b" ", b"\x0b", b"\x0c"))
        case 6:
            huge = (b"1e39", b"-1e400", b"9" * 19, b"9" * 25, b"9223372036854775807", b"1e-400", b"0" * 30 + b"7")
            cells[place] = draw.choice(huge)
        case 7:
            return b""
        case 8:
            return content.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\n")), draw.choice((1, -1)))
        case 9:
            foreign = content.decode("latin-1").encode(draw.choice(("utf-16", "utf-32", "utf-16-le")))
            return draw.choice((b"\xef\xbb\xbf" + content, foreign))
        case 10:
            lines.insert(draw.randrange(len(lines) + 1), draw.choice((lines[0], HEADER.encode(), b"", b",", b"#")))
            return b"\n".join(lines) + b"\n"
        case 11:
            return content[:-1]
        case 12:
            cells[place] = draw.choice((b'"1"', b'"', b"'0'", b'1"', b'"1,0"', b'"\n"'))
        case 13:
            odd = (b"nan", b"inf", b"-0", b"+1", b"0x1", b"1.", b".", b"-", b"1e", b"e1", b"1_0", b"NULL", b"", b"--1")
            cells[place] = draw.choice((*odd, "\u0663".encode(), b"01", b"1e5", b"+.5E-3"))
        case 14:
            spot = draw.randrange(len(content))
            return content[:spot] + bytes([draw.randrange(256)]) + content[spot + draw.randrange(2) :]
        case _:
            cells[-1] = draw.choice((b"0", b"1", b"2", b"3", b"00", b"1 "))
    lines[at] = b",".join(cells)
    return b"\n".join(lines) + b"\n"


@pytest.mark.parametrize("count", [500, pytest.param(6000, marks=pytest.mark.long)])
def test_whatever_happened_to_a_file_it_is_read_as_the_plain_reader_reads_it(tmp_path: Path, count: int) -> None:
    draw = random.Random(count)
    outcomes: Counter[str] = Counter()
    for number in range(count):
        kind: Kind = draw.choice(tuple(FILES))
        content = mutated(draw, made_up_file(draw, kind))
        dataset, name = FILES[kind]
        path = tmp_path / name
        path.write_bytes(content)
        expected = reference(content, kind)
        try:
            blocks = read(path, dataset)
        except RawError as error:
            assert (expected, "line 1: the header" in str(error)) == (None, True), (number, content)  # noqa: PT017
            outcomes["file refused"] += 1
            continue
        if not content:
            assert blocks == []
            continue
        assert expected is not None, (number, content)
        rows, bad = expected
        assert [found.line for found in refused(blocks)] == bad, (number, content)
        assert all(found.reason for found in refused(blocks))
        assert by_name(blocks) == [as_block(row, kind) for row in rows], (number, content)
        outcomes["lines refused" if bad else "all read"] += 1
    assert all(outcomes[what] > count // 60 for what in ("file refused", "lines refused", "all read")), outcomes


def as_block(row: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """What the reader gives for a line that the plain reader read so."""
    row = dict(row)
    page = row.pop("search_id")
    if kind == "page":
        return {**row, KEY: page, "group": page}
    if kind == "processed":
        return {**row, "group": page}
    label = row.pop("label")
    return {**row, f"{KEY}:{PAGE}": page, "click": int(label > 0), "conversion": int(label == 2)}


def test_blocks_do_not_depend_on_how_much_is_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)
    lines = [made_up(draw, "product") for _ in range(70)]
    lines[30] = "damaged"
    path = write(tmp_path, "product", *lines)
    whole = read(path, AliExpress())
    assert [bad.line for bad in refused(whole)] == [30]
    for size in (100, 3000):  # the first is shorter than a line
        monkeypatch.setattr(text_lines, "PIECE_BYTES", size)
        cut = read(path, AliExpress())
        assert len(cut) > len(whole)
        assert by_name(cut) == by_name(whole)
        assert refused(cut) == refused(whole)


@pytest.mark.parametrize("folder", ["", "NL", "aliexpress_NL_datasets", "AliExpress_NL"])
def test_files_are_found_however_the_archive_was_unpacked(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    for form in ("raw", "processed"):
        files = AliExpress(form=form).files
        for file in files:
            (tmp_path / folder / file.name).write_text("x")
        assert [file.find(tmp_path) for file in files] == [tmp_path / folder / file.name for file in files]
        assert all(file.find(tmp_path) is None for file in AliExpress(country="RU").files if form == "raw")


def test_choices_are_named() -> None:
    with pytest.raises(ValueError, match="country is 'DE'; allowed: NL, ES, FR, US, RU"):
        AliExpress(country="DE")  # pyright: ignore[reportArgumentType]
    assert "set dataset.source=simulated" in AliExpress().where
    assert "MTReclib" in AliExpress(form="processed").where
    with pytest.raises(ValueError, match=r"only the publisher's form is simulated; set dataset\.files=raw"):
        AliExpress(form="processed").simulate(Path("unused"))


def prepared(raw: Path, store: Path, dataset: AliExpress, origin: Literal["real", "simulated"] = "simulated") -> Store:
    split = partial(by_train_group, valid=0.3, seed=0)
    return prepare(
        dataset,
        raw,
        store,
        split=split,
        processes=1,
        provenance=Provenance(origin=origin),
        one_class="note",
        disjoint=["group"],
    )


@needs_real_rows
class TestRealRows:
    def test_they_are_read_as_they_are(self) -> None:
        for part, clicks, conversions in (("train", 3, 2), ("test", 6, 1)):
            with (REAL / f"{part}.csv").open(newline="") as file:
                expected = list(csv.DictReader(file))
            blocks = read(REAL / f"{part}.csv", FILES["processed"][0])
            rows = by_name(blocks)
            assert (len(rows), refused(blocks), sum(block.lines for block in blocks)) == (100, [], 101)
            assert [sum(row[label] for row in rows) for label in ("click", "conversion")] == [clicks, conversions]
            for row, plain in zip(rows, expected, strict=True):
                page = int(plain.pop("search_id"))
                assert row["group"] == (page if part == "train" else -1 - page)
                assert all(row[name] == np.float32(value) for name, value in plain.items())

    def test_numbers_lie_within_zero_and_one_and_pages_repeat_theirs(self) -> None:
        for part in ("train", "test"):
            rows = by_name(read(REAL / f"{part}.csv", FILES["processed"][0]))
            assert all(0 <= row[f"numerical_{n}"] <= 1 for row in rows for n in range(1, 64))
            page = set(NAMES["page"]) - {"search_id"}
            seen: dict[int, dict[str, Any]] = {}
            for row in rows:
                own = {name: row[name] for name in page}
                assert seen.setdefault(row["group"], own) == own
            assert len(seen) < 60

    def test_both_parts_use_the_same_search_ids_for_different_pages(self) -> None:
        page = {
            part: {
                ~row["group"] if part == "test" else row["group"]: [row[name] for name in NAMES["page"][1:]]
                for row in by_name(read(REAL / f"{part}.csv", FILES["processed"][0]))
            }
            for part in ("train", "test")
        }
        shared = page["train"].keys() & page["test"].keys()
        assert len(shared) == 4
        assert all(page["train"][number] != page["test"][number] for number in shared)

    @pytest.mark.parametrize("numbers", ["together", "apart"])
    def test_both_forms_become_the_same_rows(self, tmp_path: Path, numbers: Literal["together", "apart"]) -> None:
        """The processed rows taken apart again into the publisher's files."""
        for part in ("train", "test"):
            with (REAL / f"{part}.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            pages = {row["search_id"]: ",".join(row[name] for name in NAMES["page"]) for row in rows}
            for row in rows:
                row["label"] = str(int(row["click"]) + int(row["conversion"]))
            products = [",".join(row[name] for name in NAMES["product"]) for row in rows]
            (tmp_path / f"nl_user_{part}.csv").write_text("\n".join([*reversed(pages.values()), ""]))
            (tmp_path / f"nl_item_{part}.csv").write_text("\n".join([*products, ""]))
        raw = prepared(tmp_path, tmp_path / "a", AliExpress(numbers=numbers), "real")
        processed = prepared(REAL, tmp_path / "b", AliExpress(numbers=numbers, form="processed"), "real")
        assert sum(len(decoded(raw, split)) for split in SPLITS) == 200
        for split in SPLITS:
            for one, other in zip(decoded(raw, split), decoded(processed, split), strict=True):
                assert one.keys() == other.keys()
                for name in one:
                    assert one[name] == pytest.approx(other[name], abs=1e-6), name
        assert raw.schema.tables == (PAGE,)
        assert processed.schema.tables == ()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    AliExpress().simulate(folder, rows=2000, test_rows=500)
    return folder


@pytest.fixture(scope="module")
def store(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return prepared(made, tmp_path_factory.mktemp("store") / "s", AliExpress(numbers="apart"))


def plain_file(path: Path, kind: Kind) -> list[dict[str, Any]]:
    return [dict(zip(NAMES[kind], row, strict=True)) for row in csv.reader(io.StringIO(path.read_text()))]


def joined(folder: Path, part: str) -> list[dict[str, Any]]:
    """The rows of a part as text, with the page's values and the truth; the join and the labels done by hand."""
    pages = {page["search_id"]: page for page in plain_file(folder / f"nl_user_{part}.csv", "page")}
    rows = [{**pages[row["search_id"]], **row} for row in plain_file(folder / f"nl_item_{part}.csv", "product")]
    truth = np.load(folder / f"nl_item_{part}.csv.truth.npy")
    return [{**row, "truth": chance} for row, chance in zip(rows, truth, strict=True)]


def test_every_planted_row_comes_back(made: Path, store: Store) -> None:
    of_part = {part: joined(made, part) for part in ("train", "test")}
    assert {part: len(rows) for part, rows in of_part.items()} == {"train": 2000, "test": 500}
    groups = {split: {row["group"] for row in decoded(store, split)} for split in SPLITS}
    expected = {
        split: [row for row in of_part["train"] if int(row["search_id"]) in groups[split]]
        for split in ("train", "valid")
    }
    expected["test"] = of_part["test"]
    assert len(expected["train"]) + len(expected["valid"]) == 2000
    known = {f"categorical_{n}": {row[f"categorical_{n}"] for row in expected["train"]} for n in range(1, 17)}
    for split in SPLITS:
        rows, truth = decoded(store, split), store.split(split).columns["truth"].numpy()
        for row, chance, plain in zip(rows, truth, expected[split], strict=True):
            page = int(plain["search_id"])
            assert row["group"] == (-1 - page if split == "test" else page)
            assert (row["click"], row["conversion"]) == (int(plain["label"] != "0"), int(plain["label"] == "2"))
            for name, values in known.items():
                assert row[name] == (int(plain[name]) if plain[name] in values else None)
            assert chance.tolist() == plain["truth"].tolist()
        found, planted = (
            [[float(row[f"numerical_{n}"]) for n in range(1, 64)] for row in both] for both in (rows, expected[split])
        )
        np.testing.assert_allclose(found, planted, rtol=0, atol=1e-6)


def test_test_rows_teach_nothing(made: Path, store: Store, tmp_path: Path) -> None:
    """Vocabularies and scales are the same whatever the test part and the validation rows hold."""
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "nl_user_test.csv"
    pages = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(",".join([page[0], *["77"] * 32]) + "\n" for page in pages))
    other = prepared(tmp_path, tmp_path / "store", AliExpress(numbers="apart"))
    for name in (f"categorical_{n}" for n in range(1, 17)):
        assert other.vocabulary(name).values.equals(store.vocabulary(name).values)
    for name in (f"numerical_{n}" for n in range(1, 64)):
        scales = (built.manifest["fields"][name] for built in (other, store))
        assert len({(*scale["mean"], *scale["deviation"]) for scale in scales}) == 1
    assert {row["categorical_1"] for row in decoded(other, "test")} == {None}
    assert decoded(other, "train") == decoded(store, "train")


def test_simulated_pages_and_rates_are_what_the_docstrings_say(made: Path, tmp_path: Path) -> None:
    rows = plain_file(made / "nl_item_train.csv", "product")
    pages = plain_file(made / "nl_user_train.csv", "page")
    assert [int(page["search_id"]) for page in pages] == list(range(len(pages)))
    assert len(rows) / len(pages) == pytest.approx(simulator.ROWS_PER_PAGE, rel=0.15)
    assert len({row["search_id"] for row in rows}) == len(pages)
    assert sum(a["search_id"] == b["search_id"] for a, b in itertools.pairwise(rows)) < 100, "shuffled"
    assert {row["numerical_58"] for row in rows} == {"0"}
    assert all(re.fullmatch(r"0|0\.\d{1,6}|1|\de-0\d", row["numerical_24"]) for row in rows)
    for folder, clicks, bought in ((made, 0.2, 0.2), (tmp_path, 0.02, 0.04)):
        if folder is tmp_path:
            AliExpress().simulate(folder, rows=2000, rates="sparse")
        truth = np.load(folder / "nl_item_train.csv.truth.npy")
        assert truth.mean(axis=0) == pytest.approx([clicks, clicks * bought], rel=1e-4)
    facts = json.loads((made / "simulated.json").read_text())
    assert (facts["name"], facts["country"], facts["knobs"]["rows"]) == ("aliexpress", "NL", 2000)


def test_relatedness_is_the_correlation_of_the_log_odds(tmp_path: Path) -> None:
    for relatedness in (0.0, 0.5, 1.0):
        AliExpress().simulate(tmp_path / str(relatedness), rows=4000, relatedness=relatedness)
        truth = np.load(tmp_path / str(relatedness) / "nl_item_train.csv.truth.npy").astype(float)
        after = truth[:, 1] / truth[:, 0]
        found = np.corrcoef(np.log(truth[:, 0] / (1 - truth[:, 0])), np.log(after / (1 - after)))[0, 1]
        assert found == pytest.approx(relatedness, abs=1e-4)


def test_structure_can_be_learnt_and_can_be_destroyed(tmp_path: Path) -> None:
    """A linear model of ids and numbers finds main effects, and nothing where there is nothing."""
    for structure in (True, False):
        folder = tmp_path / str(structure)
        AliExpress().simulate(folder / "raw", rows=6000, structure=structure)
        store = prepared(folder / "raw", folder / "store", AliExpress())
        rows = {split: joined_arrays(store, split) for split in ("train", "test")}
        model = Ridge(alpha=10).fit(*rows["train"])
        score = float(roc_auc_score(rows["test"][1], model.predict(rows["test"][0])))
        truth = store.split("test").columns["truth"].numpy()
        if structure:
            assert score - 0.5 > 0.6 * (roc_auc_score(rows["test"][1], truth[:, 0]) - 0.5)
        else:
            assert abs(score - 0.5) < 0.05
            assert len(np.unique(truth, axis=0)) == 1


def joined_arrays(store: Store, split: str) -> tuple[np.ndarray, np.ndarray]:
    rows = store.split(split)
    batch = rows.gather(torch.arange(len(rows)))
    one_hot = np.zeros((len(rows), store.schema.embedding_rows), np.float32)
    one_hot[np.arange(len(rows))[:, None], batch.ids.numpy()] = 1
    assert batch.labels is not None
    return np.concatenate([one_hot, batch.numbers.numpy()], axis=1), batch.labels[:, 0].numpy()


def test_simulation_is_a_function_of_its_knobs(tmp_path: Path) -> None:
    for name, country, seed in (("a", "NL", 1), ("b", "NL", 1), ("c", "NL", 2), ("d", "FR", 1)):
        AliExpress(country=country).simulate(tmp_path / name, rows=300, seed=seed)
    content = [{path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())} for name in "abcd"]
    assert content[0] == content[1]
    assert content[0]["nl_item_train.csv"] != content[2]["nl_item_train.csv"]
    assert content[0]["nl_item_train.csv"] == content[3]["fr_item_train.csv"], "nothing depends on the country"
    with pytest.raises(ValueError, match=r"relatedness is 1\.5; allowed: 0 to 1"):
        AliExpress().simulate(tmp_path, relatedness=1.5)
    with pytest.raises(ValueError, match="rates is 'official'; allowed: auto, sparse, demo"):
        AliExpress().simulate(tmp_path, rates="official")  # pyright: ignore[reportArgumentType]


def test_a_page_without_products_and_a_product_without_a_page(made: Path, tmp_path: Path) -> None:
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "nl_user_train.csv").open("a") as file:
        file.write(line_of("page", search_id="999999") + "\n")
    assert sum(len(decoded(prepared(tmp_path, tmp_path / "ok", AliExpress()), s)) for s in SPLITS) == 2500
    with (tmp_path / "nl_item_train.csv").open("a") as file:
        file.write(line_of("product", search_id="888888") + "\n")
    np.save(
        tmp_path / "nl_item_train.csv.truth.npy",
        np.concatenate([np.load(made / "nl_item_train.csv.truth.npy"), [[0.5, 0.5]]]),
    )
    with pytest.raises(RawError, match=r"nl_item_train\.csv, line 2001: its key is not in table 'page'.*888888"):
        prepared(tmp_path, tmp_path / "bad", AliExpress())


def test_the_four_files_fill_rows_and_pages() -> None:
    assert [(file.name, file.table, file.part) for file in AliExpress(country="US").files] == [
        ("us_user_train.csv", PAGE, "train"),
        ("us_item_train.csv", ROWS, "train"),
        ("us_user_test.csv", PAGE, "test"),
        ("us_item_test.csv", ROWS, "test"),
    ]
