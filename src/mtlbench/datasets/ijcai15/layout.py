"""The two files that are read: their columns, what a cell may hold, and an event of the log in memory."""

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mtlbench.ingest.cells import Id, OneOf
from mtlbench.ingest.csv import CsvColumn

LOG, USERS = "user_log_format1.csv", "user_info_format1.csv"
ACTIONS = CLICK, CART, PURCHASE, FAVOURITE = (0, 1, 2, 3)
MISSING = -1
"""Brand of an event without one."""
YEAR = 2014
"""The competition of 2015 is about the Double 11 before it. Only 29 February depends on the year."""

Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Lookup:
    """A lookup table from a few texts to numbers, or to missing values."""

    expected: str
    values: tuple[tuple[str, int | None], ...]
    type: pa.DataType = field(default_factory=pa.int16)

    def read(self, text: str) -> int | None:
        try:
            return dict(self.values)[text]
        except KeyError:
            raise ValueError from None

    def read_all(self, texts: pa.Array) -> pa.Array | None:
        known = pa.array([text for text, _ in self.values], pa.string())
        places = pc.call_function("index_in", [texts], pc.SetLookupOptions(value_set=known))
        return None if places.null_count else pa.array([value for _, value in self.values], self.type).take(places)


def _numbered(values: range, unknown: int) -> tuple[tuple[str, int | None], ...]:
    """Whole numbers, also as pandas writes them (``3.0``); one of them, ``NULL`` and an empty cell mean "unknown"."""
    numbers = [(text, None if value == unknown else value) for value in values for text in (f"{value}", f"{value}.0")]
    return (*numbers, ("NULL", None), ("", None))


MONTH_DAYS = np.array(
    [day.month * 100 + day.day for day in (date(YEAR, 1, 1) + timedelta(days=passed) for passed in range(365))]
)
"""How the log writes the days of the year: 829 is 29 August."""
DAY = Lookup(
    "month and day without a leading zero, such as 829",
    tuple((str(written), day) for day, written in enumerate(MONTH_DAYS.tolist(), start=1)),
)
AGE = Lookup("0 to 8, NULL or nothing", _numbered(range(9), unknown=0))
"""1 is under 18, 2 is 18 to 24, 3 to 5 are five years each, 6 is 40 to 49, 7 and 8 are 50 and more."""
GENDER = Lookup("0 to 2, NULL or nothing", _numbered(range(3), unknown=2))
"""0 is female, 1 is male."""

LOG_COLUMNS = (
    CsvColumn(name="user_id", source="user_id", cell=Id()),
    CsvColumn(name="item_id", source="item_id", cell=Id()),
    CsvColumn(name="cat_id", source="cat_id", cell=Id()),
    CsvColumn(name="seller_id", source="seller_id", cell=Id()),
    CsvColumn(name="brand_id", source="brand_id", cell=Id(optional=True)),
    CsvColumn(name="day", source="time_stamp", cell=DAY),
    CsvColumn(name="action", source="action_type", cell=OneOf(ACTIONS)),
)
USER_COLUMNS = (
    CsvColumn(name="user_id", source="user_id", cell=Id()),
    CsvColumn(name="age_range", source="age_range", cell=AGE),
    CsvColumn(name="gender", source="gender", cell=GENDER),
)

EVENT = np.dtype(
    [
        ("user", "<i4"),
        ("item_id", "<i8"),
        ("cat_id", "<i8"),
        ("seller_id", "<i8"),
        ("brand_id", "<i8"),
        ("day", "<i2"),
        ("action", "i1"),
        ("line", "<u4"),
    ]
)
"""A line of the log: the user's index among all users, ids, day of the year, action, and the number of the line."""


def day_of_year(month_day: int) -> int | None:
    """Number, from 1, of the day that the log writes as ``month_day``; None if there is no such day."""
    return dict(DAY.values).get(str(month_day))
