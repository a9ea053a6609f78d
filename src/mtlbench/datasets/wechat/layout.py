"""Layout of the files of the WeChat Big Data Challenge 2021, as far as they are read.

The texts of a feed (``description``, ``ocr``, ``asr`` and their ``_char`` versions, ids of words and characters) are
not fields and may hold anything that does not break the line; nor are ``play`` and ``stay``, which are known only after
the feed was shown.
"""

import pyarrow as pa

from mtlbench.ingest.cells import Id, ListOf, Number, OneOf, Weighted
from mtlbench.ingest.csv import CsvColumn
from mtlbench.ingest.protocol import KEY, WEIGHT_SUFFIX

FEED = "feed"
EMBEDDING = "feed_embedding"
EMBEDDING_WIDTH = 512

PUBLISHED_ROWS = 7_317_882
PUBLISHED_FEEDS = 106_444
POSITIVES = {
    "read_comment": 256_242,
    "like": 188_837,
    "click_avatar": 55_128,
    "forward": 27_963,
    "favorite": 9_824,
    "follow": 5_277,
    "comment": 2_961,
}
"""Positive rows of the published user_action.csv, by action: the published rates, to seven decimals, determine a single
whole number each (read_comment 0.0350159, like 0.0258049, click_avatar 0.0075333, forward 0.0038212, favorite
0.0013425, follow 0.0007211, comment 0.0004046)."""

DAYS = 14

ACTION_COLUMNS = (
    CsvColumn(name=f"{KEY}:{FEED}", source="feedid", cell=Id()),
    CsvColumn(name="userid", source="userid", cell=Id()),
    CsvColumn(name="feedid", source="feedid", cell=Id()),
    CsvColumn(name="device", source="device", cell=OneOf((1, 2))),
    CsvColumn(name="group", source="userid", cell=Id()),
    CsvColumn(name="time", source="date_", cell=OneOf(tuple(range(1, DAYS + 1)))),
)
LABELS = {action: CsvColumn(name=action, source=action, cell=OneOf((0, 1), pa.int8())) for action in POSITIVES}
FEED_COLUMNS = (
    CsvColumn(name=KEY, source="feedid", cell=Id()),
    CsvColumn(name="authorid", source="authorid", cell=Id()),
    CsvColumn(name="bgm_song_id", source="bgm_song_id", cell=Id(optional=True)),
    CsvColumn(name="bgm_singer_id", source="bgm_singer_id", cell=Id(optional=True)),
    CsvColumn(name="manual_keyword_list", source="manual_keyword_list", cell=ListOf(Id(), ";")),
    CsvColumn(name="machine_keyword_list", source="machine_keyword_list", cell=ListOf(Id(), ";")),
    CsvColumn(name="manual_tag_list", source="manual_tag_list", cell=ListOf(Id(), ";")),
    CsvColumn(name="machine_tag_list", source="machine_tag_list", cell=Weighted(0)),
    CsvColumn(name="machine_tag_list" + WEIGHT_SUFFIX, source="machine_tag_list", cell=Weighted(1)),
    CsvColumn(name="videoplayseconds", source="videoplayseconds", cell=Number()),
)
EMBEDDING_COLUMNS = (
    CsvColumn(name=KEY, source="feedid", cell=Id()),
    # A space follows the last number too.
    CsvColumn(name=EMBEDDING, source="feed_embedding", cell=ListOf(Number(), " ", EMBEDDING_WIDTH, trailing=True)),
)
