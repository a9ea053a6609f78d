"""WeChat Big Data Challenge 2021: actions of WeChat Channels users on the short videos (feeds) they were shown.

Source: https://algo.weixin.qq.com/ (registration; the download has been closed since), the preliminary round's
``wechat_algo_data1``; 2021 China Collegiate Computing Contest. Terms: unknown, the description of the data
states none; competition data, so do not redistribute them. Fourteen days of 20,000 users; the labels of the fifteenth
day (``test_a.csv``, ``test_b.csv``), on which the competition was scored, were never published and are not read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from mtlbench.checks import at_least, each_once, one_of
from mtlbench.datasets.wechat.layout import (
    ACTION_COLUMNS,
    EMBEDDING,
    EMBEDDING_COLUMNS,
    EMBEDDING_WIDTH,
    FEED,
    FEED_COLUMNS,
    LABELS,
    POSITIVES,
    PUBLISHED_FEEDS,
    PUBLISHED_ROWS,
)
from mtlbench.datasets.wechat.population import WeChatPopulation
from mtlbench.datasets.wechat.simulator import simulate
from mtlbench.ingest.csv import CsvColumn, read_table
from mtlbench.ingest.protocol import KEY, ROWS, Block, RawFile, Shard
from mtlbench.schema import Field, Task

Duplicates = Literal["keep", "last"]
DUPLICATE = "a later row has the same user and feed"


@dataclass(frozen=True, kw_only=True)
class WeChat:
    """A user, a feed and a day per row, and the user's actions.

    Fields of a row: user, feed, device. Fields of its feed: author, background song and singer (missing for half of
    them), keywords and tags given by people and by machines (machine tags weighted by their probability), length in
    seconds, and the publisher's embedding of 512 numbers. The ids 0 of feeds and authors are genuine. ``group`` is the
    user, ``time`` the day, 1 to 14.

    Never inputs: the user's other actions, and the play and stay times of the feed (``play``, ``stay``); all of them
    are known only after the feed is shown. The feed's texts are not read.

    Attributes:
        actions: which of the seven actions are tasks, in this order.
        embedding: whether the feeds' embeddings are read; without, ``feed_embeddings.csv`` is not needed.
        duplicates: of several rows of one user and feed, ``keep`` all, or only the ``last`` in file order.
        keyword_width, tag_width: keywords and tags kept of each list; dropped ones are counted.

    Departure: the organisers' baseline drops all but the last row of each user, feed and label value, separately for
    every action; other public code drops all but the last row of each user and feed. Here all rows are kept by default:
    the paper that this benchmark follows (DEPHN) counts 7,317,882 samples, which is all of them, and dropping rows
    because of later ones makes training rows depend on days to be predicted. Unlike in the baseline, negatives are not
    sampled, past actions are not counted, and the length in seconds is not transformed by ``log1p``.
    """

    actions: tuple[str, ...] = ("read_comment", "like", "click_avatar")
    embedding: bool = True
    duplicates: Duplicates = "keep"
    keyword_width: int = 12
    tag_width: int = 8

    name = "wechat"
    version = 1
    simulator_version = 2
    where = (
        "They were at https://algo.weixin.qq.com/ (wechat_algo_data1, registration), but the download is closed; "
        "set dataset.source=simulated for synthetic data"
    )

    def __post_init__(self) -> None:
        each_once("wechat: dataset.tasks", self.actions, POSITIVES)
        one_of("wechat: duplicates", self.duplicates, Duplicates)
        at_least("wechat: keyword_width", self.keyword_width, 2)
        at_least("wechat: tag_width", self.tag_width, 2)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(Task(name=action, label=action) for action in self.actions)

    @property
    def files(self) -> tuple[RawFile, ...]:
        actions = RawFile(
            name="user_action.csv",
            table=ROWS,
            part="train",
            splittable=self.duplicates == "keep",  # only the whole file shows which row is the last
            published_rows=PUBLISHED_ROWS,
            published_positives=POSITIVES,
        )
        feeds = RawFile(name="feed_info.csv", table=FEED, part="train", published_rows=PUBLISHED_FEEDS)
        embeddings = RawFile(name="feed_embeddings.csv", table=EMBEDDING, part="train")
        return (actions, feeds, embeddings) if self.embedding else (actions, feeds)

    @property
    def fields(self) -> tuple[Field, ...]:
        keywords: dict[str, Any] = {"table": FEED, "width": self.keyword_width, "vocabulary": "keyword", "role": "item"}
        tags: dict[str, Any] = {"table": FEED, "width": self.tag_width, "vocabulary": "tag", "role": "item"}
        fields = (
            Field(name="userid", role="user"),
            Field(name="feedid", role="item"),
            Field(name="device", role="context"),
            Field(name="authorid", table=FEED, role="item"),
            Field(name="bgm_song_id", table=FEED, role="item"),
            Field(name="bgm_singer_id", table=FEED, role="item"),
            Field(name="manual_keyword_list", **keywords),
            Field(name="machine_keyword_list", **keywords),
            Field(name="manual_tag_list", **tags),
            Field(name="machine_tag_list", **tags, weighted=True),
            Field(name="videoplayseconds", kind="number", table=FEED, role="item"),
        )
        vector = Field(name=EMBEDDING, kind="number", width=EMBEDDING_WIDTH, table=EMBEDDING, role="item")
        return (*fields, vector) if self.embedding else fields

    def read(self, shard: Shard) -> Iterator[Block]:
        """The lines of a shard in blocks; see `mtlbench.ingest.protocol.Block`.

        Raises:
            RawError: the header lacks a column, or the file is not a text file of lines.
        """
        columns = self._columns(shard.file.table)
        if shard.file.table == ROWS and self.duplicates == "last":
            return _last_rows(shard, columns)
        return read_table(shard, columns)

    def simulate(
        self,
        folder: Path,
        *,
        rows: int = 100_000,
        seed: int = 0,
        rates: Literal["auto", "official", "demo"] = "auto",
        relatedness: float = 0.5,
        drift: float = 0.05,
        structure: bool = True,
    ) -> None:
        """Write a synthetic data set in the publisher's format; see `mtlbench.datasets.wechat.simulator`."""
        population = WeChatPopulation(
            rows=rows, seed=seed, rates=rates, relatedness=relatedness, drift=drift, structure=structure
        )
        simulate(Path(folder), population, actions=self.actions, version=self.simulator_version)

    def _columns(self, table: str) -> tuple[CsvColumn, ...]:
        if table == FEED:
            return FEED_COLUMNS
        if table == EMBEDDING:
            return EMBEDDING_COLUMNS
        pointer = [replace(ACTION_COLUMNS[0], name=f"{KEY}:{EMBEDDING}")] if self.embedding else []
        return (*ACTION_COLUMNS, *pointer, *(LABELS[action] for action in self.actions))


def _last_rows(shard: Shard, columns: Sequence[CsvColumn]) -> Iterator[Block]:
    """The blocks of a whole file without the rows whose user and feed occur in a later row too.

    The file is read twice; users and feeds of all rows are held in memory, 16 bytes per row.
    """
    pairs = [(block.columns["userid"], block.columns["feedid"]) for block in read_table(shard, columns)]
    user, feed = (np.concatenate([pair[at].to_numpy() for pair in pairs]) for at in range(2))
    order = np.lexsort((feed, user))  # stable, so that the last of equal pairs stays last
    following = order[1:]
    last = np.ones(len(user), bool)
    last[order[:-1]] = (user[following] != user[order[:-1]]) | (feed[following] != feed[order[:-1]])
    start = 0
    for block in read_table(shard, columns):
        keep = last[start : start + block.columns.num_rows]
        start += len(keep)
        dropped = {DUPLICATE: int((~keep).sum())} if not keep.all() else {}
        yield replace(block, columns=block.columns.filter(pa.array(keep)), dropped=block.dropped | dropped)
