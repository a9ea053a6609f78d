"""Criteo: the format, that the fast way is the plain one, what prepare makes of it, and the synthetic file."""

import json
import math
import random
import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mtlbench.cli.compose import compose
from mtlbench.data.split import TEST, TRAIN, SplitInput, at_random, stratified
from mtlbench.data.store import SPLITS, Store
from mtlbench.datasets.criteo import fast_reader, simulator
from mtlbench.datasets.criteo.dataset import Criteo, squared_log_bucket
from mtlbench.datasets.criteo.reference_reader import CATEGORIES, COLUMNS, NUMBERS
from mtlbench.datasets.criteo.simulator import MISSING, RATE, CriteoPopulation, category_hash
from mtlbench.experiment.data import open_or_prepare, resolve_data
from mtlbench.export.inputs import Inputs
from mtlbench.ingest import lines as text_lines
from mtlbench.ingest.manifest import Provenance
from mtlbench.ingest.parse import cut_file
from mtlbench.ingest.prepare import prepare
from mtlbench.ingest.protocol import LINE, Block, RawError, Rejected, Shard

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "criteo"
RAW = Criteo(numbers="standardise", compress=False)
"""The reader that gives numbers as they stand."""
ROWS = 6000
"""Simulated for most tests."""

GOOD = b"1\t7\t-2\t\t0\t23159456\t" + b"\t".join([b"5"] * 8) + b"\t" + b"\t".join([b"00c0ffee"] * 25) + b"\t"
"""Made up: I3 and C26 are missing."""

LINE_FORMAT = re.compile(rb"([01])" + rb"\t(-?[0-9]{1,9}|)" * 13 + rb"\t([0-9a-f]{8}|)" * 26)


def reference(text: bytes) -> tuple[list[tuple], list[int]]:
    """Rows ``(line, click, numbers and hashes, None where missing)`` and refused lines, by one regular expression.

    A line ends with a newline; the last one may end with a whole C26 instead.
    """
    rows, refused = [], []
    pieces = text.split(b"\n")
    for number, line in enumerate(pieces if pieces[-1] else pieces[:-1]):
        match = LINE_FORMAT.fullmatch(line)
        unfinished = number == len(pieces) - 1 and not (match and match.group(40))
        if match is None or unfinished:
            refused.append(number)
            continue
        click, *values = match.groups()
        bases = [10] * 13 + [16] * 26
        rows.append((number, int(click), *(int(v, b) if v else None for v, b in zip(values, bases, strict=True))))
    return rows, refused


def shard(path: Path) -> Shard:
    return Shard(path=path, file=RAW.files[0], start=0, stop=path.stat().st_size)


def read(path: Path, text: bytes, dataset: Criteo = RAW) -> list[Block]:
    path.write_bytes(text)
    return list(dataset.read(shard(path)))


def rows(blocks: list[Block]) -> list[tuple]:
    names = (LINE, "click", *NUMBERS, *CATEGORIES)
    return [tuple(row[name] for name in names) for block in blocks for row in block.columns.to_pylist()]


def rejected(blocks: list[Block]) -> list[Rejected]:
    return [bad for block in blocks for bad in block.rejected]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.txt"


