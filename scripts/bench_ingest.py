"""Raw text to a prepared store, for every reader: rows and features per second and peak memory.

    python scripts/bench_ingest.py [--datasets aliccp,criteo] [--repeats 3] [--folder FOLDER] [--scale 1.0]

Simulates the raw files of a data set once (kept in FOLDER), at its usual size and at twice that, to show that memory
stays flat. Ali-CCP stands beside a plain Python loop over its files. Every measurement runs in a process of its own,
and they take turns, so that a busy machine disturbs all of them alike.

A row is a line of the files whose lines are labelled rows (of the log, where rows are made of a log); a feature is a
value of one of those lines, or of a line of a dimension table, that the store holds.
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mtlbench.cli.compose import compose
from mtlbench.data.layout import ROWS
from mtlbench.datasets.aliccp.layout import USUAL
from mtlbench.experiment.build import build
from mtlbench.experiment.data import DataSource, resolve_data, simulate
from mtlbench.ingest.manifest import Provenance
from mtlbench.ingest.prepare import prepare
from mtlbench.ingest.workers import cores

MB = 2**20

SIZES = {
    "aliccp": 2_000_000,
    "criteo": 1_000_000,
    "wechat": 1_000_000,
    "ijcai15": 60_000,
    "aliexpress": 500_000,
    "census": 300_000,
}
"""Rows (of IJCAI-15 samples, 33 log lines each) to simulate at scale 1. The others share a reader with one of these."""


@dataclass(frozen=True)
class Measured:
    """One run: seconds of the work itself (not of starting Python), and what it and its children took in all."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    features: int


def prepare_once(data: DataSource, scratch: Path) -> None:
    """Everything that `mtlbench prepare` does once the raw files are there."""
    store = prepare(
        data.reader,
        data.raw,
        scratch / "store",
        split=build(data.config.split, "dataset.split"),
        provenance=Provenance(origin="simulated"),
        min_count=data.config.min_count,
        one_class="note",
    )
    (scratch / "features").write_text(str(features(store.manifest)))


def features(manifest: dict[str, Any]) -> int:
    """Ids and numbers in the store, each dimension table counted once."""
    rows = {name: facts["rows"] for name, facts in manifest["splits"].items()} | manifest["tables"]
    total = 0
    for field in manifest["schema"]["fields"]:
        facts = manifest["fields"][field["name"]]
        if field["kind"] == "id":
            total += sum(facts["values"].values())
        else:
            total += sum(rows[place] - missing for place, missing in facts["missing"].items()) * field["width"]
    return total


def python_loop(data: DataSource, scratch: Path) -> None:
    """What public preprocessing scripts do, without their cut-off and encoding: parse, join, write one wide line."""
    for part in ("train", "test"):
        common: dict[str, dict[str, str]] = {}
        with (data.raw / f"common_features_{part}.csv").open() as file:
            for line in file:
                key, _, text = line.strip().split(",")
                common[key] = triples(text, USUAL)
        with (data.raw / f"sample_skeleton_{part}.csv").open() as file, (scratch / f"{part}.csv").open("w") as out:
            for line in file:
                _, click, conversion, key, _, text = line.strip().split(",")
                if click == "0" and conversion == "1":
                    continue
                row = triples(text, USUAL) | common[key]
                out.write(",".join([click, conversion, *(row.get(code, "0") for code in USUAL)]) + "\n")


