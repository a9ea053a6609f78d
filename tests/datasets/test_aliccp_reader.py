"""The Ali-CCP reader: the byte grammar, every reason for a rejection, and the fast reader against the reference."""

import itertools
import random
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mtlbench.datasets.aliccp import fast_reader
from mtlbench.datasets.aliccp.dataset import AliCCP
from mtlbench.datasets.aliccp.fast_reader import AliCCPLines
from mtlbench.datasets.aliccp.layout import ALL, COMMON, RAW_FIELDS, USUAL, RawField
from mtlbench.datasets.aliccp.reference_reader import AliCCPLine, read_line
from mtlbench.ingest import lines as text_lines
from mtlbench.ingest.lines import BadLineError
from mtlbench.ingest.protocol import LINE, ROWS, Block, RawError, Rejected, Shard

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "aliccp"
KEY = "00ff00ff00ff00ff"
GOOD = b"7,1,0," + KEY.encode() + b",3,205\x024186222\x031.0\x01853\x0210005555\x030.69315\x01853\x0210005556\x032.539"
GOOD_COMMON = b"f0ff00ff00ff00ff,3,101\x0231319\x031.0\x01127_14\x023716224\x031.94591\x01124\x023438769\x031.0"


def shard_of(path: Path, table: str, start: int = 0, stop: int | None = None) -> Shard:
    file = next(file for file in AliCCP().files if file.table == table)
    return Shard(path=path, file=file, start=start, stop=path.stat().st_size if stop is None else stop)


def read(path: Path, text: bytes, table: str = ROWS, dataset: AliCCP | None = None) -> list[Block]:
    path.write_bytes(text)
    return list((dataset or AliCCP(field_set="all")).read(shard_of(path, table)))


def rows(blocks: list[Block]) -> list[dict]:
    return [row for block in blocks for row in block.columns.to_pylist()]


def rejected(blocks: list[Block]) -> list[Rejected]:
    return [bad for block in blocks for bad in block.rejected]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


