"""Simulated rows, feeds and embeddings as lines of text, in the notation of the published files."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.simulated_files import text_lines
from mtlbench.datasets.wechat.layout import EMBEDDING_WIDTH
from mtlbench.datasets.wechat.population import PUBLISHED_FEEDS, SINGERS, SONGS, TOPICS, Views, WeChatPopulation

ACTION_HEADER = "userid,feedid,date_,device,read_comment,comment,like,play,stay,click_avatar,forward,follow,favorite"
FEED_HEADER = (
    "feedid,authorid,videoplayseconds,description,ocr,asr,bgm_song_id,bgm_singer_id,manual_keyword_list,"
    "machine_keyword_list,manual_tag_list,machine_tag_list,description_char,ocr_char,asr_char"
)
EMBEDDING_HEADER = "feedid,feed_embedding"

EMPTY = {"song": 0.48, "manual keywords": 0.36, "machine keywords": 0.08, "description": 0.04, "ocr": 0.28, "asr": 0.25}
"""Shares of empty cells in the 99 published feeds at hand."""
FIRST_TOPIC_TAG, FEWER_TAGS = 13, 0.38
KEYWORDS_PER_TOPIC = 40
FEEDS_AT_ONCE = 256
WORDS, CHARACTERS = 146_500, 33_400


def action_lines(population: WeChatPopulation, piece: Views, labels: dict[str, npt.NDArray[np.bool_]]) -> bytes:
    """Lines of user_action.csv."""
    random = np.random.default_rng([population.seed, int(piece.user[0]), 1])
    acted = np.any(list(labels.values()), axis=0)
    seconds = population.feeds.seconds[piece.feed]
    # Known only afterwards: users who act have watched longer. As inputs they would leak the labels.
    play = 250 * np.floor(4 * seconds * random.uniform(0, 1, len(seconds)) * np.where(acted, 2, 0.6)).astype(np.int64)
    columns = {
        "userid": population.users[piece.user],
        "feedid": population.feeds.identifier[piece.feed],
        "date_": piece.day,
        "device": 1 + piece.user % 2,
        "play": play,
        "stay": play + random.integers(200, 6000, len(play)),
        **{action: label.astype(np.int8) for action, label in labels.items()},
    }
    return text_lines(columns[name] for name in ACTION_HEADER.split(","))


def feed_lines(population: WeChatPopulation) -> Iterator[str]:
    """Lines of feed_info.csv, in no particular order of popularity."""
    feeds = population.feeds
    random = np.random.default_rng([population.seed, 2])
    share = len(feeds.author) / PUBLISHED_FEEDS
    songs, singers = (max(10, round(size * share)) for size in (SONGS, SINGERS))
    for feed in random.permutation(len(feeds.author)).tolist():
        empty = {name: random.random() < chance for name, chance in EMPTY.items()}
        song = int(random.integers(0, songs))
        topics = int(feeds.topic[feed]), int(feeds.second[feed])
        cells = {
            "feedid": feeds.identifier[feed],
            "authorid": feeds.author[feed],
            "videoplayseconds": feeds.seconds[feed],
            "bgm_song_id": "" if empty["song"] else song,
            "bgm_singer_id": "" if empty["song"] else song % singers,
            "manual_keyword_list": "" if empty["manual keywords"] else _keywords(random, topics[0]),
            "machine_keyword_list": "" if empty["machine keywords"] else _keywords(random, topics[0]),
            "manual_tag_list": f"{FIRST_TOPIC_TAG + topics[0]};{FIRST_TOPIC_TAG + TOPICS + topics[0] // 4};159;6",
            "machine_tag_list": _machine_tags(random, topics, float(feeds.share[feed])),
        }
        for name in ("description", "ocr", "asr"):
            for suffix, size in (("", WORDS), ("_char", CHARACTERS)):
                words = random.integers(0, size, random.integers(1, 12))
                cells[name + suffix] = "" if empty[name] else " ".join(map(str, words))
        yield ",".join(str(cells[name]) for name in FEED_HEADER.split(",")) + "\n"


def embedding_lines(population: WeChatPopulation) -> Iterator[str]:
    """Lines of feed_embeddings.csv: eight decimals, and a space after the last number too."""
    form = "%d," + "%.8f " * EMBEDDING_WIDTH + "\n"
    count = len(population.feeds.author)
    for first in range(0, count, FEEDS_AT_ONCE):
        last = min(first + FEEDS_AT_ONCE, count)
        vectors = population.embeddings(first, last).tolist()
        for identifier, vector in zip(population.feeds.identifier[first:last].tolist(), vectors, strict=True):
            yield form % (identifier, *vector)


def _keywords(random: np.random.Generator, topic: int) -> str:
    chosen = random.choice(KEYWORDS_PER_TOPIC, random.integers(1, 8), replace=False)
    return ";".join(str(100 + KEYWORDS_PER_TOPIC * topic + word) for word in chosen)


def _machine_tags(random: np.random.Generator, topics: tuple[int, int], share: float) -> str:
    """Both topics with their shares; mostly four more irrelevant tags too, some with weights as small as 1e-08."""
    tags = [(FIRST_TOPIC_TAG + topics[0], share), (FIRST_TOPIC_TAG + topics[1], 1 - share)]
    if random.random() >= FEWER_TAGS:
        tags += [(8, 10 ** random.uniform(-8, -5)), (306, 0.0), (207, 10 ** random.uniform(-6, -2)), (10, 0.02)]
    return ";".join(f"{tag} {round(chance, 8)}" for tag, chance in tags)
