"""Fault injection: kills, full disks, damaged files, broken servers, hostile files, random configurations, a soak.

    make torture                                          some minutes
    python -m scripts.torture --long                      the figures of docs/reliability.md, under an hour on one core
    python -m scripts.torture --only kills,damage --times 30 --seed 1

Every case starts a command of `mtlbench` on a tiny data set, injects a fault, and compares what comes out with what the
undisturbed command leaves behind. A fault is survived where the exit status is right, no traceback is shown, no number
is silently wrong, nothing is lost, and the command ends in time. Outcomes are appended to ``<folder>/<class>.jsonl`` as
they come; a class whose file is complete is not injected again (--fresh does). The table is printed at the end. Exit
status 1 means that something was lost.
"""

import argparse
import importlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.torture.judge import Outcome
from scripts.torture.place import Place
from scripts.torture.table import markdown

TIMES = {
    "kills": (14, 120),
    "disks": (8, 40),
    "damage": (40, 220),
    "servers": (1, 3),
    "together": (7, 21),
    "configurations": (200, 2000),
    "hostile": (30, 250),
    "soak": (10, 50),
}
"""Faults by class: by default, and with --long; of servers how often each kind."""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that mounts and servers are cleaned up
    arguments = parsed()
    place = Place(arguments.folder, arguments.seed)
    outcomes: list[Outcome] = []
    built = False
    for name in arguments.only:
        times = arguments.times or TIMES[name][arguments.long]
        journal = arguments.folder / f"{name}.jsonl"
        head = {"class": name, "times": times, "seed": arguments.seed}
        if not arguments.fresh and (earlier := finished(journal, head)) is not None:
            print(f"{name}: {len(earlier)} outcomes of an earlier run in {journal}", file=sys.stderr)
            outcomes += earlier
            continue
        if not built:
            print(f"tiny data and undisturbed runs in {place.root} ...", file=sys.stderr)
            place.build()
            built = True
        outcomes += list(recorded(place, name, times, journal, head))
    print(markdown(outcomes))
    if not arguments.keep:
        for folder in ("case", "snapshots", "outputs"):
            shutil.rmtree(place.root / folder, ignore_errors=True)
    return int(any(outcome.verdict == "lost" for outcome in outcomes))


def recorded(place: Place, name: str, times: int, journal: Path, head: dict[str, object]) -> Iterator[Outcome]:
    """Inject the faults of a class, and write each outcome down as it comes."""
    inject = importlib.import_module(f"scripts.torture.{name}").inject
    with journal.open("w") as file:
        file.write(json.dumps(head) + "\n")
        file.flush()
        for number, outcome in enumerate(inject(place, times, place.seed), start=1):
            file.write(json.dumps(outcome.as_dict()) + "\n")
            file.flush()
            if outcome.verdict != "survived":
                told = f"{outcome.verdict}: {outcome.fault} ({outcome.detail}): {outcome.why}"
                print(f"{name} {number}: {told}", file=sys.stderr, flush=True)
            yield outcome
        file.write(json.dumps({"complete": True}) + "\n")


def finished(journal: Path, head: dict[str, object]) -> list[Outcome] | None:
    """Outcomes of a class that was injected before with the same settings, to its end."""
    if not journal.exists():
        return None
    lines = [json.loads(text) for text in journal.read_text().splitlines()]
    if len(lines) < 2 or lines[0] != head or lines[-1] != {"complete": True}:
        return None
    return [Outcome(**line) for line in lines[1:-1]]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(TIMES), help=f"classes: {', '.join(TIMES)}")
    parser.add_argument("--long", action="store_true", help="the numbers of faults of the table in docs/reliability.md")
    parser.add_argument("--times", type=int, default=None, help="faults of each class instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="keep the tiny data and the folder of the last case")
    parser.add_argument("--fresh", action="store_true", help="inject again what is complete")
    parser.add_argument("--to", dest="folder", type=Path, default=Path(tempfile.gettempdir()) / "torture")
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    arguments.only = arguments.only.split(",")
    if strange := sorted(set(arguments.only) - set(TIMES)):
        parser.error(f"no class {', '.join(strange)}; there are {', '.join(TIMES)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
