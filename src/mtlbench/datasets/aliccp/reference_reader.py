"""One line of an Ali-CCP file, parsed in the simplest way: the definition of what is accepted, and why not.

The fast reader must give exactly the same on every input, and leaves every text with an error to this reader.
"""

import math
import re
from dataclasses import dataclass

import numpy as np

from mtlbench.datasets.aliccp.layout import BY_CODE, COMMAS, LARGEST_ID
from mtlbench.ingest.lines import CUT_OFF, BadLineError, conversion_problem, shown
from mtlbench.ingest.protocol import ROWS

NUMBER = re.compile(rb"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
DIGITS = re.compile(rb"[0-9]{1,18}")
KEY_DIGITS = re.compile(rb"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AliCCPLine:
    """A line that was read: ``triples`` are (field code, id, value) in file order; a common line has no labels."""

    click: int = 0
    conversion: int = 0
    key: int
    triples: tuple[tuple[str, int, float], ...]


def read_line(text: bytes, table: str, ended: bool = True) -> AliCCPLine:
    """Read one line.

    Args:
        text: the line without its newline.
        table: which kind of file it comes from.
        ended: whether a newline follows it; the last line of a file that was cut off has none.

    Raises:
        BadLineError: the line breaks the format.
    """
    if not ended:
        raise BadLineError(CUT_OFF)
    if problem := conversion_problem(text) if text else "empty line":
        raise BadLineError(problem)
    columns = text.split(b",")
    expected = COMMAS[table] + 1
    if len(columns) != expected:
        raise BadLineError(f"{len(columns)} comma-separated columns; expected {expected}")
    *labels, key, count, features = columns
    if not KEY_DIGITS.fullmatch(key):
        raise BadLineError(f"common_feature_index is {shown(key)}; expected 16 lower-case hexadecimal digits")
    click, conversion = _labels(labels) if table == ROWS else (0, 0)
    return AliCCPLine(
        click=click, conversion=conversion, key=signed(int(key, 16)), triples=_triples(features, count, table)
    )


def parse_value(token: bytes) -> float | None:
    """The value of a triple, or None where it is not a number that a 32-bit float can hold."""
    if not NUMBER.fullmatch(token):
        return None
    with np.errstate(over="ignore"):
        value = float(np.float32(float(token)))
    return value if math.isfinite(value) else None


def signed(key: int) -> int:
    """The 64 bits of a key as a signed number, with which Arrow and numpy join fastest."""
    return key - (1 << 64) if key >> 63 else key


def _labels(columns: list[bytes]) -> tuple[int, int]:
    sample, click, conversion = columns
    if not DIGITS.fullmatch(sample):
        raise BadLineError(f"sample_id is {shown(sample)}; expected digits")
    for name, label in (("click", click), ("purchase", conversion)):
        if label not in (b"0", b"1"):
            raise BadLineError(f"{name} is {shown(label)}; expected 0 or 1")
    return int(click), int(conversion)


def _triples(features: bytes, count: bytes, table: str) -> tuple[tuple[str, int, float], ...]:
    if not DIGITS.fullmatch(count):
        raise BadLineError(f"feature_num is {shown(count)}; expected digits")
    triples = [_triple(token, table) for token in features.split(b"\x01")]
    if int(count) != len(triples):
        raise BadLineError(f"feature_num says {int(count)} features, the list has {len(triples)}")
    single = [code for code, _, _ in triples if not BY_CODE[code].bag]
    if len(set(single)) != len(single):
        twice = sorted({code for code in single if single.count(code) > 1})
        raise BadLineError(f"single-valued field {', '.join(twice)} occurs more than once in the list")
    return tuple(triples)


def _triple(token: bytes, table: str) -> tuple[str, int, float]:
    head, after_field, rest = token.partition(b"\x02")
    digits, after_id, number = rest.partition(b"\x03")
    if not (after_field and after_id):
        raise BadLineError(f"feature {shown(token)} is not field \\x02 id \\x03 value")
    field = BY_CODE.get(head.decode("latin-1"))
    if field is None or field.table != table:
        raise BadLineError(f"{shown(head)} is not a field of this file")
    if not DIGITS.fullmatch(digits) or int(digits) > LARGEST_ID:
        raise BadLineError(f"id of field {field.code} is {shown(digits)}; expected digits, at most {LARGEST_ID}")
    value = parse_value(number)
    if value is None:
        raise BadLineError(f"value of field {field.code} is {shown(number)}; expected a finite number of 0 or more")
    return field.code, int(digits), value