class TestGoodLines:
    def test_every_part_of_an_impression_arrives(self, path: Path) -> None:
        (row,) = rows(read(path, GOOD + b"\n"))
        assert row == {
            "line": 0,
            "click": 1,
            "conversion": 0,
            "key:common": 0x00FF00FF00FF00FF,
            "item_205": 4186222,
            "category_206": None,
            "shop_207": None,
            "brand_216": None,
            "intentions_210": [],
            "scenario_301": None,
            "source": 0,
            "category_cross_508": None,
            "shop_cross_509": None,
            "brand_cross_702": None,
            "intention_cross_853": [10005555, 10005556],
            "intention_cross_853:weight": [np.float32(0.69315), np.float32(2.539)],
        }

    def test_every_part_of_a_common_line_arrives_and_its_key_keeps_all_64_bits(self, path: Path) -> None:
        (row,) = rows(read(path, GOOD_COMMON + b"\n", COMMON))
        assert row["key"] == 0xF0FF00FF00FF00FF - 2**64
        assert (row["user_101"], row["gender_124"], row["age_125"]) == (31319, 3438769, None)
        assert row["brand_history_127_14"] == [3716224]
        assert row["brand_history_127_14:weight"] == [np.float32(1.94591)]
        assert row["shop_history_110_14"] == []

    def test_values_of_single_crosses_become_numbers_on_demand(self, path: Path) -> None:
        line = b"7,0,0," + KEY.encode() + b",1,508\x029354837\x035.14166\n"
        (row,) = rows(read(path, line, dataset=AliCCP(values=True)))
        assert row["category_cross_508_value"] == np.float32(5.14166)
        assert row["shop_cross_509_value"] is None
        assert "category_cross_508_value" not in rows(read(path, line, dataset=AliCCP()))[0]

    def test_a_width_of_one_keeps_the_last_id(self, path: Path) -> None:
        (row,) = rows(read(path, GOOD + b"\n", dataset=AliCCP(cross_width=1)))
        assert row["intention_cross_853"] == 10005556
        assert "intention_cross_853:weight" not in row

    @pytest.mark.parametrize(
        "value",
        [
            "1",
            "0",
            "0.5",
            "00.50",
            "12.34567",
            "123.456789012",
            "1e-05",
            "2.5E+3",
            "9999999.9",
            "0.1",
            "16777217",
            "3.4e38",
        ],
    )
    def test_values_are_read_as_any_correct_reader_reads_them(self, path: Path, value: str) -> None:
        line = GOOD.replace(b"0.69315", value.encode()) + b"\n"
        assert rows(read(path, line))[0]["intention_cross_853:weight"][0] == np.float32(float(value))

    def test_fields_and_columns_are_the_same_list(self, path: Path) -> None:
        for dataset in (AliCCP(), AliCCP(field_set="all", values=True)):
            for table, text in ((ROWS, GOOD), (COMMON, GOOD_COMMON)):
                (block,) = read(path, text + b"\n", table, dataset)
                declared = {field.name for field in dataset.fields if (field.table or ROWS) == table}
                assert declared == {
                    name
                    for name in block.columns.schema.names
                    if ":" not in name and name not in (LINE, "key", "click", "conversion", "group", "source")
                }

    def test_the_usual_fields_are_the_eighteen_of_aitm(self) -> None:
        assert sorted(USUAL) == [
            "101",
            "121",
            "122",
            "124",
            "125",
            "126",
            "127",
            "128",
            "129",
            "205",
            "206",
            "207",
            "216",
            "301",
            "508",
            "509",
            "702",
            "853",
        ]
        assert len(AliCCP(field_set="all").fields) == 23

    def test_the_user_is_the_group_and_a_row_without_one_is_a_group_of_its_own(self, path: Path) -> None:
        without = GOOD_COMMON.replace(b"101\x02", b"125\x02")
        user, lonely = rows(read(path, GOOD_COMMON + b"\n" + without + b"\n", COMMON))
        assert (user["group"], user["user_101"]) == (31319, 31319)
        assert (lonely["group"], lonely["user_101"]) == (-1 - (0xF0FF00FF00FF00FF & (2**63 - 1)), None)

    def test_the_scenario_is_the_source(self, path: Path) -> None:
        line = b"7,0,0," + KEY.encode() + b",1,301\x029351666\x031.0\n"
        (row,) = rows(read(path, line))
        assert (row["source"], row["scenario_301"]) == (9351666, 9351666)

    def test_histories_have_targets_and_vocabularies_of_their_own(self) -> None:
        for field_set, count in (("all", 23), ("din", 19)):
            fields = {field.name: field for field in AliCCP(field_set=field_set).fields}
            assert len(fields) == count
            assert {name: field.target for name, field in fields.items() if field.target} == {
                "category_history_109_14": "category_206",
                "shop_history_110_14": "shop_207",
                "brand_history_127_14": "brand_216",
                "intention_history_150_14": "intentions_210",
            }
            assert all(field.vocabulary is None for field in fields.values())
        assert not any(field.role == "cross" for field in AliCCP(field_set="din").fields)

    def test_fields_occupy_disjoint_ranges_of_ids(self) -> None:
        edges = sorted((field.first_id, field.first_id + field.ids) for field in RAW_FIELDS)
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(edges))


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (b"", "empty line"),
            (GOOD + b"\r", "carriage return"),
            (b"\xef\xbb\xbf" + GOOD, "byte order mark"),
            (GOOD.replace(b"7,1,", b"7,"), "5 comma-separated columns; expected 6"),
            (GOOD + b",", "7 comma-separated columns; expected 6"),
            (GOOD.replace(b"7,1,", b"x,1,"), "sample_id is 'x'"),
            (GOOD.replace(b"7,1,", b"7,2,"), "click is '2'; expected 0 or 1"),
            (GOOD.replace(b"7,1,0", b"7,1,"), "purchase is ''; expected 0 or 1"),
            (GOOD.replace(b"00ff", b"00FF"), "common_feature_index is"),
            (GOOD.replace(b"00ff00ff00ff00ff", b"00ff"), "common_feature_index is"),
            (GOOD.replace(b",3,", b",4,"), "feature_num says 4 features, the list has 3"),
            (GOOD.replace(b",3,", b",-3,"), "feature_num is '-3'"),
            (GOOD.replace(b"205\x02", b"999\x02"), "'999' is not a field of this file"),
            (GOOD.replace(b"205\x02", b"101\x02"), "'101' is not a field of this file"),
            (GOOD.replace(b"205\x02", b"\x02"), "'' is not a field of this file"),
            (GOOD.replace(b"4186222", b"41x6222"), "id of field 205 is '41x6222'"),
            (GOOD.replace(b"4186222", b"2147483648"), "at most 2147483647"),
            (GOOD.replace(b"0.69315", b"nan"), "value of field 853 is 'nan'"),
            (GOOD.replace(b"0.69315", b"-1.0"), "value of field 853 is '-1.0'"),
            (GOOD.replace(b"0.69315", b"1."), "value of field 853 is '1.'"),
            (GOOD.replace(b"0.69315", b"123."), "value of field 853 is '123.'"),
            (GOOD.replace(b"0.69315", b".5"), "value of field 853 is '.5'"),
            (GOOD.replace(b"0.69315", b"1e39"), "value of field 853 is '1e39'"),
            (GOOD.replace(b"0.69315", b"1.e1"), "value of field 853 is '1.e1'"),
            (GOOD.replace(b"0.69315", b"0x1"), "value of field 853 is '0x1'"),
            (GOOD.replace(b"0.69315", b"infinity"), "value of field 853 is 'infinity'"),
            (GOOD.replace(b"0.69315", b"9" * 60 + b".0"), "expected a finite number of 0 or more"),
            (GOOD.replace(b"4186222", b"0x1f"), "id of field 205 is '0x1f'"),
            (GOOD.replace(b"4186222", b"-0"), "id of field 205 is '-0'"),
            (GOOD.replace(b"4186222", b"0" * 12 + b"4186222"), "id of field 205 is '0000000000004186222'"),
            (GOOD.replace(b"7,1,", b"0" * 18 + b"7,1,"), "sample_id is '0000000000000000007'"),
            (GOOD.replace(b",3,", b"," + b"0" * 18 + b"3,"), "feature_num is '0000000000000000003'"),
            (GOOD.replace(b"853\x0210005555", b"853_14\x0210005555"), "'853_14' is not a field of this file"),
            (GOOD.replace(b"205\x02", b"2050\x02"), "'2050' is not a field of this file"),
            (GOOD.replace(b"0.69315", b"0.693\x0115"), "feature '15' is not field"),
            (GOOD.replace(b"\x03", b"\x02", 1), "is not field"),
            (GOOD.replace(b"853\x0210005555", b"205\x0210005555"), "field 205 occurs more than once"),
            (GOOD.replace(b"4186222", b"4186\x00222"), "id of field 205"),
            (GOOD[:-30], "is not field|feature_num"),
        ],
    )
    def test_a_bad_line_is_refused_with_its_number_and_the_reason(self, path: Path, text: bytes, reason: str) -> None:
        (block,) = read(path, GOOD + b"\n" + text + b"\n" + GOOD + b"\n")
        (bad,) = block.rejected
        assert (bad.line, bad.text, block.lines) == (1, text, 3)
        assert re.search(re.escape(reason) if "|" not in reason else reason, bad.reason)
        assert block.columns[LINE].to_pylist() == [0, 2]

    def test_a_stump_at_the_end_is_refused(self, path: Path) -> None:
        for stump in (b"7,8\n", b"7\n", b"7,1,0," + KEY.encode() + b",0,\n", b"\n"):
            (block,) = read(path, GOOD + b"\n" + stump)
            assert [bad.line for bad in block.rejected] == [1]

    def test_a_file_that_was_cut_off_is_refused_even_where_the_cut_leaves_a_readable_line(self, path: Path) -> None:
        for text in (GOOD + b"\n" + GOOD[:-1], GOOD + b"\nabc"):
            (block,) = read(path, text)
            assert [(bad.line, bad.reason) for bad in block.rejected] == [
                (1, "no newline at the end of the file: the file was cut off")
            ]

    def test_a_file_without_newlines_is_no_text_file(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(text_lines, "LONGEST_LINE", 1000)
        monkeypatch.setattr(text_lines, "PIECE_BYTES", 100)
        with pytest.raises(RawError, match=r"file.csv: no newline in the \d+ bytes before byte \d+"):
            read(path, b"x" * 5000)

    def test_a_bad_choice_is_refused_with_the_allowed_ones(self) -> None:
        with pytest.raises(ValueError, match="field_set is 'some'; allowed: usual, all"):
            AliCCP(field_set="some")  # pyright: ignore[reportArgumentType]


def test_labels_are_read_as_they_stand(path: Path) -> None:
    """What becomes of a conversion without a click is not the reader's business."""
    text = b"".join(GOOD.replace(b"7,1,0", labels) + b"\n" for labels in (b"7,0,0", b"8,0,1", b"9,1,1"))
    (block,) = read(path, text)
    assert [block.columns[name].to_pylist() for name in ("click", "conversion")] == [[0, 0, 1], [0, 1, 1]]
    assert (block.lines, block.dropped, block.rejected) == (3, {}, ())


def random_line(draw: random.Random, table: str) -> bytes:
    """A good line: any fields in any order, bags with several ids, values of every accepted form."""
    codes = [
        field.code
        for field in fields_of(table)
        for _ in range(draw.choice((0, 1, 3)) if field.bag else 1)
        if draw.random() < 0.7
    ] or [fields_of(table)[0].code]
    draw.shuffle(codes)
    triples = [
        f"{code}\x02{draw.randrange(10_091_379)}\x03"
        f"{draw.choice(('1.0', '1.0', '0.69315', f'{draw.random() * 9:.5f}', f'{draw.random():.3g}'))}"
        for code in codes
    ]
    key = f"{draw.getrandbits(64):016x}"
    header = [key] if table == COMMON else [str(draw.randrange(10**8)), draw.choice("01"), draw.choice("01"), key]
    return ",".join([*header, str(len(triples)), "\x01".join(triples)]).encode() + b"\n"


def mutations(draw: random.Random, table: str, count: int) -> Iterator[bytes]:
    """Two good lines with one to three bytes changed, removed, added, or swapped."""
    alphabet = b"0123456789abcdef.,_\x01\x02\x03\n\r-+eE \x00\x7f\xc3"
    for _ in range(count):
        text = bytearray(random_line(draw, table) + random_line(draw, table))
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(text))
            match draw.randrange(4):
                case 0:
                    text[at] = draw.choice(alphabet)
                case 1:
                    del text[at : at + draw.choice((1, 1, 1, 20))]
                case 2:
                    text.insert(at, draw.choice(alphabet))
                case _:
                    text[at], text[-at] = text[-at], text[at]
        yield bytes(text)


