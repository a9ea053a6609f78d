"""The journal of a run: every number that was measured, one JSON object per line, in the order of measuring."""

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
"""Names that MLflow takes too, so that nothing can be measured that cannot be sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What was measured at one moment.

    Attributes:
        step: optimizer steps done.
        epoch: epochs begun or done, as the writer counts them.
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
    """The file ``metrics.jsonl`` of a run folder. It holds no open file, so it needs no closing.

    A line is complete when its newline is there. A last line without one is the mark of a process that was killed
    while writing: it is never read, and the next `append` or `truncate` removes it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL

    @first_only
    def append(
        self, *, step: int, epoch: int, values: Mapping[str, float], undefined: Mapping[str, str] | None = None
    ) -> None:
        """Write one line and hand it to the operating system.

        That survives a killed process, not a power failure: a sync to disk per line would cost milliseconds each,
        and a run can be resumed from its checkpoint.

        Raises:
            ValueError: a name that MLflow would refuse, or a value that is not finite (say why under `undefined`).
        """
        for name in (*values, *(undefined or ())):
            if not NAME.fullmatch(name) or len(name) > 240:
                raise ValueError(
                    f"journal {self.path}: metric name {name!r}; allowed: up to 240 letters, digits and _ - . : space, "
                    "in parts that are separated by / and begin with a letter, a digit or _"
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
        """All complete lines, from the first; none if there is no journal yet.

        Raises:
            DamagedFileError: it cannot be read, or a complete line is not what `append` writes.
        """
        return self.parse(self.content())

    def content(self) -> bytes:
        """The bytes of all complete lines."""
        if not self.path.exists():
            return b""
        data = read_content(self.path)
        return data[: data.rfind(b"\n") + 1]

    def parse(self, content: bytes) -> list[Line]:
        """Lines from bytes of this journal that begin and end where lines do."""
        lines, line = [], TypeAdapter(Line)
        for number, text in enumerate(content.split(b"\n")[:-1], start=1):
            try:
                lines.append(parse_json(line, text, f"{self.path}, line {number}"))
            except DamagedFileError as error:
                raise DamagedFileError(
                    f"{error}: {text[:80]!r}. The file was changed by something else; remove the line to go on "
                    "without it"
                ) from error
        return lines

    def __len__(self) -> int:
        """How many complete lines there are."""
        return self.content().count(b"\n")

    @first_only
    def truncate(self, lines: int) -> int:
        """Keep the first so many lines: what had been written when the checkpoint was from which a run goes on.

        Returns:
            How many lines were dropped, an incomplete last one not counted.
        """
        whole = self.content().splitlines(keepends=True)
        if self.path.exists():
            write_beside(self.path, b"".join(whole[:lines]))
        return max(len(whole) - lines, 0)

    def _complete_bytes(self) -> int:
        """Size of the file up to its last newline, looked for from the end."""
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return 0
            file.seek(size - 1)
            if file.read(1) == b"\n":
                return size
        return len(self.content())
