"""Text files in blocks of whole lines: bulk parsing, with a line-by-line fallback where a line is bad."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from mtlbench.ingest.protocol import Block, RawError, Rejected, Shard

Row = TypeVar("Row")

PIECE_BYTES = 2 << 20
"""Text read at a time: about 8,700 lines of Ali-CCP or Criteo. Arrays of this size stay in the cache and in the
allocator's own memory; with four times as much the Ali-CCP reader takes 1.8 times as long."""

LONGEST_LINE = 64 << 20
"""Far more than any published line; a file without a newline for that long is no text file."""

SUSPECT_LINES = 256
"""A piece of at most so many lines in which something is wrong is read line by line."""

CUT_OFF = "no newline at the end of the file: the file was cut off"

SHOWN = 40
"""How much of a bad cell a reason quotes."""


class BadLineError(ValueError):
    """The line breaks the format; the message is the reason."""


def read_one_by_one(
    text: bytes, first: int, read: Callable[[bytes, bool], Row]
) -> tuple[list[Row], list[int], tuple[Rejected, ...]]:
    """The good lines as rows, their numbers, and the bad lines.

    Args:
        text: lines, of which the last may lack its newline.
        first: number of the first line.
        read: makes a row of a line without its newline, told whether there was one; raises `BadLineError`.
    """
    rows: list[Row] = []
    numbers: list[int] = []
    rejected: list[Rejected] = []
    *ended, rest = text.split(b"\n")
    for number, line in enumerate(ended + [rest] * (rest != b""), start=first):
        try:
            rows.append(read(line, number < first + len(ended)))
            numbers.append(number)
        except BadLineError as problem:
            rejected.append(Rejected(line=number, reason=str(problem), text=line))
    return rows, numbers, tuple(rejected)


def conversion_problem(line: bytes) -> str | None:
    """What a conversion of the file has left in a line, if anything."""
    if line.endswith(b"\r"):
        return "carriage return at the end: the file was converted to another system's line ends"
    if line.startswith(b"\xef\xbb\xbf"):
        return "byte order mark at the start: the file was converted to another encoding"
    return None


def shown(cell: bytes | str) -> str:
    """The beginning of a cell, in quotes."""
    return repr(cell[:SHOWN]).removeprefix("b") + ("..." if len(cell) > SHOWN else "")


def read_blocks(
    shard: Shard, at_once: Callable[[bytes, int], Block | None], one_by_one: Callable[[bytes, int], Block]
) -> Iterator[Block]:
    """The lines of a shard in blocks.

    Args:
        shard: of a text file.
        at_once: reads some whole lines, of which the first has the given number within the shard; ``None`` unless all
            of them are certainly good.
        one_by_one: reads the same and refuses what is bad. A last line without a newline may be among them.

    Raises:
        RawError: the file is no text file of lines.
    """
    first = 0
    for text in pieces(shard):
        for block in _blocks(text, first, at_once, one_by_one):
            yield block
            first += block.lines


def pieces(shard: Shard) -> Iterator[bytes]:
    """The shard's bytes in pieces of whole lines; only a file's last line may lack its newline."""
    with shard.path.open("rb") as file:
        file.seek(shard.start)
        begun = b""
        left = shard.stop - shard.start
        while left > 0:
            text = file.read(min(PIECE_BYTES, left))
            if not text:
                raise RawError(f"{shard.path}: ends {left} bytes before byte {shard.stop}; it was cut while being read")
            left -= len(text)
            if left <= 0 and not text.endswith(b"\n"):
                text += file.readline(LONGEST_LINE)  # the last line began in the shard and may end behind it
            whole = text.rfind(b"\n") + 1 if left > 0 else len(text)
            if whole:
                yield begun + text[:whole]
                begun = text[whole:]
            else:
                begun += text
            if len(begun) > LONGEST_LINE:
                raise RawError(
                    f"{shard.path}: no newline in the {len(begun)} bytes before byte {shard.stop - left}; "
                    "this is not a text file of lines (still compressed?)"
                )


def _blocks(
    text: bytes, first: int, at_once: Callable[[bytes, int], Block | None], one_by_one: Callable[[bytes, int], Block]
) -> Iterator[Block]:
    """One block of all the lines if they are good, else of ever smaller pieces: the bad ones are few."""
    if (block := at_once(text, first)) is not None:
        yield block
    elif (middle := _middle(text)) is None:
        yield one_by_one(text, first)
    else:
        for part in (text[:middle], text[middle:]):
            for block in _blocks(part, first, at_once, one_by_one):
                yield block
                first += block.lines


def _middle(text: bytes) -> int | None:
    """Where to cut whole lines in two, or None if there are too few of them to bother."""
    if text.count(b"\n") <= SUSPECT_LINES:
        return None
    return text.rfind(b"\n", 0, text.index(b"\n", len(text) // 2)) + 1 or None
