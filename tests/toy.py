"""A tiny star-shaped data set for tests: labelled rows that point at users, with every kind of field.

One line of ``rows.<part>.txt``: user key, click, conversion, item, tags, colour, price, day, separated by tabs; empty
means missing; the number of tags gives the row's source. One line of ``users.<part>.txt``: key, city, history
(``item:weight`` separated by spaces), embedding.
Lines that start with ``!`` are refused, lines that start with ``-`` are dropped by a policy.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mtlbench.data.layout import ROWS
from mtlbench.ingest.protocol import KEY, LINE, Block, RawFile, Rejected, Shard
from mtlbench.schema import Field, Task

TAGS, HISTORY, EMBEDDING = 3, 4, 2


@dataclass(frozen=True)
class Toy:
    """The data set; ``block`` is how many lines a reader's block has."""

    block: int = 7

    name = "toy"
    version = 1

    @property
    def fields(self) -> tuple[Field, ...]:
        return (
            Field(name="price", kind="number"),
            Field(name="city", table="users", role="user"),
            Field(name="history", width=HISTORY, weighted=True, table="users", vocabulary="things"),
            Field(name="item", vocabulary="things"),
            Field(name="tags", width=TAGS),
            Field(name="colour"),
            Field(name="embedding", kind="number", width=EMBEDDING, table="users"),
        )

    @property
    def tasks(self) -> tuple[Task, ...]:
        return Task(name="click", label="clicked"), Task(name="conversion", label="bought", given="click")

    @property
    def files(self) -> tuple[RawFile, ...]:
        return tuple(
            RawFile(name=f"{name}.{part}.txt", table=table, part=part)
            for part in ("train", "test")
            for name, table in (("rows", ROWS), ("users", "users"))
        )

    @property
    def where(self) -> str:
        return "Ask the test."

    def read(self, shard: Shard) -> Iterator[Block]:
        with shard.path.open("rb") as file:
            file.seek(shard.start)
            lines = file.read(shard.stop - shard.start).decode().splitlines()
        for first in range(0, len(lines), self.block):
            some = list(enumerate(lines[first : first + self.block], start=first))
            good = [(number, line.split("\t")) for number, line in some if line[0] not in "!-"]
            bad = tuple(
                Rejected(line=number, reason="marked as bad", text=line.encode())
                for number, line in some
                if line[0] == "!"
            )
            dropped = len(some) - len(good) - len(bad)
            columns = row_columns(good) if shard.file.table == ROWS else user_columns(good)
            yield Block(columns=columns, lines=len(some), rejected=bad, dropped={"policy": dropped} if dropped else {})


def row_columns(lines: list[tuple[int, list[str]]]) -> pa.RecordBatch:
    key, click, conversion, item, tags, colour, price, day = (
        zip(*(values for _, values in lines), strict=True) if lines else [()] * 8
    )
    return pa.record_batch(
        {
            LINE: pa.array([number for number, _ in lines], pa.int64()),
            f"{KEY}:users": pa.array(key, pa.string()),
            "clicked": pa.array([int(value) for value in click], pa.int8()),
            "bought": pa.array([int(value) for value in conversion], pa.int8()),
            "item": pa.array([int(value) if value else None for value in item], pa.int32()),
            "tags": pa.array([value.split() for value in tags], pa.list_(pa.string())),
            "colour": pa.array([value or None for value in colour], pa.string()),
            "price": pa.array([float(value) if value else None for value in price], pa.float32()),
            "time": pa.array([int(value) for value in day], pa.int64()),
            "source": pa.array([source_of(value) for value in tags], pa.int64()),
        }
    )


def user_columns(lines: list[tuple[int, list[str]]]) -> pa.RecordBatch:
    key, city, history, embedding = zip(*(values for _, values in lines), strict=True) if lines else [()] * 4
    pairs = [[entry.split(":") for entry in value.split()] for value in history]
    return pa.record_batch(
        {
            LINE: pa.array([number for number, _ in lines], pa.int64()),
            KEY: pa.array(key, pa.string()),
            "group": pa.array([group_of(value) for value in key], pa.int64()),
            "city": pa.array([value or None for value in city], pa.string()),
            "history": pa.array([[int(item) for item, _ in entries] for entries in pairs], pa.list_(pa.int64())),
            "history:weight": pa.array(
                [[float(weight) for _, weight in entries] for entries in pairs], pa.list_(pa.float32())
            ),
            "embedding": pa.array(
                [[float(part) for part in value.split()] or None for value in embedding], pa.list_(pa.float32())
            ),
        }
    )


def source_of(tags: str) -> int:
    """Raw value of a row's source: three of them, not counted from 0."""
    return (70, 7, -3)[len(tags.split()) % 3]


def group_of(key: str) -> int:
    return -int(key.removeprefix("user"))


def write_toy(folder: Path, rows: int = 300, users: int = 40, seed: int = 0) -> Path:
    """Random raw files; all values printed exactly, some missing, histories and tags longer than their fields."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)

    def sometimes(value: object) -> str:
        return str(value) if draw.random() < 0.9 else ""

    def weight() -> float:
        return draw.randint(1, 8) / 4

    for part, first in (("train", 0), ("test", users // 2)):  # some users are known to both parts, with other profiles
        with (folder / f"users.{part}.txt").open("w") as file:
            for user in draw.sample(range(first, first + users), users):
                history = " ".join(f"{draw.randint(1, 30)}:{weight()}" for _ in range(draw.randint(0, 9)))
                embedding = sometimes(" ".join(str(draw.randint(-8, 8) / 8) for _ in range(EMBEDDING)))
                file.write("\t".join([f"user{user}", sometimes(draw.choice("ABCDE")), history, embedding]) + "\n")
        with (folder / f"rows.{part}.txt").open("w") as file:
            for _ in range(rows):
                click = int(draw.random() < 0.5)
                tags = " ".join(f"t{draw.randint(1, 12)}" for _ in range(draw.randint(0, 5)))
                values = [
                    f"user{draw.randrange(first, first + users)}",
                    click,
                    click * draw.randint(0, 1),
                    sometimes(draw.randint(1, 25)),
                    tags,
                    sometimes(draw.choice(["red", "green", "blue"])),
                    sometimes(draw.randint(0, 64) / 4),
                    draw.randint(1, 9),
                ]
                file.write("\t".join(map(str, values)) + "\n")
    return folder


def read_lines(path: Path) -> list[list[str]]:
    """The good lines of a raw file, for references that share nothing with the reader."""
    return [line.split("\t") for line in path.read_text().splitlines() if line[0] not in "!-"]
