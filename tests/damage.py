"""Damage that comma-separated files meet: bytes lost or changed, cells swapped, other separators, ends, encodings."""

import random
from collections.abc import Callable, Iterator

Cells = list[list[bytes]]
ODD = (
    b"9" * 25,
    b"9223372036854775807",
    b"1e400",
    b"1e38",
    b"-0",
    b"00",
    b"1.",
    b".5",
    b"inf",
    b"",
    b"+1",
    b"1e",
    b"_",
)
ANY = b"0123456789,;. -e+\n\r\t\"'\x00xE_n\xc3\xff"


def insert(draw: random.Random, content: bytes) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + bytes([draw.choice(ANY)]) + content[at:]


def overwrite(draw: random.Random, content: bytes) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + bytes([draw.choice(ANY)]) + content[at + 1 :]


def lose(draw: random.Random, content: bytes) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + content[at + draw.choice((1, 1, 5, 40)) :]


def cut(draw: random.Random, content: bytes) -> bytes:
    at = draw.randrange(len(content) + 1)
    return draw.choice((content[:at], content[:at], content[at:], content + content[:at]))


def swap_cells(draw: random.Random, content: bytes) -> bytes:
    def swap(table: Cells) -> None:
        line = draw.choice(table)
        one, two = draw.randrange(len(line)), draw.randrange(len(line))
        line[one], line[two] = line[two], line[one]

    return as_cells(content, swap)


def swap_columns(draw: random.Random, content: bytes) -> bytes:
    def swap(table: Cells) -> None:
        one, two = draw.randrange(len(table[0])), draw.randrange(len(table[0]))
        for line in table:
            if len(line) > max(one, two):
                line[one], line[two] = line[two], line[one]

    return as_cells(content, swap)


def odd_cell(draw: random.Random, content: bytes) -> bytes:
    def change(table: Cells) -> None:
        line = draw.choice(table)
        line[draw.randrange(len(line))] = draw.choice(ODD)

    return as_cells(content, change)


def repeat_line(draw: random.Random, content: bytes) -> bytes:
    return as_cells(content, lambda table: table.insert(draw.randrange(len(table)), draw.choice(table[:2])))


def other_separators(draw: random.Random, content: bytes) -> bytes:
    return content.replace(*draw.choice(((b",", b";"), (b",", b"\t"), (b",", b'","'), (b",", b", "), (b";", b" "))))


def other_ends(draw: random.Random, content: bytes) -> bytes:
    return draw.choice((content.replace(b"\n", b"\r\n"), content.rstrip(b"\n"), content + b"\n", b"", b"\n"))


def other_encoding(draw: random.Random, content: bytes) -> bytes:
    return draw.choice((b"\xef\xbb\xbf" + content, content.decode("latin-1").encode("utf-16")))


def as_cells(content: bytes, change: Callable[[Cells], None]) -> bytes:
    table = [line.split(b",") for line in content.split(b"\n")]
    change(table)
    return b"\n".join(b",".join(line) for line in table)


DAMAGES = (insert, insert, overwrite, overwrite, lose, cut, swap_cells, swap_columns, odd_cell, odd_cell, repeat_line,
           other_separators, other_ends, other_encoding)  # fmt: skip


def damaged(draw: random.Random, good: bytes, count: int) -> Iterator[bytes]:
    """Files with one to three kinds of damage."""
    for _ in range(count):
        content = good
        for damage in draw.choices(DAMAGES, k=draw.choice((1, 1, 2, 3))):
            content = damage(draw, content)
        yield content
