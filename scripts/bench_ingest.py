"""Raw Ali-CCP text to a prepared store: rows per second and peak memory, beside a plain Python loop over the files.

    python scripts/bench_ingest.py [--rows 2000000] [--repeats 3] [--folder FOLDER] [--fields usual]

Simulates the raw files once (kept in FOLDER), at ROWS and at twice as many rows, to show that memory stays flat. Every
measurement runs in a process of its own, and they take turns, so that a busy machine disturbs all of them alike.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from mtlbench.datasets.aliccp.dataset import AliCCP
from mtlbench.datasets.aliccp.layout import ALL, USUAL

MB = 2**20


@dataclass(frozen=True)
class Measured:
    """One run: seconds of the work itself (not of starting Python), and what it and its children took in all."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def prepare_once(raw: Path, scratch: Path, fields: str) -> float:
    """Everything that `mtlbench prepare` does once the raw files are there; gives the seconds."""
    from mtlbench.data.manifest import Provenance
    from mtlbench.data.prepare import prepare
    from mtlbench.data.split import by_key

    started = time.perf_counter()
    prepare(
        AliCCP(field_set="all" if fields == "all" else "usual"),
        raw,
        scratch / "store",
        split=partial(by_key, table="common", fraction=0.1, seed=0),
        provenance=Provenance(origin="simulated"),
        min_count=12,
    )
    return time.perf_counter() - started


def python_loop(raw: Path, scratch: Path, fields: str) -> float:
    """What public preprocessing scripts do, without their cut-off and encoding: parse, join, write one wide line."""
    started = time.perf_counter()
    wanted = ALL if fields == "all" else USUAL
    for part in ("train", "test"):
        common: dict[str, dict[str, str]] = {}
        with (raw / f"common_features_{part}.csv").open() as file:
            for line in file:
                key, _, features = line.strip().split(",")
                common[key] = triples(features, wanted)
        with (raw / f"sample_skeleton_{part}.csv").open() as file, (scratch / f"{part}.csv").open("w") as out:
            for line in file:
                _, click, conversion, key, _, features = line.strip().split(",")
                if click == "0" and conversion == "1":
                    continue
                row = triples(features, wanted) | common[key]
                out.write(",".join([click, conversion, *(row.get(code, "0") for code in wanted)]) + "\n")
    return time.perf_counter() - started


def triples(features: str, wanted: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for triple in features.split("\x01"):
        code, rest = triple.split("\x02")
        if code in wanted:
            found[code] = rest.split("\x03")[0]
    return found


WORK = {"prepare": prepare_once, "loop": python_loop}


def measured(what: str, raw: Path, fields: str) -> Measured:
    """Run one piece of work in a fresh process and watch it."""
    scratch = Path(tempfile.mkdtemp(dir=raw.parent))
    command = [
        sys.executable,
        __file__,
        "--work",
        what,
        "--raw",
        str(raw),
        "--scratch",
        str(scratch),
        "--fields",
        fields,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    peak, busy = 0, dict[int, float]()
    while process.poll() is None:
        peak = max(peak, sum(look(each, busy) for each in family(process.pid)))
        time.sleep(0.05)
    output, _ = process.communicate()
    shutil.rmtree(scratch)
    if process.returncode:
        raise SystemExit(f"bench_ingest: {what} on {raw} ended with {process.returncode}")
    return Measured(float(output.splitlines()[-1]), sum(busy.values()), peak / MB)


def family(process: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(process)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def look(process: psutil.Process, busy: dict[int, float]) -> int:
    """Note a process's CPU seconds and give its memory in bytes: pages that processes share count once (PSS) where the
    system tells, and nothing counts of a process that just ended."""
    try:
        times, memory = process.cpu_times(), process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    busy[process.pid] = times.user + times.system
    return getattr(memory, "pss", memory.rss)


def simulated(folder: Path, rows: int) -> Path:
    """The raw files of so many training rows, written first if they are not there."""
    raw = folder / f"aliccp-{rows}-v{AliCCP.simulator_version}"
    if not (raw / "simulated.json").exists():
        print(f"simulating {rows:,} training rows in {raw}", flush=True)
        started = time.perf_counter()
        AliCCP().simulate(raw, rows=rows)
        print(f"  {rows * 5 / 4 / (time.perf_counter() - started):,.0f} rows/s", flush=True)
    return raw


def report(rows: int, repeats: int, folder: Path, fields: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    small, large = simulated(folder, rows), simulated(folder, 2 * rows)
    cases = {
        "mtlbench, raw to store": ("prepare", small, rows),
        "the same, twice the rows": ("prepare", large, 2 * rows),
        "plain Python loop": ("loop", small, rows),
    }
    runs: dict[str, list[Measured]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, (what, raw, _) in cases.items():
            runs[name].append(measured(what, raw, fields))
    size = sum((small / file.name).stat().st_size for file in AliCCP().files) / MB
    print(
        f"\nAli-CCP format, {rows:,} + {rows // 4:,} rows, {size:,.0f} MB of text, fields: {fields}; "
        f"{cores()} cores; medians of {repeats}"
    )
    print("The loop parses, joins and writes text, no vocabulary; mtlbench checks every byte and writes a store.\n")
    print(f"{'':28}{'rows/s':>12}{'ratio':>9}{'seconds':>10}{'slowest':>10}{'CPU s':>10}{'peak MB':>10}")
    speeds = {name: cases[name][2] * 5 / 4 / statistics.median(run.seconds for run in of) for name, of in runs.items()}
    for name, of in runs.items():
        seconds = [run.seconds for run in of]
        print(
            f"{name:28}{speeds[name]:>12,.0f}{speeds[name] / speeds['plain Python loop']:>9.1f}"
            f"{statistics.median(seconds):>10.1f}{max(seconds):>10.1f}"
            f"{statistics.median(run.cpu_seconds for run in of):>10.1f}{max(run.peak_mb for run in of):>10,.0f}"
        )


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=2_000_000)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mtlbench-bench-ingest")
    options.add_argument("--fields", choices=("usual", "all"), default="usual")
    options.add_argument("--work", choices=tuple(WORK), help=argparse.SUPPRESS)
    options.add_argument("--raw", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.work is None:
        report(chosen.rows, chosen.repeats, chosen.folder, chosen.fields)
        return
    print(WORK[chosen.work](chosen.raw, chosen.scratch, chosen.fields))


if __name__ == "__main__":
    main()
