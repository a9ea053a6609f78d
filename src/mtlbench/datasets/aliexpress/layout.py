"""Columns of AliExpress's files, by position, and the names that MTReclib gave them (data/preprocess.py).

The publisher's description of the columns (aliexpress_datasets.txt) comes with the data and is not repeated in any
public code, so the meaning of a single column is not known here.
"""

SEARCH_ID = "search_id"
LABEL = "label"
PAGE = "page"
"""Dimension table: a search result page, with its user and its query."""

PAGE_IDS = tuple(f"categorical_{number}" for number in range(1, 10))
PAGE_NUMBERS = tuple(f"numerical_{number}" for number in range(1, 24))
ITEM_IDS = tuple(f"categorical_{number}" for number in range(10, 17))
ITEM_NUMBERS = tuple(f"numerical_{number}" for number in range(24, 64))

PAGE_COLUMNS = (SEARCH_ID, *PAGE_IDS[:7], *PAGE_NUMBERS, *PAGE_IDS[7:])
"""The 33 columns of a user file: ids are columns 2 to 8, 32 and 33."""

_ITEM_ID_POSITIONS = dict(zip((19, 34, 35, 36, 40, 41, 42), ITEM_IDS, strict=True))
_ITEM_NUMBER_POSITIONS = dict(
    zip((position for position in range(2, 49) if position not in _ITEM_ID_POSITIONS), ITEM_NUMBERS, strict=True)
)
_ITEM_POSITIONS = {1: SEARCH_ID, **_ITEM_ID_POSITIONS, **_ITEM_NUMBER_POSITIONS, 49: LABEL}
ITEM_COLUMNS = tuple(_ITEM_POSITIONS[position] for position in range(1, 50))
"""The 49 columns of an item file; the last one is 0 (shown), 1 (clicked) or 2 (bought)."""