def fields_of(table: str) -> list[RawField]:
    return [field for field in RAW_FIELDS if field.table == table]


def by_reference(text: bytes, table: str) -> list[AliCCPLine] | None:
    """Lines by the reference reader, or None if it rejects any."""
    *ended, rest = text.split(b"\n")
    try:
        return [read_line(line, table) for line in ended] if not rest and ended else None
    except BadLineError:
        return None


def assert_same(lines: AliCCPLines, expected: list[AliCCPLine], table: str) -> None:
    assert lines.key.tolist() == [line.key for line in expected]
    if table == ROWS:
        assert lines.click.tolist() == [line.click for line in expected]
        assert lines.conversion.tolist() == [line.conversion for line in expected]
    found = zip(
        lines.line.tolist(), [ALL[code] for code in lines.code], lines.ids.tolist(), lines.values.tolist(), strict=True
    )
    assert list(found) == [(at, *triple) for at, line in enumerate(expected) for triple in line.triples]


@pytest.mark.parametrize("table", [ROWS, COMMON])
class TestTheFastReaderEqualsTheReferenceReader:
    def test_on_good_lines(self, table: str) -> None:
        draw = random.Random(0)
        text = b"".join(random_line(draw, table) for _ in range(2000))
        lines = fast_reader.read_lines(text, table)
        assert lines is not None
        assert_same(lines, [read_line(line, table) for line in text.splitlines()], table)

    @pytest.mark.parametrize("count", [4000, pytest.param(200_000, marks=pytest.mark.long)])
    def test_on_damaged_lines_it_never_accepts_more_nor_reads_otherwise(self, table: str, count: int) -> None:
        accepted = refused = 0
        for text in mutations(random.Random(count), table, count):
            expected, lines = by_reference(text, table), fast_reader.read_lines(text, table)
            if lines is not None:
                assert expected is not None, text
                assert_same(lines, expected, table)
            accepted, refused = accepted + (expected is not None), refused + (expected is None)
        assert min(accepted, refused) > count // 20  # else the mutations prove little

    def test_few_good_lines_fall_back(self, table: str) -> None:
        """The reference reader accepts a little more (exponents); on common damage they agree."""
        texts = list(mutations(random.Random(5), table, 2000))
        good = [text for text in texts if by_reference(text, table) is not None]
        assert sum(fast_reader.read_lines(text, table) is None for text in good) < len(good) // 10


