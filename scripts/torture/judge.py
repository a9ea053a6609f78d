"""Whether an injected fault was survived, and what a user saw of it."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scripts.torture.command import Ran

TRACEBACK = "Traceback (most recent call last)"
ENDED = (0, 1, 2)
"""Exit statuses of a command that was not interrupted: done, failed, unusable input."""


class LostError(Exception):
    """A fault that was not survived, and how."""


class SkippedError(Exception):
    """A fault that cannot be injected here, and why."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one injected fault came to.

    Attributes:
        fault: its kind, a row of the table.
        verdict: what became of it.
        injected: how many faults that were (several kills may precede the start that is judged).
        seen: what a user saw, one line.
        why: how it was lost, or why it was skipped.
        detail: which case of the kind: command, file, moment.
        seconds: taken by the whole case.
        cost: of a tracker's fault, wall time in % of the same run without a tracker.
    """

    fault: str
    verdict: Literal["survived", "lost", "skipped"]
    injected: int = 1
    seen: str = ""
    why: str = ""
    detail: str = ""
    seconds: float = 0.0
    cost: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(kw_only=True)
class Seen:
    """What a survived case shows: a line for the table, and how many faults it contained."""

    line: str
    injected: int = 1
    cost: float | None = None


def attempt(fault: str, detail: str, case: Callable[..., Seen], *arguments: Any) -> Outcome:
    """Carry out a case, and say what it came to."""
    began = time.monotonic()
    try:
        seen = case(*arguments)
    except LostError as lost:
        return Outcome(
            fault=fault, verdict="lost", why=str(lost), detail=detail, seconds=round(time.monotonic() - began, 2)
        )
    except SkippedError as skipped:
        return Outcome(fault=fault, verdict="skipped", injected=0, why=str(skipped), detail=detail)
    return Outcome(
        fault=fault,
        verdict="survived",
        injected=seen.injected,
        seen=seen.line,
        detail=detail,
        seconds=round(time.monotonic() - began, 2),
        cost=seen.cost,
    )


def clean(ran: Ran, codes: Sequence[int] = ENDED) -> Ran:
    """A command that ended in time, with a status that means something, and without a traceback.

    Raises:
        LostError: it did not.
    """
    command = f"`{' '.join(ran.words[:1])}`"
    if ran.code is None:
        raise LostError(f"{command}: no end after {ran.seconds:.0f} s")
    if TRACEBACK in ran.err:
        raise LostError(f"{command}: traceback, {ran.err.strip().splitlines()[-1][:300]}")
    if "weights_only" in ran.err:
        raise LostError(f"{command}: advises to load with weights_only=False")
    if ran.code not in codes:
        raise LostError(f"{command}: exit status {ran.code}, {line(ran)}")
    return ran


def done(ran: Ran) -> Ran:
    """A command that did its work.

    Raises:
        LostError: it did not.
    """
    return clean(ran, codes=(0,))


def names(ran: Ran, what: Sequence[str]) -> bool:
    """Whether an output names the file (or its folder) that a fault was put into."""
    return any(word in ran.err or word in ran.out for word in what)


def same(found: Any, expected: Any, what: str) -> None:
    """Compare what a command has left behind with what an undisturbed one leaves.

    Raises:
        LostError: it differs; the message has the first difference.
    """
    if difference := _difference(found, expected, ""):
        raise LostError(f"{what}: {difference}")


def line(ran: Ran) -> str:
    """The line of standard error that a user reads first, without places and numbers that differ by case."""
    lines = [text.strip() for text in ran.err.splitlines() if text.strip()]
    own = [text for text in lines if text.startswith("mtlbench:") and not text.startswith("mtlbench: note:")]
    told = own or [text for text in lines if not text.startswith("model=")]
    if not told:
        return "nothing: the same numbers" if ran.code == 0 else f"nothing: exit status {ran.code}"
    text = re.sub(r"(?<![:/\w])(?:[\w.~-]*/)+(?=[\w.<])", "", told[0])
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:<port>", text)
    text = re.sub(r"\b(?=\w*[a-f])[0-9a-f]{16,64}\b", "<id>", text)
    return text.encode("ascii", "replace").decode()[:200]


def _difference(found: Any, expected: Any, where: str) -> str:
    """The first place where two values differ, or nothing."""
    if found == expected:
        return ""
    if isinstance(found, dict) and isinstance(expected, dict):
        prefix = f"{where}." if where else ""
        for key in sorted(set(found) | set(expected), key=str):
            if key not in found or key not in expected:
                return f"{prefix}{key} is {'missing' if key not in found else 'there, and should not be'}"
            if inner := _difference(found[key], expected[key], f"{prefix}{key}"):
                return inner
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return next(text for i, (a, b) in pairs if (text := _difference(a, b, f"{where}[{i}]")))
    return f"{where or 'it'} is {str(found)[:80]!r}, expected {str(expected)[:80]!r}"
