"""What the Ali-CCP files consist of: their 23 fields, and the byte grammar of a line.

A line of a skeleton file is ``sample_id,click,purchase,common_feature_index,feature_num,feature_list``, a line of a
common file ``common_feature_index,feature_num,feature_list``; there is no header. A feature list is
``field \\x02 id \\x03 value`` triples joined by ``\\x01``, in any order; a missing field is simply absent.
"""

from dataclasses import dataclass
from typing import Literal

from mtlbench.ingest.protocol import ROWS

COMMON = "common"
"""Name of the dimension table: what the impressions of one user at one moment have in common."""

COMMAS = {ROWS: 5, COMMON: 2}
"""Separators before the feature list, by table."""

BETWEEN_TRIPLES, AFTER_FIELD, AFTER_ID = 1, 2, 3
LARGEST_ID = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RawField:
    """One field of the files.

    Attributes:
        code: as the files write it.
        name: ours, readable, with the code at its end.
        table: `ROWS` (skeleton file) or `COMMON`.
        role: see `mtlbench.schema.Field`.
        bag: whether a line may have several triples of it.
        value: whether the triple's value says something (it is 1.0 for a plain id).
        first_id: smallest id seen in, or inferred for, the published files, where fields occupy disjoint ranges of ids.
        ids: distinct ids in the published files (train and test).
        coverage: share of training rows that have it; for a bag the mean number of ids per row.
    """

    code: str
    name: str
    table: str
    role: Literal["user", "item", "context", "history", "cross"]
    bag: bool = False
    value: bool = False
    first_id: int
    ids: int
    coverage: float


def _user(code: str, name: str, first_id: int, ids: int, coverage: float) -> RawField:
    return RawField(
        code=code, name=f"{name}_{code}", table=COMMON, role="user", first_id=first_id, ids=ids, coverage=coverage
    )


def _history(code: str, name: str, first_id: int, ids: int, coverage: float) -> RawField:
    return RawField(
        code=code,
        name=f"{name}_history_{code}",
        table=COMMON,
        role="history",
        bag=True,
        value=True,
        first_id=first_id,
        ids=ids,
        coverage=coverage,
    )


def _cross(code: str, name: str, first_id: int, ids: int, coverage: float, bag: bool = False) -> RawField:
    return RawField(
        code=code,
        name=f"{name}_cross_{code}",
        table=ROWS,
        role="cross",
        bag=bag,
        value=True,
        first_id=first_id,
        ids=ids,
        coverage=coverage,
    )


def _item(code: str, name: str, first_id: int, ids: int, coverage: float, bag: bool = False) -> RawField:
    return RawField(
        code=code,
        name=f"{name}_{code}",
        table=ROWS,
        role="item",
        bag=bag,
        first_id=first_id,
        ids=ids,
        coverage=coverage,
    )


RAW_FIELDS = (
    _item("205", "item", 4_184_000, 3_206_396, 1.0),
    _item("206", "category", 8_314_600, 8_627, 1.0),
    _item("207", "shop", 8_403_000, 614_739, 1.0),
    _item("216", "brand", 9_140_600, 210_973, 0.71),
    _item("210", "intentions", 9_019_000, 98_714, 6.1, bag=True),
    RawField(code="301", name="scenario_301", table=ROWS, role="context", first_id=9_351_665, ids=3, coverage=1.0),
    _cross("508", "category", 9_351_668, 7_753, 0.70),
    _cross("509", "shop", 9_360_000, 389_788, 0.22),
    _cross("702", "brand", 9_790_000, 143_919, 0.22),
    _cross("853", "intention", 10_004_484, 86_895, 1.4, bag=True),
    _user("101", "user", 1, 295_787, 0.9978),
    _user("121", "profile", 3_438_658, 97, 0.87),
    _user("122", "profile_group", 3_438_756, 13, 0.87),
    _user("124", "gender", 3_438_769, 2, 0.87),
    _user("125", "age", 3_438_771, 7, 0.87),
    _user("126", "consumption_one", 3_438_778, 3, 0.42),
    _user("127", "consumption_two", 3_438_781, 3, 0.87),
    _user("128", "occupation", 3_864_885, 2, 0.87),
    _user("129", "geography", 3_864_887, 4, 0.64),
    _history("109_14", "category", 445_000, 12_223, 69.0),
    _history("110_14", "shop", 457_300, 2_545_609, 250.0),
    _history("127_14", "brand", 3_438_784, 396_460, 153.6),
    _history("150_14", "intention", 3_864_891, 99_226, 135.9),
)
"""Meanings as the publisher lists them (109_14 category, 110_14 shop, 127_14 brand, 150_14 intention node; each "cross"
is the history entry that matches the impression's own id). First ids: read off, or inferred from, published rows."""

BY_CODE = {field.code: field for field in RAW_FIELDS}

ALL = tuple(field.code for field in RAW_FIELDS)
USUAL = tuple(code for code in ALL if code != "210" and not code.endswith("_14"))
"""The 18 fields of AITM's preprocessing, which most published tables use."""
DIN = tuple(code for code in ALL if BY_CODE[code].role != "cross")
"""Candidate and histories without the crosses, which are the histories already looked up for the candidate."""

TARGETS = {"109_14": "206", "110_14": "207", "127_14": "216", "150_14": "210"}
"""The field of the item that each history consists of; both number the same things apart."""


def fields_of(table: str) -> tuple[RawField, ...]:
    """Fields that may stand in a file of this table."""
    return tuple(field for field in RAW_FIELDS if field.table == table)
