"""Validated reading of a run's small files; every problem raises the same kind of error."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


class DamagedFileError(ValueError):
    """A file is missing, unreadable, of another format, or was edited; the message says which file and why."""


def read_content(path: Path, remedy: str = "") -> bytes:
    """The bytes of a file.

    Args:
        path: path of the file.
        remedy: a sentence that says what to do if it is damaged.

    Raises:
        DamagedFileError: the file is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        problem = f"{path} is missing: {path.parent} is not the folder of a run, or lost it"
        raise DamagedFileError(". ".join(filter(None, (problem, remedy)))) from error
    except OSError as error:
        raise DamagedFileError(". ".join(filter(None, (f"{path} cannot be read: {error.strerror}", remedy)))) from error


def parse_json(type_: TypeAdapter[T], content: bytes, source: object, remedy: str = "") -> T:
    """Parse JSON and validate it strictly against a type.

    Args:
        type_: adapter of the expected type.
        content: the JSON text.
        source: name of the source, for messages.
        remedy: as in `read_content`.

    Raises:
        DamagedFileError: the text is not JSON, or does not have the expected type.
    """
    try:
        return type_.validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"{part}: " for part in (".".join(map(str, first["loc"])),) if part)
        problem = f"{source} is damaged: {where}{first['msg']}"
        raise DamagedFileError(". ".join(filter(None, (problem, remedy)))) from error


def read_json(type_: TypeAdapter[T], path: Path, remedy: str = "") -> T:
    """`parse_json` of a file's content.

    Raises:
        DamagedFileError: it is missing, cannot be read, or is damaged.
    """
    return parse_json(type_, read_content(path, remedy), path, remedy)
