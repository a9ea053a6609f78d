"""Handles rejected lines: fails at the first one, or quarantines and counts them."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from mtlbench.checks import one_of
from mtlbench.ingest.protocol import RawError

EXCERPT = 200
"""Maximum number of bytes of a rejected line in an error message."""


class RejectLog:
    """Log of rejected lines.

    Attributes:
        counts: numbers of rejected lines, by raw file.
    """

    def __init__(
        self,
        path: Path,
        on_error: Literal["fail", "quarantine"],
        *,
        folder: Path | None = None,
        quote: Callable[[Path, Sequence[int]], Iterator[bytes]] | None = None,
    ) -> None:
        """
        Args:
            path: the quarantine file, JSON lines of file, line (from 1), reason, text; created when first needed.
            on_error: ``fail`` or ``quarantine``.
            folder: the raw folder, to which names of files are relative.
            quote: returns the content of given lines of a file that is not text, see `protocol.BinarySource`.
        """
        one_of("on_error", on_error, ("fail", "quarantine"))
        self.path = path
        self.stop = on_error == "fail"
        self.counts: Counter[Path] = Counter()
        self._folder = folder or path.parent
        self._quote = quote or self._text
        self._place = (Path(), 0, 0)  # file, line and byte at which the next look-up can start

    def add(self, source: Path, line: int, reason: str, text: bytes) -> None:
        """Reject a line.

        Args:
            source: the raw file.
            line: number of the line, from 0.
            reason: why it is rejected.
            text: its bytes.

        Raises:
            RawError: under ``on_error=fail``.
        """
        if self.stop:
            excerpt = text[:EXCERPT].decode("utf-8", "backslashreplace") + ("..." if len(text) > EXCERPT else "")
            raise RawError(
                f"{source}, line {line + 1}: {reason}. The line reads {excerpt!r}. Fix the file, or set "
                "dataset.on_error=quarantine to set such lines aside and count them"
            )
        self.counts[source] += 1
        name = source.relative_to(self._folder) if source.is_relative_to(self._folder) else Path(source.name)
        with self.path.open("a", encoding="utf-8") as file:
            entry = {
                "file": name.as_posix(),
                "line": line + 1,
                "reason": reason,
                "text": text.decode("utf-8", "backslashreplace"),
            }
            file.write(json.dumps(entry) + "\n")

    def add_lines(self, source: Path, lines: Sequence[int], reason: str) -> None:
        """Reject lines by number; their content is read from the file.

        If files and lines are ascending over calls, each file is read only once.

        Args:
            source: the raw file.
            lines: numbers of the lines, from 0, ascending.
            reason: why they are rejected.

        Raises:
            RawError: under ``on_error=fail``.
        """
        if lines:
            for line, text in zip(lines, self._quote(source, lines), strict=True):
                self.add(source, line, reason, text)

    def _text(self, source: Path, lines: Sequence[int]) -> Iterator[bytes]:
        """Lines of a text file, plain or gzip."""
        known, at, byte = self._place
        if known != source or at > lines[0]:
            at = byte = 0
        with gzip.open(source, "rb") if source.suffix == ".gz" else source.open("rb") as file:
            file.seek(byte)
            for line in lines:
                for _ in islice(file, line - at):
                    pass
                text = file.readline()
                at = line + 1
                yield text.rstrip(b"\r\n")
            self._place = (source, at, file.tell())
