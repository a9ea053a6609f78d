"""Reads text files in blocks of whole lines: bulk parsing, with a line-by-line fallback for invalid lines."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from mtlbench.ingest.protocol import Block, RawError, Rejected, Shard

Row = TypeVar("Row")

PIECE_BYTES = 2 << 20
"""Bytes of text per block: about 8,700 lines of Ali-CCP or Criteo. Arrays of this size stay in the cache and in the
allocator's own memory; with blocks four times as large, the Ali-CCP reader takes 1.8 times as long."""

LONGEST_LINE = 64 << 20
"""Maximum length of a line in bytes, far above any published one; a file with longer lines is not a text file."""

SUSPECT_LINES = 256
"""An invalid piece of at most this many lines is read line by line."""

CUT_OFF = "no newline at the end of the file: the file was cut off"

SHOWN = 40
"""Maximum number of characters of a bad cell that a reason quotes."""


class BadLineError(ValueError):
    """A line violates the format; the message is the reason."""


def read_one_by_one(
    text: bytes, first: int, read: Callable[[bytes, bool], Row]
) -> tuple[list[Row], list[int], tuple[Rejected, ...]]:
    """The valid lines as rows, their numbers, and the invalid lines.

    Args:
        text: lines; the last may lack its newline.
        first: number of the first line.
        read: parses a line without its newline, and takes whether there was one; raises `BadLineError`.
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
    """A trace of a file conversion in a line, as a message, or ``None``."""
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
        at_once: parses whole lines, given the number of the first within the shard; returns ``None`` unless all are
            certainly valid.
        one_by_one: parses the same and rejects invalid lines; the last line may lack its newline.

    Raises:
        RawError: the file is not a text file of lines.
    """
    first = 0
    for text in pieces(shard):
        for block in _blocks(text, first, at_once, one_by_one):
            yield block
            first += block.lines


def pieces(shard: Shard) -> Iterator[bytes]:
    """The shard's bytes in pieces of whole lines; only the last line of a file may lack its newline."""
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
                text += file.readline(LONGEST_LINE)  # the last line begins in the shard and may end after it
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
    """A single block if all lines are valid, otherwise blocks of successively halved pieces."""
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
    """Where to cut whole lines into halves, or ``None`` if there are too few."""
    if text.count(b"\n") <= SUSPECT_LINES:
        return None
    return text.rfind(b"\n", 0, text.index(b"\n", len(text) // 2)) + 1 or None
