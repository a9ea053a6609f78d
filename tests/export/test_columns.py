"""Raw columns: what passes as what a reader gives, and what is refused with its place."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from mtlbench.data.numbers import Scale
from mtlbench.data.vocabulary import Vocabulary
from mtlbench.export.columns import ColumnError, ServedColumn, checked, from_python, from_text, unused
from mtlbench.export.inputs import Inputs
from mtlbench.schema import Field, Schema, Task

ITEM = ServedColumn(name="item", kind="integer")
CITY = ServedColumn(name="city", kind="text")
PRICE = ServedColumn(name="price", kind="number")
TAGS = ServedColumn(name="tags", kind="text", many=True)
HISTORY = ServedColumn(name="history", kind="integer", many=True)
WEIGHT = ServedColumn(name="history:weight", kind="weight", many=True, missing=False)
PLACE = ServedColumn(name="place", kind="number", many=True, length=2)


@pytest.mark.parametrize(
    ("column", "given", "expected"),
    [
        (ITEM, [3, None, 2**62], [3, None, 2**62]),
        (ITEM, [3.0, None, float("nan")], [3, None, None]),
        (ITEM, [None, None], [None, None]),
        (ITEM, [True, None], [1, None]),
        (CITY, ["a", None, ""], ["a", None, ""]),
        (PRICE, [1, None], [1.0, None]),
        (PRICE, [0.5, float("nan")], [0.5, None]),
        (PRICE, [True, None], [1.0, None]),
        (PRICE, [Decimal("0.25"), None], [0.25, None]),
        (TAGS, [["a", "b"], [], None], [["a", "b"], [], None]),
        (TAGS, [[], []], [[], []]),
        (TAGS, [["a", None]], [["a", None]]),
        (HISTORY, [np.array([1, 2]), None, [7]], [[1, 2], None, [7]]),
        (HISTORY, [[1.0, 2.0]], [[1, 2]]),
        (WEIGHT, [[1, 2], [0.5]], [[1.0, 2.0], [0.5]]),
        (PLACE, [[1, 2], None], [[1.0, 2.0], None]),
    ],
)
def test_what_python_holds_becomes_what_a_reader_gives(column: ServedColumn, given: list, expected: list):
    found = checked(from_python(given, column), column, 0)
    assert found.to_pylist() == expected
    assert found.type == checked(pa.nulls(1), column, 0).type


def test_arrow_types_that_mean_the_same_pass():
    assert checked(pa.array([1, None], pa.uint8()), ITEM, 0).to_pylist() == [1, None]
    assert checked(pa.array(["a", "a"]).dictionary_encode(), CITY, 0).to_pylist() == ["a", "a"]
    assert checked(pa.array(["a"], pa.large_string()), CITY, 0).type == pa.string()
    assert checked(pa.array([2.0**24 - 1, None], pa.float32()), ITEM, 0).to_pylist() == [2**24 - 1, None]
    fixed = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    assert checked(fixed, PLACE, 0).to_pylist() == [[1.0, 2.0], None]
    assert checked(pa.array(["a"], pa.string_view()), CITY, 0).type == pa.string()
    sliced = pa.array([[1], [2, 3], [4]], pa.large_list(pa.int32())).slice(1)
    assert checked(sliced, HISTORY, 0).to_pylist() == [[2, 3], [4]]


@pytest.mark.parametrize(
    ("column", "given", "message"),
    [
        (ITEM, [1, "2"], r"column 'item', row 11 \(from 0\): found '2'; allowed: an integer, or empty"),
        (ITEM, [1.0, 2.5], r"row 11 \(from 0\): found 2.5"),
        (ITEM, [1.0, 2.0**53], r"row 11 \(from 0\): found 9007199254740992.0"),
        (ITEM, [1, True], r"column 'item': .*got bool"),
        (ITEM, [Decimal("1"), Decimal("2")], r"row 10 \(from 0\): found Decimal\('1'\)"),
        (ITEM, [1, 2**63], r"row 11 \(from 0\): found 9223372036854775808"),
        (ITEM, [[1], [2]], r"row 10 \(from 0\): found \[1\]; allowed: an integer"),
        (CITY, ["a", 5], r"row 11 \(from 0\): found 5; allowed: text"),
        (CITY, [5, 6], r"row 10 \(from 0\): found 5; allowed: text"),
        (PRICE, [None, float("inf")], r"row 11 \(from 0\): found inf; allowed: a finite number"),
        (PRICE, ["1.5"], r"row 10 \(from 0\): found '1.5'"),
        (TAGS, [["a"], "b"], r"row 11 \(from 0\): found 'b'; allowed: a list of texts"),
        (TAGS, [["a"], ["b", 1]], r"row 11 \(from 0\)"),
        (HISTORY, [None, [1], [2, 3.5]], r"row 12 \(from 0\): found 3.5; allowed: a list of integers"),
        (HISTORY, [None, 7], r"row 11 \(from 0\): found 7"),
        (WEIGHT, [[1.0], [None]], r"row 11 \(from 0\): found None; allowed: a list of numbers from 0 to 3.4"),
        (WEIGHT, [[1.0], [0.5, -1.0]], r"row 11 \(from 0\): found -1.0; allowed: a list of numbers from 0 to 3.4"),
        (replace(WEIGHT, most=2.0), [[2.0], [2.5]], r"row 11 \(from 0\): found 2.5; .* from 0 to 2, or empty"),
        (WEIGHT, [[1.0], [1e39]], r"row 11 \(from 0\): found 1e\+39"),
        (replace(CITY, alias="town"), ["a", 5], r"column 'city' \('town' in the training files\), row 11"),
        (WEIGHT, [[1.0], [float("nan")]], r"row 11 \(from 0\): found None"),
        (PLACE, [[1, 2], [1, 2, 3]], r"row 11 \(from 0\): found \[1.*3.*\]; allowed: a list of 2 finite numbers"),
    ],
)
def test_what_is_no_such_value_is_refused_with_its_place(column: ServedColumn, given: list, message: str):
    with pytest.raises(ColumnError, match=message):
        checked(from_python(given, column, 10), column, 10)


@pytest.mark.parametrize(("kind", "limit"), [(pa.float16(), 2**11), (pa.float32(), 2**24), (pa.float64(), 2**53)])
def test_an_id_that_may_have_been_another_one_is_refused(kind: pa.DataType, limit: int):
    """The limit itself is what its successor becomes in such a float."""
    assert pa.scalar(float(limit + 1)).cast(kind, safe=False).as_py() == limit
    with pytest.raises(ColumnError, match=r"row 1 \(from 0\)"):
        checked(pa.array(np.array([1, limit + 1], kind.to_pandas_dtype())), ITEM, 0)


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        (ITEM, ["3", None], [3, None]),
        (ITEM, ["True", "false"], [1, 0]),
        (PRICE, ["true", "0.5"], [1.0, 0.5]),
        (replace(TAGS, separator="|"), ["[new]|a", "a|b", None], [["[new]", "a"], ["a", "b"], None]),
        (CITY, ["3", None, ""], ["3", None, ""]),
        (PRICE, ["3", "1e-3", None], [3.0, 0.001, None]),
        (TAGS, ['["a,b", "c"]', None, "[]"], [["a,b", "c"], None, []]),
        (WEIGHT, ["[1, 0.5]"], [[1.0, 0.5]]),
    ],
)
def test_text_is_read_as_what_is_asked_for(column: ServedColumn, text: list, expected: list):
    assert checked(from_text(pa.array(text, pa.string()), column, 0), column, 0).to_pylist() == expected


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        (ITEM, ["1", "x"], r"column 'item', row 6 \(from 0\): found 'x'; allowed: an integer"),
        (ITEM, ["7", "007"], r"row 6 \(from 0\): found '007'; allowed: an integer"),
        (replace(HISTORY, separator="|"), ["7|8", "7|007"], r"row 6 \(from 0\): found '7\|007'"),
        (ITEM, ["1", "1.0"], r"row 6 \(from 0\): found '1.0'"),
        (PRICE, ["1", "inf"], r"row 6 \(from 0\): found inf"),
        (TAGS, ["[1", "2]"], r"row 5 \(from 0\): found '\[1'; allowed: a list of texts"),
        (HISTORY, ["[1]", "7"], r"row 6 \(from 0\): found 7; allowed: a list of integers"),
    ],
)
def test_text_that_is_no_such_value_is_refused_with_its_place(column: ServedColumn, text: list, message: str):
    with pytest.raises(ColumnError, match=message):
        checked(from_text(pa.array(text, pa.string()), column, 5), column, 5)


def test_columns_are_found_by_name():
    assert unused(["city", "extra", "item"], [ITEM, CITY]) == ("extra",)
    with pytest.raises(ColumnError, match=r"column 'item' occurs 0 times.*\(did you mean it by 'items'\?\).*items"):
        unused(["items", "city"], [ITEM, CITY])
    with pytest.raises(ColumnError, match="column 'city' occurs 2 times; it must occur once"):
        unused(["city", "item", "city"], [ITEM, CITY])
    video = replace(ITEM, alias="video_id")
    assert unused(["city", "video_id"], [video, CITY]) == ()
    assert unused(["video_id", "item", "city"], [video, CITY]) == ("video_id",), "its own name goes first"
    with pytest.raises(ColumnError, match="column 'video_id' occurs 2 times"):
        unused(["city", "video_id", "video_id"], [video, CITY])


def test_rows_become_ids_and_numbers_by_hand():
    """Vocabularies of two values each: 1 is the table's first row after padding, that of an unknown item."""
    schema = Schema(
        fields=(
            Field(name="item", cardinality=3),
            Field(name="tags", cardinality=3, width=2, weighted=True),
            Field(name="price", kind="number"),
        ),
        tasks=(Task(name="click", label="clicked"),),
    )
    inputs = Inputs(
        schema,
        {
            "item": Vocabulary(pa.array([70, 50]), np.array([2, 1])),
            "tags": Vocabulary(pa.array(["a", "b"]), np.array([2, 1])),
        },
        {"price": Scale(np.array([10.0]), np.array([2.0]))},
        files={},
    )
    unknown: Counter[str] = Counter()
    raw = {
        "item": pa.array([50, 70, 60, None]),
        "tags": pa.array([["a"], ["b", "z", "a"], [], None]),
        "tags:weight": pa.array([[1.0], [3.0, 1.0, 2.0], [], None]),
        "price": pa.array([10.0, 14.0, None, 8.0]),
    }
    found = inputs.encode(raw, 0, unknown)
    # item: 1 unknown, 2 is 70, 3 is 50; tags: 4 unknown, 5 is a, 6 is b; of three the lightest is cut
    assert found["ids"].tolist() == [[3, 5, 0], [2, 6, 5], [1, 0, 0], [1, 0, 0]]
    assert found["weights"].tolist() == [[1, 0], [3, 2], [0, 0], [0, 0]]
    assert found["numbers"].tolist() == [[0], [2], [0], [-1]]
    assert unknown == {"item": 2}
    with pytest.raises(ColumnError, match=r"'tags:weight', row 4 \(from 0\): 2 weights for the 1 entries of 'tags'"):
        inputs.encode(raw | {"tags:weight": pa.array([[1.0, 2.0], None, None, None])}, 4, unknown)
