"""Simulated impressions and common features as lines of text: every triple at once, by Arrow's string kernels."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mtlbench.datasets.aliccp.layout import ALL, BY_CODE
from mtlbench.datasets.aliccp.population import NODES_REMEMBERED, AliCCPPopulation, Impressions
from mtlbench.datasets.draws import Floats, Integers
from mtlbench.datasets.simulated_files import hexadecimal, joined, text_lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Triples:
    """Triples of one field: ``line`` within the piece, ``number`` within the field's vocabulary, ``value``."""

    code: str
    line: Integers
    number: Integers
    value: Floats | None = None


def skeleton_lines(
    population: AliCCPPopulation,
    piece: Impressions,
    click: npt.NDArray[np.bool_],
    conversion: npt.NDArray[np.bool_],
    begin: int,
    random: np.random.Generator,
) -> bytes:
    """Lines of a skeleton file; the first one has the number ``begin`` (from 0) in the file."""
    triples = _item(population, piece)
    for code, history in zip(("508", "509", "702", "853"), _past(population, piece), strict=True):
        shown = next(
            part for part in triples if part.code == {"508": "206", "509": "207", "702": "216", "853": "210"}[code]
        )
        triples.append(_matches(code, shown, history, piece.row_key))
    samples = np.arange(begin + 1, begin + 1 + piece.row_key.size)
    keys = hexadecimal(piece.key).take(pa.array(piece.row_key))
    header = [samples, click.astype(np.int8), conversion.astype(np.int8), keys]
    return _lines(header, triples, piece.row_key.size, random)


def common_lines(population: AliCCPPopulation, piece: Impressions, random: np.random.Generator) -> bytes:
    """Lines of a common file, one per key."""
    profile = [_present(code, value) for code, value in piece.profile.items()]
    return _lines([hexadecimal(piece.key)], [*profile, *_past(population, piece)], piece.key.size, random)


def _item(population: AliCCPPopulation, piece: Impressions) -> list[Triples]:
    count, nodes = population.nodes(piece.category, piece.item)
    return [
        _present("205", piece.item),
        _present("206", piece.category),
        _present("207", population.shop(piece.category, piece.item)),
        _present("216", population.brand(piece.category, piece.item)),
        Triples(code="210", line=np.repeat(np.arange(count.size), count), number=nodes),
        _present("301", piece.scenario),
    ]


def _past(population: AliCCPPopulation, piece: Impressions) -> list[Triples]:
    """The four behaviour bags: distinct entries of the past items of each key, with ln(1 + how many items)."""
    key, category, item = piece.past_key, piece.past_category, piece.past_item
    count, nodes = population.nodes(category, item)
    position = np.arange(nodes.size) - np.repeat(np.cumsum(count) - count, count)
    remembered = position < NODES_REMEMBERED
    return [
        _bag("109_14", key, category),
        _bag("110_14", key, population.shop(category, item)),
        _bag("127_14", key, population.brand(category, item)),
        _bag("150_14", np.repeat(key, count)[remembered], nodes[remembered]),
    ]


def _bag(code: str, key: Integers, number: Integers) -> Triples:
    there = number >= 0
    pairs, count = np.unique(_pair(key[there], number[there]), return_counts=True)
    return Triples(code=code, line=pairs >> 32, number=pairs & 0xFFFFFFFF, value=np.round(np.log1p(count), 5))


def _matches(code: str, shown: Triples, history: Triples, row_key: Integers) -> Triples:
    """The shown entries that occur in the history of the impression's key, with the history's value."""
    known = _pair(history.line, history.number)
    wanted = _pair(row_key[shown.line], shown.number)
    at = np.minimum(np.searchsorted(known, wanted), max(known.size - 1, 0))
    found = np.flatnonzero(known[at] == wanted) if known.size else np.empty(0, np.int64)
    assert history.value is not None
    # A cross has fewer published ids than the field it matches; beyond that, far in the tail, two entries share one.
    number = shown.number[found] % BY_CODE[code].ids
    line, value = shown.line[found], history.value[at[found]]
    return Triples(code=code, line=line, number=number, value=value)


def _pair(high: Integers, low: Integers) -> npt.NDArray[np.int64]:
    return high.astype(np.int64) << 32 | low


def _present(code: str, number: Integers) -> Triples:
    line = np.flatnonzero(number >= 0)
    return Triples(code=code, line=line, number=number[line])


@cache  # not at import: `pa.array` imports pandas, half a second that planning a run does not need
def _prefixes() -> pa.Array:
    return pa.array([code + "\x02" for code in ALL])


def _lines(
    header: list[npt.NDArray[Any] | pa.Array], triples: list[Triples], lines: int, random: np.random.Generator
) -> bytes:
    """Join each line's triples, in random order, after its header and their count."""
    line = np.concatenate([part.line for part in triples])
    order = np.argsort(line + random.random(line.size))
    ids = np.concatenate([part.number + BY_CODE[part.code].first_id for part in triples])[order]
    codes = np.repeat([ALL.index(part.code) for part in triples], [part.line.size for part in triples])[order]
    values = pa.concat_arrays([_values(part) for part in triples]).take(pa.array(order))
    tokens = joined(_prefixes().take(pa.array(codes)), pa.array(ids).cast(pa.string()), "\x03", values, "")
    counts = np.bincount(line, minlength=lines)
    ends = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    features = pc.call_function("binary_join", [pa.ListArray.from_arrays(ends, tokens), "\x01"])
    return text_lines([*header, counts, features])


def _values(part: Triples) -> pa.Array:
    if part.value is None:
        return pa.repeat(pa.scalar("1.0"), part.line.size)
    return pa.array(part.value).cast(pa.string())
