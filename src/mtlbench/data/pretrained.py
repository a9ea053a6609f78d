"""Reads pretrained vectors of a field's values from a Parquet file, and matches their keys to a vocabulary."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mtlbench.data.vocabulary import UNKNOWN, Vocabulary, is_integer_type, is_string_type, normal

SHOWN = 3
"""Maximum number of keys in a message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorFile:
    """A file of pretrained vectors of a field, and how they are used.

    Attributes:
        file: Parquet file with a row per value.
        key: column of the values, integers (or booleans) or text as in the raw files.
        vector: column of the vectors, lists of numbers of equal length.
        frozen: whether the vectors are frozen; otherwise they are trained like other embeddings.
    """

    file: str
    key: str = "key"
    vector: str = "vector"
    frozen: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """The vectors of the values in a vocabulary.

    Attributes:
        index: int64 ``[V]``, indices of these values in the vocabulary.
        values: float32 ``[V, P]``.
        unused: number of keys of the file that are not in the vocabulary.
    """

    index: np.ndarray
    values: np.ndarray
    unused: int


def read_vectors(chosen: VectorFile, field: str, vocabulary: Vocabulary) -> Vectors:
    """Read a file and match its keys.

    Raises:
        ValueError: a column is missing or of another type, a key is missing or duplicate, vectors differ in length or
            are not finite, or no key is in the vocabulary; the message names the file.
    """
    path = Path(chosen.file)
    try:
        table = _columns(path, chosen)
        keys, vectors = _keys(table[chosen.key], chosen.key, field, vocabulary), _matrix(table[chosen.vector], chosen)
        _check_finite(vectors, keys, chosen.vector)
        index = vocabulary.encode(keys)
        known = index != UNKNOWN
        if not known.any():
            examples = vocabulary.values.drop_null()[:SHOWN].to_pylist()
            raise ValueError(
                f"none of its {len(keys):,} keys is a value of the field '{field}' in training rows; the file has "
                f"{_some(keys)}, the field {', '.join(map(repr, examples))}"
            )
    except ValueError as error:
        raise ValueError(f"pretrained.{field}: {path}: {error}") from error
    return Vectors(index=index[known].astype(np.int64), values=vectors[known], unused=int((~known).sum()))


def _columns(path: Path, chosen: VectorFile) -> pa.Table:
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise ValueError("no such file") from error
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"not valid Parquet: {' '.join(str(error).split())}") from error
    for name, key in ((chosen.key, "key"), (chosen.vector, "vector")):
        if name not in file.schema_arrow.names:
            names = ", ".join(file.schema_arrow.names)
            raise ValueError(f"it has no column '{name}'; it has {names}. Name the column with {key}=<column>")
    return file.read([chosen.key, chosen.vector]).combine_chunks()


def _keys(column: pa.ChunkedArray, name: str, field: str, vocabulary: Vocabulary) -> pa.Array:
    """The keys, converted to the type of the vocabulary's values and checked to be unique."""
    found, known = column.type, vocabulary.values.type
    if not (is_integer_type(found) if pa.types.is_integer(known) else is_string_type(found)):
        expected = "integers" if pa.types.is_integer(known) else "text"
        raise ValueError(f"column '{name}' holds {found}, but the values of the field '{field}' are {expected}")
    keys = pa.concat_arrays(normal(column).chunks) if column.num_chunks else pa.array([], known)
    if keys.null_count:
        raise ValueError(f"column '{name}' has {keys.null_count:,} rows without a key")
    counted = keys.value_counts()
    twice = counted.field("values").filter(pa.array(counted.field("counts").to_numpy() > 1))
    if len(twice):
        raise ValueError(f"column '{name}' has {len(twice):,} keys more than once, among them {_some(twice)}")
    return keys


def _matrix(column: pa.ChunkedArray, chosen: VectorFile) -> np.ndarray:
    """Vectors as float32 ``[N, P]``."""
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise ValueError(f"column '{chosen.vector}' holds {kind}; expected lists of numbers")
    if column.null_count:
        raise ValueError(f"column '{chosen.vector}' has {column.null_count:,} rows without a vector")
    lengths = pc.call_function("list_value_length", [column]).to_numpy()
    widths, first = np.unique(lengths, return_index=True)
    if len(widths) != 1 or widths[0] < 1:
        rows = ", ".join(f"row {at} has {width}" for at, width in zip(first, widths, strict=True)) or "no rows"
        raise ValueError(f"column '{chosen.vector}' needs vectors of one length; found {len(widths)} lengths ({rows})")
    numbers = pa.concat_arrays([chunk.flatten() for chunk in column.chunks])
    return numbers.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False).reshape(-1, widths[0])


def _check_finite(vectors: np.ndarray, keys: pa.Array, name: str) -> None:
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise ValueError(
            f"column '{name}' has {len(wrong):,} vectors with numbers that are missing or not finite in float32, among "
            f"them those of {_some(keys.take(pa.array(wrong[:SHOWN])))}"
        )


def _some(keys: pa.Array) -> str:
    return ", ".join(map(repr, keys[:SHOWN].to_pylist()))
