"""One line of Criteo's ``train.txt``, parsed in the simplest way: the definition of what is accepted, and why not.

The fast reader must give exactly the same on every input, and leaves every text with an error to this reader.
"""

import re
from dataclasses import dataclass

from mtlbench.ingest.lines import BadLineError, conversion_problem, shown

NUMBERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))
COLUMNS = ("label", *NUMBERS, *CATEGORIES)

LONGEST_NUMBER = 9
"""Digits of a number, so that it fits 32 bits; the largest of the published file is 23,159,456 (column I5)."""

WHOLE = re.compile(rb"-?[0-9]{1,9}")
HASH = re.compile(rb"[0-9a-f]{8}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CriteoLine:
    """A line that was read: its click, and the values of `NUMBERS` and `CATEGORIES`, ``None`` where missing."""

    click: int
    numbers: tuple[int | None, ...]
    categories: tuple[int | None, ...]


def read_line(text: bytes, ended: bool = True) -> CriteoLine:
    """Read one line.

    A last line without a newline is accepted if it has a C26, whose eight digits show that it was not cut off.

    Args:
        text: the line without its newline.
        ended: whether a newline follows it.

    Raises:
        BadLineError: the line breaks the format.
    """
    if problem := conversion_problem(text) if text else "empty line":
        raise BadLineError(problem)
    values = text.split(b"\t")
    if len(values) != len(COLUMNS):
        raise BadLineError(f"{len(values)} tab-separated columns; expected {len(COLUMNS)}")
    if not ended and not values[-1]:
        raise BadLineError("no newline at the end of the file and no C26: the line may have been cut off")
    label, numbers, categories = values[0], values[1 : len(NUMBERS) + 1], values[len(NUMBERS) + 1 :]
    if label not in (b"0", b"1"):
        raise BadLineError(f"label is {shown(label)}; expected 0 or 1")
    return CriteoLine(
        click=int(label),
        numbers=tuple(_number(name, value) for name, value in zip(NUMBERS, numbers, strict=True)),
        categories=tuple(_category(name, value) for name, value in zip(CATEGORIES, categories, strict=True)),
    )


def _number(name: str, value: bytes) -> int | None:
    if value and not WHOLE.fullmatch(value):
        raise BadLineError(
            f"{name} is {shown(value)}; expected nothing or a whole number of up to {LONGEST_NUMBER} digits"
        )
    return int(value) if value else None


def _category(name: str, value: bytes) -> int | None:
    if value and not HASH.fullmatch(value):
        raise BadLineError(f"{name} is {shown(value)}; expected nothing or eight lower-case hexadecimal digits")
    return int(value, 16) if value else None