class TestBlocksAndShards:
    @pytest.fixture
    def text(self) -> bytes:
        draw = random.Random(1)
        lines = [random_line(draw, ROWS) for _ in range(3000)]
        for at in (0, 700, 701, 2999):
            lines[at] = b"damaged\n"
        return b"".join(lines)

    def test_blocks_do_not_depend_on_how_much_is_read_at_a_time(
        self, path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = read(path, text)
        assert [bad.line for bad in rejected(whole)] == [0, 700, 701, 2999]
        assert sum(block.lines for block in whole) == 3000
        for size in (100, 5000, 70_000):  # the first is shorter than a line
            monkeypatch.setattr(text_lines, "PIECE_BYTES", size)
            cut = read(path, text)
            assert rows(cut) == rows(whole)
            assert rejected(cut) == rejected(whole)

    def test_damage_leaves_most_lines_to_the_fast_reader(self, path: Path, text: bytes) -> None:
        slow = sum(block.lines for block in read(path, text) if block.rejected)
        assert slow <= 3 * text_lines.SUSPECT_LINES

    def test_shards_cut_anywhere_give_every_line_once(self, path: Path, text: bytes) -> None:
        whole = rows(read(path, text))
        starts = [0, *(text.index(b"\n", len(text) * part // 5) + 1 for part in range(1, 5)), len(text)]
        for shift in (0, -30):  # a shard may end within its last line, which it reads to the end
            parts = []
            for start, stop in itertools.pairwise(starts):
                shard = shard_of(path, ROWS, start, stop + shift)
                parts += rows(list(AliCCP(field_set="all").read(shard)))
            assert [{**row, LINE: 0} for row in parts] == [{**row, LINE: 0} for row in whole]

    def test_line_numbers_start_at_the_shard(self, path: Path, text: bytes) -> None:
        read(path, text)
        shard = shard_of(path, ROWS, text.index(b"\n") + 1)
        blocks = list(AliCCP().read(shard))
        assert rows(blocks)[0][LINE] == 0
        assert [bad.line for bad in rejected(blocks)] == [699, 700, 2998]

    def test_all_blocks_of_a_table_have_one_schema(self, path: Path, text: bytes) -> None:
        for table, lines in ((ROWS, text), (COMMON, GOOD_COMMON + b"\nbad\n" + GOOD_COMMON + b"\n" + b"bad\n" * 600)):
            schemas = [block.columns.schema for block in read(path, lines, table, AliCCP(field_set="all", values=True))]
            assert len(schemas) > 1
            assert all(schema == schemas[0] for schema in schemas)


@pytest.mark.parametrize("value", [b"1.0", b"1", b"1.", b"1.00", b"01.0", b"1,0", b"1.1", b"2.0", b"110", b"0.1", b""])
@pytest.mark.parametrize("behind", [b"", b"\x01206\x028314600\x031.0"])
def test_values_that_look_like_one(value: bytes, behind: bytes) -> None:
    """They are told by their bytes, also at the very end of a text."""
    start = b"7,1,0," + KEY.encode() + b",%d,205\x024186222\x03" % (2 if behind else 1)
    text = start + value + behind + b"\n"
    lines, expected = fast_reader.read_lines(text, ROWS), by_reference(text, ROWS)
    if lines is not None:
        assert expected is not None
        assert_same(lines, expected, ROWS)
    assert (lines is not None) == (value in (b"1.0", b"1", b"1.00", b"01.0", b"1.1", b"2.0", b"110", b"0.1"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="no published rows beside the checkout")
class TestPublishedRows:
    def test_common_lines(self, path: Path) -> None:
        text = b"".join(
            (SHARED / name).read_bytes()
            for name in ("common_features_train.first2.csv", "common_features_train.row3_last_token_inferred.csv")
        )
        (block,) = read(path, text, COMMON)
        assert (block.lines, block.rejected) == (3, ())
        assert fast_reader.read_lines(text, COMMON) is not None
        first, second, third = block.columns.to_pylist()
        counts = [
            sum(
                len(value) if isinstance(value, list) else value is not None
                for name, value in row.items()
                if name not in (LINE, "key", "group") and ":" not in name
            )
            for row in (first, second, third)
        ]
        assert counts == [343, 811, 7]
        assert (first["key"], first["user_101"], first["age_125"]) == (0x84DCEED2E3A667F8 - 2**64, 31319, 3438774)
        assert (third["user_101"], third["consumption_one_126"], third["geography_129"]) == (None, None, 3864889)
        assert first["intention_history_150_14"][0] == 3878882
        assert first["intention_history_150_14:weight"][0] == np.float32(3.28343)

    def test_ids_of_published_rows_lie_between_the_first_ids_of_their_field_and_the_next(self) -> None:
        texts = (SHARED / "common_features_train.first2.csv").read_bytes().splitlines()
        skeleton = (SHARED / "sample_skeleton.truncated_prefixes.jsonl").read_bytes().decode("unicode_escape")
        triples = [(code, number) for text in texts for code, number, _ in read_line(text, COMMON).triples]
        triples += [(code, int(number)) for code, number in re.findall("([0-9_]{3,6})\x02([0-9]{7,8})\x03", skeleton)]
        assert len(triples) > 1154 + 50
        assert {code for code, _ in triples} >= {"205", "206", "207", "210", "216", "301", "508", "509", "702", "853"}
        by_first = sorted(RAW_FIELDS, key=lambda field: field.first_id)
        for code, number in triples:
            owner = by_first[bisect_right(by_first, number, key=lambda field: field.first_id) - 1]
            assert owner.code == code, number


def test_replacing_one_option_leaves_the_others(path: Path) -> None:
    dataset = replace(AliCCP(), field_set="all", history_width=7)
    widths = {field.name: field.width for field in dataset.fields}
    assert (widths["shop_history_110_14"], widths["intention_cross_853"], widths["intentions_210"]) == (7, 5, 16)
    assert isinstance(read(path, GOOD_COMMON + b"\n", COMMON, dataset)[0].columns, pa.RecordBatch)


def test_where_names_the_key_that_does_without_the_files() -> None:
    assert "set dataset.source=simulated" in AliCCP().where