def triples(features: str, wanted: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for triple in features.split("\x01"):
        code, rest = triple.split("\x02")
        if code in wanted:
            found[code] = rest.split("\x03")[0]
    return found


def measured(what: str, name: str, raw: Path) -> Measured:
    """Run one piece of work in a fresh process and watch it."""
    scratch = Path(tempfile.mkdtemp(dir=raw.parent))
    command = [sys.executable, __file__, "--work", what, "--datasets", name, "--raw", str(raw)]
    command += ["--scratch", str(scratch)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    peak, busy = 0, dict[int, float]()
    while process.poll() is None:
        peak = max(peak, sum(look(each, busy) for each in family(process.pid)))
        time.sleep(0.05)
    output, _ = process.communicate()
    shutil.rmtree(scratch)
    if process.returncode:
        raise SystemExit(f"bench_ingest: {what} on {raw} ended with {process.returncode}")
    seconds, count = output.splitlines()[-1].split()
    return Measured(float(seconds), sum(busy.values()), peak / MB, int(count))


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


def located(name: str, raw: Path) -> DataSource:
    return resolve_data(compose([f"dataset={name}", f"dataset.raw={raw}"]).dataset, raw.parent)


def simulated(folder: Path, name: str, rows: int) -> Path:
    """Raw files of so many rows, written first if they are not there."""
    config = compose([f"dataset={name}", "dataset.source=simulated", f"dataset.simulator.rows={rows}"])
    reader = resolve_data(config.dataset, folder).reader
    raw = folder / f"{name}-{rows}-v{reader.simulator_version}"  # pyright: ignore[reportAttributeAccessIssue]
    if not raw.exists():
        print(f"simulating {rows:,} rows of {name} in {raw}", flush=True)
        started = time.perf_counter()
        simulate(reader, config.dataset.simulator, raw)
        seconds = time.perf_counter() - started
        print(f"  {lines(located(name, raw)) / seconds:,.0f} rows/s", flush=True)
    return raw


def lines(data: DataSource) -> int:
    """Lines of the raw files that hold rows."""
    paths = [file.find(data.raw) for file in data.reader.files if file.table == ROWS]
    return sum(count_lines(path) for path in paths if path is not None)


def count_lines(path: Path) -> int:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 24), b""))


def report(names: list[str], repeats: int, folder: Path, scale: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cases: dict[str, tuple[str, str, Path]] = {}
    for name in names:
        rows = round(SIZES[name] * scale)
        small, large = simulated(folder, name, rows), simulated(folder, name, 2 * rows)
        cases |= {name: ("prepare", name, small), f"{name}, twice the rows": ("prepare", name, large)}
        if name == "aliccp":
            cases["aliccp, plain Python loop"] = ("loop", name, small)
    counts = {case: lines(located(name, raw)) for case, (_, name, raw) in cases.items()}
    runs: dict[str, list[Measured]] = {case: [] for case in cases}
    for _ in range(repeats):
        for case, (what, name, raw) in cases.items():
            runs[case].append(measured(what, name, raw))
    print(f"\nraw text to a store, {cores()} cores; medians of {repeats}")
    print(f"{'':28}{'rows':>12}{'rows/s':>12}{'features/s':>14}{'seconds':>10}", end="")
    print(f"{'slowest':>10}{'CPU s':>9}{'peak MB':>10}")
    for case, of in runs.items():
        seconds = statistics.median(run.seconds for run in of)
        print(
            f"{case:28}{counts[case]:>12,}{counts[case] / seconds:>12,.0f}{of[0].features / seconds:>14,.0f}"
            f"{seconds:>10.1f}{max(run.seconds for run in of):>10.1f}"
            f"{statistics.median(run.cpu_seconds for run in of):>9.1f}{max(run.peak_mb for run in of):>10,.0f}"
        )
    print("The loop parses, joins and writes text, no vocabulary; mtlbench checks every byte and writes a store.")


def work(what: str, name: str, raw: Path, scratch: Path) -> None:
    """What a watched process does: print the seconds, and how many features it stored."""
    data = located(name, raw)
    started = time.perf_counter()
    {"prepare": prepare_once, "loop": python_loop}[what](data, scratch)
    seconds = time.perf_counter() - started
    counted = scratch / "features"
    print(seconds, json.loads(counted.read_text()) if counted.exists() else 0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--datasets", default=",".join(SIZES), help=f"some of {', '.join(SIZES)}")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mtlbench-bench-ingest")
    options.add_argument("--scale", type=float, default=1.0, help="of the usual numbers of rows")
    options.add_argument("--work", help=argparse.SUPPRESS)
    options.add_argument("--raw", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.work:
        work(chosen.work, chosen.datasets, chosen.raw, chosen.scratch)
        return
    names = chosen.datasets.split(",")
    if unknown := sorted(set(names) - set(SIZES)):
        raise SystemExit(f"bench_ingest: unknown data sets {', '.join(unknown)}; allowed: {', '.join(SIZES)}")
    report(names, chosen.repeats, chosen.folder, chosen.scale)


if __name__ == "__main__":
    main()
