"""Which KuaiRand files a folder holds: a file may be split into numbered parts, and one of the logs may be missing."""

import re
from pathlib import Path
from typing import Literal

from mtlbench.datasets.kuairand.layout import USER, VIDEO
from mtlbench.ingest.protocol import ROWS, RawError, RawFile

Variant = Literal["pure", "1k", "27k"]
Logs = Literal["found", "both", "late"]

EARLY = "log_standard_4_08_to_4_21"
LATE = "log_standard_4_22_to_5_08"
RANDOM = "log_random_4_22_to_5_08"
TABLES = {USER: "user_features", VIDEO: "video_features_basic"}
PUBLISHED_ROWS = {
    "pure": {TABLES[USER]: 27_285, TABLES[VIDEO]: 7_583, RANDOM: 1_186_059},
    "1k": {TABLES[USER]: 1_000, RANDOM: 43_028},
    "27k": {TABLES[USER]: 27_285, TABLES[VIDEO]: 32_038_725, RANDOM: 1_186_059},
}
"""Rows of the published files; of the standard logs only the sum of both is stated (Pure 1,436,609, 1K 11,713,045,
27K 322,278,385)."""
PUBLISHED_PARTS = {"27k": {EARLY: 2, LATE: 2}}
"""Number of parts in which the publisher splits a file."""

PART = re.compile(r"_(?:part_?)?([0-9]+)", re.ASCII)


def find(folder: Path, variant: Variant, logs: Logs, *, random_log: bool, where: str) -> tuple[RawFile, ...]:
    """The files to read: logs in order of time, then the two tables.

    Args:
        folder: of the raw files.
        variant: ``pure``, ``1k`` or ``27k``, as their names end.
        logs: which of the two standard logs: those that exist, both, or the late one. With the random log, the early
            one is read whatever this says.
        random_log: whether the log of randomly exposed videos is the test part, and the early log the training part.
        where: where to get the files.

    Raises:
        RawError: a file, or one of its numbered parts, is missing, or there are both parts and a whole file.
    """
    found = {stem: parts(folder, stem, variant) for stem in (EARLY, LATE, RANDOM, *TABLES.values())}
    needed = [EARLY, RANDOM] if random_log else [EARLY, LATE] if logs == "both" else [LATE]
    wanted = [EARLY, *needed] if logs == "found" and found[EARLY] and not random_log else needed
    if absent := [f"{stem}_{variant}.csv" for stem in (*needed, *TABLES.values()) if not found[stem]]:
        raise RawError(
            f"raw files of 'kuairand' missing or empty in {folder}: {', '.join(absent)}"
            f"{_others(folder, variant)}. {where}"
        )
    rows = [
        RawFile(
            name=name,
            table=ROWS,
            part="test" if stem == RANDOM else "train",
            published_rows=_published(found[stem], variant, stem),
        )
        for stem in wanted
        for name in found[stem]
    ]
    tables = [
        RawFile(name=name, table=table, part="all", published_rows=_published(found[stem], variant, stem))
        for table, stem in TABLES.items()
        for name in found[stem]
    ]
    return (*rows, *tables)


def parts(folder: Path, stem: str, variant: Variant) -> list[str]:
    """Names of the files that make up a published file: the whole one, or its parts, numbered from 1.

    A missing last part is noticed only where the number of parts is known (`PUBLISHED_PARTS`).

    Raises:
        RawError: a part between others is missing, there are both a whole file and parts, or a name is neither.
    """
    begin = f"{stem}_{variant}"
    numbers: dict[int, str] = {}
    for path in sorted(folder.glob(f"{begin}*.csv")):
        if not path.is_file() or not path.stat().st_size:
            continue
        number = PART.fullmatch(path.stem[len(begin) :])
        if number is None and path.stem != begin:
            raise RawError(f"{path}: the name is neither {begin}.csv nor {begin}_part<number>.csv; rename or remove it")
        part = int(number[1]) if number else 0
        if part in numbers:
            raise RawError(f"{folder}: {numbers[part]} and {path.name} are the same part of {begin}; remove one")
        numbers[part] = path.name
    if 0 in numbers and len(numbers) > 1:
        raise RawError(
            f"{folder} holds {numbers[0]} and parts of it ({', '.join(list(numbers.values())[1:])}); their rows would "
            "be read twice, so remove one or the other"
        )
    last = max(PUBLISHED_PARTS.get(variant, {}).get(stem, 1), *numbers, 1)
    if numbers and 0 not in numbers and (absent := sorted(set(range(1, last + 1)) - set(numbers))):
        raise RawError(f"{folder}: {begin} lacks part {', '.join(map(str, absent))} of {last}; all are needed")
    return [numbers[part] for part in sorted(numbers)]


def _published(names: list[str], variant: Variant, stem: str) -> int | None:
    """Published rows of a file that is not split."""
    return PUBLISHED_ROWS[variant].get(stem) if len(names) == 1 else None


def _others(folder: Path, variant: Variant) -> str:
    """A hint where the folder holds another variant."""
    others = [name for name in ("pure", "1k", "27k") if name != variant and any(folder.glob(f"*_{name}*.csv"))]
    return f" (it holds files of another variant: dataset.variant={others[0]})" if others else ""
