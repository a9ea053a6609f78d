"""Rejected lines: fail at the first one, or quarantine and count them."""

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
"""Bytes of a refused line that an error shows."""


class RejectLog:
    """Lines refused so far.

    Attributes:
        counts: by raw file.
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
            path: the quarantine file, JSON lines of file, line (from 1), reason, text; made when first needed.
            on_error: ``fail`` or ``quarantine``.
            folder: of the raw files, below which they are named.
            quote: content of given lines of a file that is not text, see `protocol.BinarySource`.
        """
        one_of("on_error", on_error, ("fail", "quarantine"))
        self.path = path
        self.stop = on_error == "fail"
        self.counts: Counter[Path] = Counter()
        self._folder = folder or path.parent
        self._quote = quote or self._text
        self._place = (Path(), 0, 0)  # file, line and byte that the next look-up may start from

    def add(self, source: Path, line: int, reason: str, text: bytes) -> None:
        """Refuse a line.

        Args:
            source: raw file.
            line: number of the line, from 0.
            reason: why it cannot be used.
            text: its bytes.

        Raises:
            RawError: if refused lines stop everything.
        """
        if self.stop:
            excerpt = text[:EXCERPT].decode("utf-8", "backslashreplace") + ("..." if len(text) > EXCERPT else "")
            raise RawError(
                f"{source}, line {line + 1}: {reason}. The line reads {excerpt!r}. Repair the file, or set "
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
        """Refuse lines of which only the numbers are at hand: what they say is fetched from the file.

        Files and lines that ascend from call to call cost one reading of each file.

        Args:
            source: raw file.
            lines: their numbers, from 0, ascending.
            reason: why they cannot be used.

        Raises:
            RawError: if refused lines stop everything.
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