class TestTheFormat:
    def test_every_column_arrives(self, path: Path) -> None:
        (row,) = rows(read(path, GOOD + b"\n"))
        assert row == (0, 1, 7, -2, None, 0, 23159456, *[5] * 8, *[0x00C0FFEE] * 25, None)

    def test_every_value_may_be_missing_but_the_label(self, path: Path) -> None:
        assert rows(read(path, b"0" + b"\t" * 39 + b"\n")) == [(0, 0, *[None] * 39)]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"", "empty line"),
            (GOOD + b"\r", "carriage return at the end"),
            (b"\xef\xbb\xbf" + GOOD, "byte order mark"),
            (GOOD[:-1], "39 tab-separated columns; expected 40"),
            (GOOD + b"\t", "41 tab-separated columns; expected 40"),
            (GOOD.replace(b"\t", b","), "1 tab-separated columns"),
            (GOOD.replace(b"1\t7", b"\t7"), "label is ''; expected 0 or 1"),
            (GOOD.replace(b"1\t7", b"2\t7"), "label is '2'; expected 0 or 1"),
            (GOOD.replace(b"1\t7", b"01\t7"), "label is '01'"),
            (GOOD.replace(b"\t7\t", b"\t-\t"), "I1 is '-'; expected nothing or a whole number"),
            (GOOD.replace(b"\t7\t", b"\t7.0\t"), "I1 is '7.0'"),
            (GOOD.replace(b"\t7\t", b"\t+7\t"), "I1 is '\\+7'"),
            (GOOD.replace(b"\t7\t", b"\t 7\t"), "I1 is ' 7'"),
            (GOOD.replace(b"\t7\t", b"\t7-\t"), "I1 is '7-'"),
            (GOOD.replace(b"\t7\t", b"\t--7\t"), "I1 is '--7'"),
            (GOOD.replace(b"23159456", b"1234567890"), "I5 is '1234567890'; .* of up to 9 digits"),
            (GOOD.replace(b"00c0ffee", b"00C0FFEE", 1), "C1 is '00C0FFEE'; expected nothing or eight lower-case"),
            (GOOD.replace(b"00c0ffee", b"0c0ffee", 1), "C1 is '0c0ffee'"),
            (GOOD.replace(b"00c0ffee", b"00c0ffeee", 1), "C1 is '00c0ffeee'"),
            (GOOD.replace(b"00c0ffee", b'"0c0ffe"', 1), "C1 is '\"0c0ffe\"'"),
            (GOOD.replace(b"00c0ffee", b"00c0ff\x00e", 1), r"C1 is '00c0ff\\x00e'"),
            (b"\t".join(name.encode() for name in COLUMNS), "label is 'label'"),
        ],
    )
    def test_a_bad_line_is_refused_with_its_number_and_the_reason(self, path: Path, line: bytes, reason: str) -> None:
        (block,) = read(path, GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
        (bad,) = block.rejected
        assert (bad.line, bad.text, block.lines) == (1, line, 3)
        assert re.search(reason, bad.reason)
        assert block.columns[LINE].to_pylist() == [0, 2]

    def test_a_last_line_without_newline_is_read_where_its_last_value_shows_that_it_is_whole(self, path: Path) -> None:
        whole = GOOD + b"00c0ffee"
        assert [row[0] for row in rows(read(path, whole + b"\n" + whole))] == [0, 1]
        for last in (GOOD, whole[:-1], b"0", whole[:-40]):
            blocks = read(path, whole + b"\n" + last)
            assert [bad.line for bad in rejected(blocks)] == [1]
        assert "no newline at the end of the file and no C26" in rejected(read(path, GOOD))[0].reason

    def test_a_file_without_newlines_is_no_text_file(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(text_lines, "LONGEST_LINE", 1000)
        monkeypatch.setattr(text_lines, "PIECE_BYTES", 100)
        with pytest.raises(RawError, match=r"train.txt: no newline in the \d+ bytes before byte \d+"):
            read(path, b"x" * 5000)

    def test_shards_and_pieces_cut_anywhere_give_every_line_once(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        draw = random.Random(0)
        text = [random_line(draw) for _ in range(700)]
        text[100] = text[699] = b"bad"
        whole = rows(read(path, b"\n".join(text)))
        refusals = rejected(read(path, b"\n".join(text)))
        assert [bad.line for bad in refusals] == [100, 699]
        for size in (60, 5000):
            monkeypatch.setattr(text_lines, "PIECE_BYTES", size)
            assert rows(read(path, b"\n".join(text))) == whole
            assert rejected(read(path, b"\n".join(text))) == refusals
        monkeypatch.setattr("mtlbench.ingest.parse.SHARD_BYTES", 10_000)
        found = [rows(list(RAW.read(part))) for part in cut_file(path, RAW.files[0])]
        assert len(found) > 10
        assert [row[1:] for part in found for row in part] == [row[1:] for row in whole]


class TestNumbers:
    def test_buckets_are_those_of_the_winners_of_the_challenge(self, path: Path) -> None:
        """Juan et al. name a bucket int(ln(v)^2) above 2, 'SP' + v up to there: each name has one id, and no two."""
        values = [*range(-300, 5000), *range(10**6, 10**6 + 50), *[10**k + d for k in range(4, 10) for d in (-1, 0)]]
        values = [value for value in values if value < 10**9] + [999_999_999]
        names = [str(int(math.log(v) ** 2)) if v > 2 else f"SP{v}" for v in values]
        buckets = squared_log_bucket(np.array(values, np.int32)).tolist()
        assert len(set(zip(names, buckets, strict=True))) == len(set(names)) == len(set(buckets))
        assert [bucket for value, bucket in zip(values, buckets, strict=True) if value > 2] == [
            int(name) for name in names if not name.startswith("SP")
        ]
        (block,) = read(path, GOOD + b"\n", Criteo())
        assert block.columns["I1"].to_pylist() == [int(math.log(7) ** 2)]
        assert [block.columns[name].to_pylist()[0] for name in ("I2", "I3", "I4", "I5")] == [-5, None, -3, 287]
        assert pa.types.is_integer(block.columns["I1"].type)

    @pytest.mark.parametrize("compress", [True, False])
    def test_numbers_are_read_as_they_are_and_compressed_by_their_field(self, path: Path, compress: bool) -> None:
        dataset = Criteo(numbers="standardise", compress=compress)
        (block,) = read(path, GOOD + b"\n", dataset)
        assert [block.columns[name].to_pylist()[0] for name in ("I1", "I2", "I3", "I4")] == [7, -2, None, 0]
        assert {field.compress for field in dataset.fields if field.name in NUMBERS} == {compress}

    def test_fields_are_ids_or_numbers_and_all_of_them_are_read(self, path: Path) -> None:
        for dataset, kind in ((Criteo(), "id"), (RAW, "number")):
            assert {field.kind for field in dataset.fields if field.name in NUMBERS} == {kind}
            assert {field.kind for field in dataset.fields if field.name in CATEGORIES} == {"id"}
            (block,) = read(path, GOOD + b"\n", dataset)
            assert {field.name for field in dataset.fields} == set(block.columns.schema.names) - {LINE, "click"}

    def test_a_bad_choice_is_refused_with_the_allowed_ones(self) -> None:
        with pytest.raises(ValueError, match="numbers is 'ids'; allowed: log2_bucket, standardise"):
            Criteo(numbers="ids")  # pyright: ignore[reportArgumentType]


def random_line(draw: random.Random) -> bytes:
    def sometimes(value: str) -> str:
        return value if draw.random() < 0.7 else ""

    numbers = [sometimes(str(draw.choice((0, 1, 5, -1, -3, draw.randrange(10**8))))) for _ in NUMBERS]
    categories = [sometimes(f"{draw.getrandbits(32):08x}") for _ in CATEGORIES]
    return "\t".join([draw.choice("01"), *numbers, *categories]).encode()


def damaged(draw: random.Random) -> bytes:
    """A small file with something done to it that befalls files: to a value, a line, some bytes, or all of it."""
    lines = [random_line(draw) for _ in range(draw.randrange(1, 6))]
    at = draw.randrange(len(lines))
    kind = draw.randrange(4)
    if kind == 0:
        return whole_file(draw, lines)
    if kind == 1:
        return some_bytes(draw, lines)
    lines[at : at + 1] = one_line(draw, lines[at]) if kind == 2 else [one_value(draw, lines[at])]
    return b"\n".join(lines) + b"\n"


def one_value(draw: random.Random, line: bytes) -> bytes:
    columns = line.split(b"\t")
    at = draw.randrange(40)
    value = columns[at]
    strange = [b"9" * 30, b"-" + b"9" * 9, b"1e9", b"0x1f", b"nan", b"-0", b"007", b"1_000", b"-", b"\\N", b"NULL"]
    behind = [b" ", b"\x00", b"\x0b", b"\xc2\xa0", b"\xe9", b"\x1a", b"\r", b"0"]
    columns[at] = draw.choice(
        [draw.choice(strange), value + draw.choice(behind), b'"' + value + b'"', value.upper(), value[1:], b""]
    )
    return b"\t".join(columns)


def one_line(draw: random.Random, line: bytes) -> list[bytes]:
    swapped = line.split(b"\t")
    one, two = draw.sample(range(40), 2)
    swapped[one], swapped[two] = swapped[two], swapped[one]
    header = b"\t".join(name.encode() for name in COLUMNS)
    return draw.choice(
        [
            [line[: draw.randrange(len(line) + 1)]],
            [line.rstrip(b"\t")],
            [line + b"\t"],
            [b"\t".join(swapped)],
            [line.replace(b"\t", draw.choice((b",", b" ", b"\t\t", b"  ")), draw.choice((1, 100)))],
            [header, line, header],
            [line, b""],
            [line, b"\t" * 39],
            [line, line],
        ]
    )


def whole_file(draw: random.Random, lines: list[bytes]) -> bytes:
    text = b"\n".join(lines) + b"\n"
    other = text.decode().encode(draw.choice(("utf-16", "utf-32", "utf-16-le", "utf-8-sig")))
    nothing = draw.choice((b"", b"\n", b"\n\n", b"\x00" * 50, b"\r" * 3, b"\t" * 80 + b"\n"))
    return draw.choice([text.replace(b"\n", b"\r\n"), text.replace(b"\n", b"\r"), other, text[:-1], text, nothing])


def some_bytes(draw: random.Random, lines: list[bytes]) -> bytes:
    text = bytearray(b"\n".join(lines) + b"\n")
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(text))
        new = draw.choice((b"", b"\t", b"\n", b"0", b"a", b"-", b"\x00", b"\xff", b"g", b"\r"))
        text[at : at + draw.choice((0, 1, 1, 9))] = new
    return bytes(text)


@pytest.mark.parametrize("count", [600, pytest.param(20_000, marks=pytest.mark.long)])
def test_damaged_files_are_read_as_the_format_says_or_refused_line_by_line(path: Path, count: int) -> None:
    draw = random.Random(count)
    intact = changed = 0
    for _ in range(count):
        text = damaged(draw)
        expected, refused = reference(text)
        found = read(path, text)
        assert rows(found) == expected, text
        assert [bad.line for bad in rejected(found)] == refused, text
        assert all(bad.reason for bad in rejected(found))
        assert sum(block.lines for block in found) == len(expected) + len(refused)
        intact, changed = intact + (not refused), changed + bool(refused)
    assert min(intact, changed) > count // 10  # else it proves little


@pytest.mark.parametrize("count", [3000, pytest.param(50_000, marks=pytest.mark.long)])
def test_good_lines_go_the_fast_way(count: int) -> None:
    draw = random.Random(count)
    text = b"".join(random_line(draw) + b"\n" for _ in range(count))
    found = fast_reader.read_lines(text)
    assert found is not None
    expected = [row[1:] for row in reference(text)[0]]
    values = np.concatenate([found.numbers, found.categories]).T
    missing = np.concatenate([found.no_number, found.no_category]).T
    assert found.click.tolist() == [row[0] for row in expected]
    assert missing.tolist() == [[value is None for value in row[1:]] for row in expected]
    assert values.tolist() == [[value or 0 for value in row[1:]] for row in expected]


class TestRealLines:
    @pytest.fixture
    def lines(self) -> Path:
        if not (SHARED / "train.10k.txt").exists():
            pytest.skip("real rows stand beside the checkout, not in it; no shared/data/criteo here")
        return SHARED / "train.10k.txt"

    def test_they_read_as_published(self, lines: Path) -> None:
        blocks = list(RAW.read(shard(lines)))
        assert rejected(blocks) == []
        assert rows(blocks) == reference(lines.read_bytes())[0]
        table = pa.Table.from_batches([block.columns for block in blocks])
        assert table.num_rows == 10_000
        assert np.mean(table["click"]) == pytest.approx(0.2182)
        missing = {name: table[name].null_count / 10_000 for name in (*NUMBERS, *CATEGORIES)}
        published = {
            "I1": 0.45, "I3": 0.20, "I4": 0.20, "I5": 0.05, "I6": 0.25, "I7": 0.05, "I8": 0.001, "I9": 0.05,
            "I10": 0.45, "I11": 0.05, "I12": 0.77, "I13": 0.20, "C6": 0.13, "C22": 0.82,
            **dict.fromkeys(("C3", "C4", "C12", "C16", "C21", "C24"), 0.036),
            **dict.fromkeys(("C19", "C20", "C25", "C26"), 0.45),
        }  # fmt: skip
        assert missing["I2"] == 0
        for name, rate in missing.items():
            assert rate == pytest.approx(published.get(name, 0), abs=0.005), name
        lowest = {name: min(value for value in table[name].to_pylist() if value is not None) for name in NUMBERS}
        assert lowest.pop("I2") == -2
        assert set(lowest.values()) == {0}
        assert sum(value < 0 for value in table["I2"].to_pylist()) == 975

    def test_short_lines_are_refused_by_number_and_the_whole_ones_read(self, lines: Path) -> None:
        path = lines.with_name("malformed.1k.txt")
        columns = [line.count(b"\t") + 1 for line in path.read_bytes().split(b"\n")]
        assert Counter(columns) == {40: 502, 38: 469, 37: 29}
        blocks = list(RAW.read(shard(path)))
        bad = rejected(blocks)
        assert [(one.line, one.reason) for one in bad] == [
            (number, f"{count} tab-separated columns; expected 40")
            for number, count in enumerate(columns)
            if count != 40
        ]
        assert [row[0] for row in rows(blocks)] == [number for number, count in enumerate(columns) if count == 40]

    def test_prepare_stops_at_the_first_short_line_or_sets_them_aside(self, lines: Path, tmp_path: Path) -> None:
        (tmp_path / "train.txt").symlink_to(lines.with_name("malformed.1k.txt"))
        first = lines.with_name("malformed.1k.txt").read_bytes().split(b"\n")
        number = next(at for at, line in enumerate(first, start=1) if line.count(b"\t") != 39)
        with pytest.raises(RawError, match=rf"train.txt, line {number}: 3[78] tab-separated columns; expected 40"):
            prepared(tmp_path, tmp_path / "fail")
        store = prepared(tmp_path, tmp_path / "quarantine", on_error="quarantine")
        assert store.manifest["raw"]["train.txt"]["rejected"] == 498
        assert len((store.folder / "quarantine.jsonl").read_text().splitlines()) == 498
        assert sum(len(store.split(split)) for split in SPLITS) == 502


def prepared(raw: Path, store: Path, dataset: Criteo = Criteo(), **more) -> Store:  # noqa: B008  # frozen
    rules = {"split": partial(at_random, valid=0.1, test=0.1, seed=0), "min_count": 10, **more}
    return prepare(dataset, raw, store, provenance=Provenance(origin="real"), processes=1, **rules)


def assigned(count: int) -> np.ndarray:
    return at_random(SplitInput(test=np.zeros(count, bool), pointers={}, keys={}), valid=0.1, test=0.1, seed=0)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("criteo")
    Criteo().simulate(folder, rows=ROWS)
    return folder


class TestTheStore:
    @pytest.mark.parametrize("numbers", ["log2_bucket", "standardise"])
    def test_every_simulated_row_comes_back(self, raw: Path, tmp_path: Path, numbers: str) -> None:
        store = prepared(raw, tmp_path / "store", Criteo(numbers=numbers))  # pyright: ignore[reportArgumentType]
        expected, refused = reference((raw / "train.txt").read_bytes())
        truth = np.load(raw / "train.txt.truth.npy")
        assert not refused
        split = assigned(len(expected))
        train = [row for row, where in zip(expected, split, strict=True) if where == TRAIN]
        for number, name in enumerate(SPLITS):
            own = [row for row, where in zip(expected, split, strict=True) if where == number]
            columns = store.split(name).columns
            assert columns["labels"][:, 0].tolist() == [row[1] for row in own]
            assert columns["truth"].numpy().tolist() == truth[[row[0] for row in own]].tolist()
            for field in store.schema.id_fields:
                at = 2 + COLUMNS.index(field.name) - 1
                of = squared if field.name in NUMBERS else (lambda value: value)
                seen = Counter(of(row[at]) for row in train)
                index = columns["ids"][:, store.schema.slots[field.name].start] - store.schema.offsets[field.name]
                vocabulary = store.vocabulary(field.name)
                found = vocabulary.decode(index.numpy()).to_pylist()
                wanted = [of(row[at]) if seen[of(row[at])] >= 10 else "unknown" for row in own]
                known = (index > 0).tolist()
                assert [value if k else "unknown" for value, k in zip(found, known, strict=True)] == wanted
            for field in store.schema.number_fields:
                at = 2 + COLUMNS.index(field.name) - 1
                kept = np.array([compressed(row[at]) for row in train if row[at] is not None])
                wanted = [0 if row[at] is None else (compressed(row[at]) - kept.mean()) / kept.std() for row in own]
                found = columns["numbers"][:, store.schema.number_columns[field.name].start]
                np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("numbers", ["log2_bucket", "standardise"])
    def test_other_test_rows_change_nothing_that_is_learnt(self, raw: Path, tmp_path: Path, numbers: str) -> None:
        dataset = Criteo(numbers=numbers)  # pyright: ignore[reportArgumentType]
        text = (raw / "train.txt").read_bytes().split(b"\n")[:-1]
        split = assigned(len(text))
        draw = random.Random(0)
        other = tmp_path / "other"
        other.mkdir()
        lines = [random_line(draw) if where == TEST else line for line, where in zip(text, split, strict=True)]
        (other / "train.txt").write_bytes(b"\n".join(lines) + b"\n")
        (other / "train.txt.truth.npy").write_bytes((raw / "train.txt.truth.npy").read_bytes())
        one, two = prepared(raw, tmp_path / "one", dataset), prepared(other, tmp_path / "two", dataset)
        assert one.schema == two.schema
        for name in one.manifest["files"]:
            same = (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
            assert same == (name != "rows/test.arrow")

    def test_damage_on_the_way_to_a_store_is_set_aside_and_counted(self, raw: Path, tmp_path: Path) -> None:
        draw = random.Random(3)
        lines = (raw / "train.txt").read_bytes().split(b"\n")[:3000]
        for at in draw.sample(range(3000), 40):
            lines[at] = damaged(draw)
        text = b"\n".join(lines) + b"\n"
        (tmp_path / "train.txt").write_bytes(text)
        expected, refused = reference(text)
        store = prepared(tmp_path, tmp_path / "store", on_error="quarantine")
        assert sum(len(store.split(split)) for split in SPLITS) == len(expected)
        entries = [json.loads(entry) for entry in (store.folder / "quarantine.jsonl").read_text().splitlines()]
        assert [entry["line"] - 1 for entry in entries] == refused
        assert len(refused) > 10

    def test_an_empty_file_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "train.txt").touch()
        with pytest.raises(RawError, match=r"missing or empty in .*: train\.txt\. train\.txt is in dac\.tar\.gz"):
            prepared(tmp_path, tmp_path / "store")


def squared(value: int | None) -> int | None:
    if value is None:
        return None
    return int(math.log(value) ** 2) if value > 2 else value - 3


def compressed(value: int) -> float:
    return math.copysign(math.log1p(abs(value)), value)


class TestTheConfiguration:
    SMALL = ("dataset=criteo", "dataset.source=simulated", "dataset.simulator.rows=3000")

    def store(self, folder: Path, *more: str) -> Store:
        return open_or_prepare(resolve_data(compose([*self.SMALL, *more]).dataset, folder))

    def test_either_split_rule_is_chosen_by_name_and_the_manifest_says_which(self, tmp_path: Path) -> None:
        chance, folds = self.store(tmp_path), self.store(tmp_path, "dataset.split_rule=x4")
        assert chance.manifest["split"] == {
            "rule": "mtlbench.data.split.at_random", "valid": 0.1, "test": 0.1, "seed": 0,
        }  # fmt: skip
        assert folds.manifest["split"] == {
            "rule": "mtlbench.data.split.stratified", "label": "click", "folds": 10, "seed": 2018,
        }  # fmt: skip
        assert chance.folder != folds.folder
        facts = folds.manifest["splits"]
        assert [facts[split]["rows"] for split in SPLITS] == [2400, 300, 300]
        assert (
            max(facts[s]["positives"]["click"] / facts[s]["rows"] for s in SPLITS)
            - min(facts[s]["positives"]["click"] / facts[s]["rows"] for s in SPLITS)
            < 1 / 300
        )

    def test_numbers_of_raw_rows_that_are_scored_are_compressed_as_those_of_the_store(self, tmp_path: Path) -> None:
        data = resolve_data(compose([*self.SMALL, "dataset.numbers=standardise"]).dataset, tmp_path)
        store = open_or_prepare(data)
        inputs = Inputs.of(store, {})
        rows = reference((data.raw / "train.txt").read_bytes())[0]
        at = {name: 2 + COLUMNS.index(name) - 1 for name in (*NUMBERS, *CATEGORIES)}
        raw = {column.name: pa.array([row[at[column.name]] for row in rows]) for column in inputs.columns}
        found, train = inputs.encode(raw, 0, Counter())["numbers"], store.split("train").columns["numbers"].numpy()
        assert np.abs(found).max() < 10
        assert len(train) > 2000
        assert {tuple(row) for row in train.tolist()} <= {tuple(row) for row in found.tolist()}

    def test_stratified_folds_are_those_of_the_label(self, tmp_path: Path) -> None:
        data = resolve_data(compose([*self.SMALL, "dataset.split_rule=x4"]).dataset, tmp_path)
        store = open_or_prepare(data)
        clicks = np.array([row[1] for row in reference((data.raw / "train.txt").read_bytes())[0]], np.int8)
        candidates = SplitInput(
            test=np.zeros(len(clicks), bool), pointers={}, keys={}, columns={"click": lambda: clicks}
        )
        split = stratified(candidates, label="click", folds=10, seed=2018)
        for number, name in enumerate(SPLITS):
            assert store.split(name).columns["labels"][:, 0].tolist() == clicks[split == number].tolist()

    def test_numbers_may_be_standardised(self, tmp_path: Path) -> None:
        store = self.store(tmp_path, "dataset.numbers=standardise")
        assert [field.name for field in store.schema.number_fields] == list(NUMBERS)
        numbers = store.split("train").columns["numbers"]
        assert torch.allclose(numbers.mean(0), torch.zeros(13), atol=1e-4)


def population(rows: int) -> CriteoPopulation:
    return CriteoPopulation(rows=rows, seed=0, structure=True)


class TestTheSimulator:
    def test_clicks_follow_their_truth_at_the_published_rate(self, raw: Path) -> None:
        truth = np.load(raw / "train.txt.truth.npy")
        clicks = np.array([row[1] for row in reference((raw / "train.txt").read_bytes())[0]])
        assert truth.shape == (ROWS, 1)
        assert truth.dtype == np.float32
        assert truth.mean() == pytest.approx(RATE, abs=0.02)
        assert abs(clicks.mean() - truth.mean()) < 4 * (0.25 / ROWS) ** 0.5
        assert roc_auc_score(clicks, truth[:, 0]) > 0.8
        assert json.loads((raw / "simulated.json").read_text())["knobs"]["rows"] == ROWS

    def test_what_is_missing_together_and_how_often(self, raw: Path) -> None:
        table = np.array([row[2:] for row in reference((raw / "train.txt").read_bytes())[0]], object)
        absent = {name: table[:, at] == None for at, name in enumerate((*NUMBERS, *CATEGORIES))}  # noqa: E711
        for names, rate in MISSING:
            assert all((absent[name] == absent[names[0]]).all() for name in names)
            assert absent[names[0]].mean() == pytest.approx(rate, abs=4 * (rate * (1 - rate) / ROWS) ** 0.5)
        planted = {name for names, _ in MISSING for name in names}
        assert not any(absent[name].any() for name in absent if name not in planted)

    def test_numbers_have_the_published_ranges_and_popularity_a_heavy_tail(self, raw: Path) -> None:
        table = reference((raw / "train.txt").read_bytes())[0]
        for at, name in enumerate(NUMBERS):
            values = np.array([row[2 + at] for row in table if row[2 + at] is not None])
            assert values.min() == (-3 if name == "I2" else 0)
            assert values.max() <= simulator.LARGEST[at]
            if name == "I2":
                assert (values < 0).mean() == pytest.approx(0.0975, abs=0.015)
        counts = Counter(row[2 + 13 + 2] for row in table if row[2 + 13 + 2] is not None)  # C3
        ranked = [count for _, count in counts.most_common()]
        assert len(ranked) > 800
        assert ranked[0] > 0.1 * sum(ranked)
        assert sum(count == 1 for count in ranked) > len(ranked) / 3

    def test_hashes_of_a_column_are_distinct_and_columns_do_not_share_them(self) -> None:
        numbers = pa.array(np.arange(500_000))
        assert len(category_hash("C3", numbers).unique()) == len(numbers)
        one, other = (set(category_hash(column, numbers[:1000]).to_pylist()) for column in ("C3", "C4"))
        assert len(one & other) < 5

    def test_vocabularies_grow_with_the_rows(self) -> None:
        small, large = (population(rows).vocabularies["C3"].size for rows in (10_000, 1_000_000))
        assert large == pytest.approx(10 * small, rel=0.01)
        assert population(10_000).vocabularies["C9"].size == 3

    def test_it_is_a_function_of_its_knobs_and_is_written_chunk_by_chunk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(simulator, "CHUNK", 300)
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            Criteo().simulate(tmp_path / name, rows=1000, seed=seed)
        content = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc"]
        assert content[0] == content[1]
        assert content[0]["train.txt"] != content[2]["train.txt"]
        lines = content[0]["train.txt"].split(b"\n")
        assert len(lines) == 1001
        assert len(set(lines)) == 1001  # no chunk is another's copy
        with pytest.raises(ValueError, match="rows is 0; allowed: 1 to"):
            Criteo().simulate(tmp_path / "d", rows=0)

    def test_without_structure_every_row_has_the_published_rate(self, tmp_path: Path) -> None:
        Criteo().simulate(tmp_path, rows=4000, structure=False)
        truth = np.load(tmp_path / "train.txt.truth.npy")
        assert truth.min() == truth.max() == pytest.approx(RATE)


def test_where_names_the_key_that_does_without_the_file() -> None:
    assert "set dataset.source=simulated" in Criteo().where
