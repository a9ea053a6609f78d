"""Layout of the KuaiRand files, as far as they are read.

Columns of a log that are never inputs: the eight signals, ``play_time_ms``, ``profile_stay_time`` and
``comment_stay_time``, all known only after the video is shown. ``duration_ms``, ``time_ms`` and ``is_rand`` are not
read either: the duration of a video is taken from the table of videos.
"""

from typing import Literal

import pyarrow as pa

from mtlbench.ingest.cells import CellType, Id, ListOf, Number, OneOf, Text
from mtlbench.ingest.csv import CsvColumn
from mtlbench.ingest.protocol import KEY
from mtlbench.schema import Field

FieldSet = Literal["default", "all"]

USER = "user"
VIDEO = "video"

SIGNALS = {
    "click": "is_click",
    "like": "is_like",
    "follow": "is_follow",
    "comment": "is_comment",
    "forward": "is_forward",
    "hate": "is_hate",
    "long_view": "long_view",
    "profile_enter": "is_profile_enter",
}
"""The 0/1 signals of a log, by task name."""

EARLY_DAYS = tuple(range(20220408, 20220422))
LATE_DAYS = (*range(20220422, 20220431), *range(20220501, 20220509))

FLAG = OneOf((0, 1), missing=(-124,))
CODE = Id(optional=True, decimal=True)
COUNT = Number(optional=True)

ROW_CELLS: dict[str, CellType] = {"user_id": Id(), "video_id": Id(), "tab": Id(), "hourmin": Id()}
USER_CELLS: dict[str, CellType] = {
    "user_active_degree": Text(optional=True),
    "is_lowactive_period": FLAG,
    "is_live_streamer": FLAG,
    "is_video_author": FLAG,
    "follow_user_num": COUNT,
    "follow_user_num_range": Text(optional=True),
    "fans_user_num": COUNT,
    "fans_user_num_range": Text(optional=True),
    "friend_user_num": COUNT,
    "friend_user_num_range": Text(optional=True),
    "register_days": COUNT,
    "register_days_range": Text(optional=True),
    **{f"onehot_feat{number}": CODE for number in range(18)},
}
VIDEO_CELLS: dict[str, CellType] = {
    "author_id": CODE,
    "video_type": Text(optional=True),
    "upload_dt": Text(optional=True),
    "upload_type": Text(optional=True),
    "visible_status": CODE,
    "video_duration": COUNT,
    "server_width": COUNT,
    "server_height": COUNT,
    "music_id": CODE,
    "music_type": CODE,
    "tag": ListOf(Id(), ","),
}
CELLS = {USER: USER_CELLS, VIDEO: VIDEO_CELLS}
"""Columns of the dimension tables that can be inputs, in the publisher's order."""

DEFAULT = (
    *("user_active_degree", "onehot_feat3", "onehot_feat4", "register_days", "fans_user_num"),
    *("author_id", "video_type", "music_type", "tag", "video_duration"),
)
"""Columns of the dimension tables that are inputs by default."""

ROLES = {"user_id": "user", "video_id": "item", "tab": "context", "hourmin": "context", USER: "user", VIDEO: "item"}


def inputs(fields: FieldSet, tag_width: int, compress: bool) -> tuple[Field, ...]:
    """The fields of a row, of its user and of its video."""
    found = [Field(name=name, role=ROLES[name]) for name in ROW_CELLS]
    for table, cells in CELLS.items():
        for name, cell in cells.items():
            if fields == "all" or name in DEFAULT:
                kind = "number" if isinstance(cell, Number) else "id"
                width = tag_width if isinstance(cell, ListOf) else 1
                compressed = compress and kind == "number"
                found.append(
                    Field(name=name, kind=kind, width=width, table=table, role=ROLES[table], compress=compressed)
                )
    return tuple(found)


def table_columns(table: str, fields: tuple[Field, ...]) -> tuple[CsvColumn, ...]:
    """The columns of a dimension table: its key, and those of its fields."""
    own = [field.name for field in fields if field.table == table]
    key = CsvColumn(name=KEY, source=f"{table}_id", cell=Id())
    return (key, *(CsvColumn(name=name, source=name, cell=CELLS[table][name]) for name in own))


def log_columns(days: tuple[int, ...], signals: tuple[str, ...]) -> tuple[CsvColumn, ...]:
    """The columns of a log.

    Args:
        days: those that the log may hold, yyyymmdd.
        signals: which of `SIGNALS` are labels.
    """
    return (
        CsvColumn(name=f"{KEY}:{USER}", source="user_id", cell=Id()),
        CsvColumn(name=f"{KEY}:{VIDEO}", source="video_id", cell=Id()),
        *(CsvColumn(name=name, source=name, cell=cell) for name, cell in ROW_CELLS.items()),
        CsvColumn(name="group", source="user_id", cell=Id()),
        CsvColumn(name="source", source="tab", cell=Id()),
        CsvColumn(name="time", source="date", cell=OneOf(days)),
        *(CsvColumn(name=SIGNALS[name], source=SIGNALS[name], cell=OneOf((0, 1), pa.int8())) for name in signals),
    )
