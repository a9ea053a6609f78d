"""Full disks, no free inodes, read-only file systems: small tmpfs mounts, made and removed here."""

import contextlib
import random
import re
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

from scripts.torture.command import run
from scripts.torture.judge import LostError, Outcome, Seen, SkippedError, attempt, clean, done, line, same
from scripts.torture.kills import named
from scripts.torture.place import Job, Place, jobs, ran_twice, used

ROOMY = ("size=512m", "nr_inodes=100k")
NAMELESS = re.compile(r"(No space left on device|Read-only file system)(?!.*/)(?! \(|: ')")
"""An error of the operating system without a path."""

FAULTS = {"full": "full disk during", "inodes": "no inodes during", "read-only": "read-only file system for"}


def inject(place: Place, times: int, seed: int) -> Iterator[Outcome]:
    """`times` faults, in turn over commands and kinds."""
    commands = [jobs()[name] for name in ("simulate", "prepare", "train", "reproduce", "export", "sync")]
    for number in range(times):
        draw = random.Random(f"{seed} disks {number}")
        job = named(commands[number % len(commands)], place)
        kind = list(FAULTS)[(number + number // len(commands)) % len(FAULTS)]
        yield attempt(
            f"{FAULTS[kind]} `{job.name}`, and the same command again with room",
            f"case {number}",
            _case,
            place,
            job,
            kind,
            draw,
        )


def _case(place: Place, job: Job, kind: str, draw: random.Random) -> Seen:
    undisturbed = place.undisturbed(job)
    seconds = 60 + 10 * undisturbed.seconds
    place.restore(None)
    with mounted(place.case):
        case = place.restore(job.snapshot)
        size, inodes = used(case)
        size += int(draw.random() * (undisturbed.bytes - size))
        inodes += int(draw.random() * (undisturbed.inodes - inodes))
        options = {
            "full": f"size={size},{ROOMY[1]}",
            "inodes": f"{ROOMY[0]},nr_inodes={inodes + 1}",
            "read-only": "ro",
        }
        _mount("-o", f"remount,{options[kind]}", str(case))
        ran = clean(run(case, job.words, seconds))
        if ran.code and not ran.err.strip():
            raise LostError(f"{job.name}: exit status {ran.code} without a word")
        if nameless := [text for text in ran.err.splitlines() if NAMELESS.search(text)]:
            raise LostError(f"{job.name}: names no file: {nameless[0]}")
        _mount("-o", f"remount,rw,{','.join(ROOMY)}", str(case))
        again = run(case, job.words, seconds)
        if not ran_twice(again):
            done(again)
        same(job.view(case), undisturbed.view, f"{job.name} after {kind}")
    return Seen(line=line(ran))


@contextlib.contextmanager
def mounted(folder: Path) -> Generator[None]:
    """A tmpfs on a folder.

    Raises:
        SkippedError: this user may not mount.
    """
    try:
        _mount("-t", "tmpfs", "-o", ",".join(ROOMY), "tmpfs", str(folder))
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        raise SkippedError(f"tmpfs cannot be mounted here (needs root): {error}") from error
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True, text=True)
