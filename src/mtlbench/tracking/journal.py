"""The journal of a run: all measured values in the order of measurement, one JSON object per line."""

import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import FiniteFloat, TypeAdapter

from mtlbench.distributed.job import first_only
from mtlbench.files import write_beside, writing
from mtlbench.tracking.files import DamagedFileError, parse_json, read_content

JOURNAL = "metrics.jsonl"

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-. :]*(/[A-Za-z0-9_][A-Za-z0-9_\-. :]*)*")
"""Names of metrics that MLflow accepts too, so that every value can be sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The values measured at one moment.

    Attributes:
        step: number of optimizer steps so far.
        epoch: number of epochs begun or completed, as counted by the writer.
        time: milliseconds since 1970, UTC.
        values: finite numbers by name, ``<split>/<task>/<metric>``.
        undefined: the reasons why other metrics have no value, by name.
    """

    step: int
    epoch: int
    time: int
    values: dict[str, FiniteFloat]
    undefined: dict[str, str] = field(default_factory=dict)


class Journal:
    """The file ``metrics.jsonl`` of a run folder. The file is not kept open, so there is nothing to close.

    A line is complete if it ends in a newline. A last line without one was left by a process killed while writing: it
    is never read, and the next `append` or `truncate` removes it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL

    @first_only
    def append(
        self, *, step: int, epoch: int, values: Mapping[str, float], undefined: Mapping[str, str] | None = None
    ) -> None:
        """Write one line and pass it to the operating system.

        It survives a killed process but not a power failure: a sync to disk would cost milliseconds per line, and a run
        can be resumed from its checkpoint.

        Raises:
            ValueError: a name that MLflow would reject, or a value that is not finite (which belongs to `undefined`).
        """
        for name in (*values, *(undefined or ())):
            if not NAME.fullmatch(name) or len(name) > 240:
                raise ValueError(
                    f"journal {self.path}: metric name {name!r}; allowed: up to 240 letters, digits and _ - . : space, "
                    "in parts separated by /, each beginning with a letter, a digit or _"
                )
        for name, value in values.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"journal {self.path}: {name} is {value} at step {step}; only finite numbers are values, "
                    "anything else belongs to 'undefined' with its reason"
                )
        line = Line(
            step=step,
            epoch=epoch,
            time=time.time_ns() // 1_000_000,
            values={name: float(value) for name, value in values.items()},
            undefined=dict(undefined or {}),
        )
        with writing(self.path), self.path.open("ab") as file:
            file.truncate(self._complete_bytes())
            file.write(json.dumps(asdict(line), allow_nan=False).encode() + b"\n")

    def read(self) -> list[Line]:
        """All complete lines, in order; empty if there is no journal yet.

        Raises:
            DamagedFileError: the file cannot be read, or a complete line does not have the format of `append`.
        """
        return self.parse(self.content())

    def content(self) -> bytes:
        """The bytes of all complete lines."""
        if not self.path.exists():
            return b""
        data = read_content(self.path)
        return data[: data.rfind(b"\n") + 1]

    def parse(self, content: bytes) -> list[Line]:
        """Parse lines from bytes of this journal that consist of whole lines."""
        lines, line = [], TypeAdapter(Line)
        for number, text in enumerate(content.split(b"\n")[:-1], start=1):
            try:
                lines.append(parse_json(line, text, f"{self.path}, line {number}"))
            except DamagedFileError as error:
                raise DamagedFileError(
                    f"{error}: {text[:80]!r}. Another program changed the file; remove the line to continue without it"
                ) from error
        return lines

    def __len__(self) -> int:
        """The number of complete lines."""
        return self.content().count(b"\n")

    @first_only
    def truncate(self, lines: int) -> int:
        """Keep only the first lines, those written before the checkpoint from which a run resumes.

        Returns:
            The number of lines removed, not counting an incomplete last one.
        """
        complete = self.content().splitlines(keepends=True)
        if self.path.exists():
            write_beside(self.path, b"".join(complete[:lines]))
        return max(len(complete) - lines, 0)

    def _complete_bytes(self) -> int:
        """Size of the file up to its last newline, searched from the end."""
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return 0
            file.seek(size - 1)
            if file.read(1) == b"\n":
                return size
        return len(self.content())
