"""The layout of the Ali-CCP files: their 23 fields, and the byte grammar of a line.

A line of a skeleton file is ``sample_id,click,purchase,common_feature_index,feature_num,feature_list``, a line of a
common file ``common_feature_index,feature_num,feature_list``; there is no header. A feature list is
``field \\x02 id \\x03 value`` triples joined by ``\\x01``, in any order; a missing field is simply absent.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from mtlbench.ingest.protocol import ROWS

COMMON = "common"
"""Name of the dimension table: what the impressions of one user at one moment have in common."""

COMMAS = {ROWS: 5, COMMON: 2}
"""Separators before the feature list, by table."""

BETWEEN_TRIPLES, AFTER_FIELD, AFTER_ID = 1, 2, 3
LARGEST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RawField:
    """One field of the files.

    Attributes:
        code: as the files write it.
        meaning: the first part of our name.
        first_id: smallest id seen in, or inferred for, the published files, where fields occupy disjoint ranges of ids.
        ids: distinct ids in the published files (train and test).
        coverage: share of training rows that have it; for a bag the mean number of ids per row.
        bag: whether a line may have several triples of it.
        value: whether the triple's value has a meaning (it is 1.0 for a plain id).
        table: `ROWS` (skeleton file) or `COMMON`.
        role: see `mtlbench.schema.Field`.
    """

    code: str
    meaning: str
    first_id: int
    ids: int
    coverage: float
    bag: bool = False
    value: bool = False
    table: str = ROWS
    role: Literal["user", "item", "context", "history", "cross"] = "item"

    @property
    def name(self) -> str:
        """Our readable name, with the code at the end."""
        return f"{self.meaning}_{self.code}"


_user = partial(RawField, table=COMMON, role="user")
_history = partial(RawField, table=COMMON, role="history", bag=True, value=True)
_cross = partial(RawField, role="cross", value=True)

RAW_FIELDS = (
    RawField("205", "item", 4_184_000, 3_206_396, 1.0),
    RawField("206", "category", 8_314_600, 8_627, 1.0),
    RawField("207", "shop", 8_403_000, 614_739, 1.0),
    RawField("216", "brand", 9_140_600, 210_973, 0.71),
    RawField("210", "intentions", 9_019_000, 98_714, 6.1, bag=True),
    RawField("301", "scenario", 9_351_665, 3, 1.0, role="context"),
    _cross("508", "category_cross", 9_351_668, 7_753, 0.70),
    _cross("509", "shop_cross", 9_360_000, 389_788, 0.22),
    _cross("702", "brand_cross", 9_790_000, 143_919, 0.22),
    _cross("853", "intention_cross", 10_004_484, 86_895, 1.4, bag=True),
    _user("101", "user", 1, 295_787, 0.9978),
    _user("121", "profile", 3_438_658, 97, 0.87),
    _user("122", "profile_group", 3_438_756, 13, 0.87),
    _user("124", "gender", 3_438_769, 2, 0.87),
    _user("125", "age", 3_438_771, 7, 0.87),
    _user("126", "consumption_one", 3_438_778, 3, 0.42),
    _user("127", "consumption_two", 3_438_781, 3, 0.87),
    _user("128", "occupation", 3_864_885, 2, 0.87),
    _user("129", "geography", 3_864_887, 4, 0.64),
    _history("109_14", "category_history", 445_000, 12_223, 69.0),
    _history("110_14", "shop_history", 457_300, 2_545_609, 250.0),
    _history("127_14", "brand_history", 3_438_784, 396_460, 153.6),
    _history("150_14", "intention_history", 3_864_891, 99_226, 135.9),
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
"""The item field of the same kind as each history; the files number the two separately."""
