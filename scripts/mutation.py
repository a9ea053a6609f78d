"""Mutation testing: changes the source in one place at a time and checks that a test fails.

    make mutation                                   300 mutants with seed 0, and the survivors
    python scripts/mutation.py --mutants 50 --only metrics --to /tmp/mutants.jsonl

Mutants are cosmic-ray's (operators, comparisons, numbers, conditions, loops, decorators), drawn at random over the
modules of `TESTS`. Each runs, with only the tests of its module, in a forked process that imports the mutated source in
place of the file, so that nothing on disk changes. Outcomes are appended to a file; a mutant in it is not run again.
Places inside type annotations are left out, since changing those breaks the import and proves nothing about a test; so
is the bare ``*`` of keyword-only parameters, which cosmic-ray takes for a product.
"""

import argparse
import ast
import difflib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]

TESTS: dict[str, tuple[str, ...]] = {
    "metrics.binary": ("tests/metrics",),
    "metrics.ceiling": ("tests/metrics",),
    "metrics.evaluate": ("tests/metrics",),
    "metrics.grouped": ("tests/metrics",),
    "metrics.predictions": ("tests/metrics",),
    "metrics.regression": ("tests/metrics",),
    "metrics.ranking": ("tests/metrics",),
    "reproduce.statistics": ("tests/reproduce/test_statistics.py", "tests/reproduce/test_assemble.py"),
    "reproduce.verdict": ("tests/reproduce/test_verdict.py",),
    "reproduce.claim": (
        "tests/reproduce/test_claim.py",
        "tests/reproduce/test_deciding.py",
        "tests/reproduce/test_assemble.py",
    ),
    "train.selection": ("tests/train/test_selection.py", "tests/train/test_loop.py"),
    "train.optimizers": ("tests/train/test_optimizers.py", "tests/train/test_trial_step.py"),
    "balancing.bargain": ("tests/train/test_balancing.py", "tests/train/test_balancing_exact.py"),
    "balancing.dwa": ("tests/train/test_balancing.py",),
    "balancing.famo": ("tests/train/test_balancing.py",),
    "balancing.gradnorm": ("tests/train/test_balancing.py", "tests/train/test_balancing_shared.py"),
    "balancing.gramian": ("tests/train/test_balancing.py", "tests/train/test_balancing_exact.py"),
    "balancing.least_squares": ("tests/train/test_balancing.py", "tests/train/test_balancing_exact.py"),
    "balancing.shared": ("tests/train/test_balancing_shared.py",),
    "balancing.uncertainty": ("tests/train/test_balancing.py",),
    "data.split": ("tests/data/test_split.py",),
    "ingest.leaks": ("tests/ingest/test_leaks.py",),
}
"""Tests of each module below `mtlbench`; one of them must fail for each of its mutants."""

SLOW_TO_IMPORT = ("scipy.stats", "torch._dynamo", "pandas", "sklearn.metrics", "torchjd")
"""Other packages that tests import: imported once, before the forks, which saves about 4 s per mutant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """One change: occurrence number ``occurrence`` of what a cosmic-ray operator changes in a module."""

    module: str
    operator: str
    occurrence: int
    line: int

    def source(self) -> str:
        """The mutated source."""
        from cosmic_ray.mutating import mutate_code  # pyright: ignore[reportMissingImports]
        from cosmic_ray.plugins import get_operator  # pyright: ignore[reportMissingImports]

        mutated = mutate_code(
            path_of(self.module).read_text(encoding="utf-8"), get_operator(self.operator)(), self.occurrence
        )
        assert mutated is not None, f"{self} changes nothing"
        return mutated

    def diff(self) -> str:
        """The changed lines, without context."""
        before, after = path_of(self.module).read_text(encoding="utf-8").splitlines(), self.source().splitlines()
        changed = difflib.unified_diff(before, after, lineterm="", n=0)
        return "\n".join(line for line in changed if line[:1] in "+-" and line[:3] not in ("+++", "---"))


def path_of(module: str) -> Path:
    """File of a module below `mtlbench`."""
    return ROOT / "src" / "mtlbench" / (module.replace(".", "/") + ".py")


def all_mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of a module outside of its type annotations."""
    from cosmic_ray.ast import ast_nodes, get_ast  # pyright: ignore[reportMissingImports]
    from cosmic_ray.plugins import get_operator, operator_names  # pyright: ignore[reportMissingImports]

    source = path_of(module).read_text(encoding="utf-8")
    hints = list(_annotations(ast.parse(source)))
    nodes, lines = list(ast_nodes(get_ast(source))), source.splitlines()
    for name in operator_names():
        operator = get_operator(name)
        if operator.arguments():
            continue
        spots = [(start, end) for node in nodes for start, end in operator().mutation_positions(node)]
        for occurrence, (start, _) in enumerate(spots):
            bare = lines[start[0] - 1][start[1] :].startswith("*,")
            if not bare and not any(first <= start < last for first, last in hints):
                yield Mutant(module=module, operator=name, occurrence=occurrence, line=start[0])


def _annotations(tree: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The positions of a module's type annotations."""
    for node in ast.walk(tree):
        for hint in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(hint, ast.expr):
                yield (hint.lineno, hint.col_offset), (hint.end_lineno or 0, hint.end_col_offset or 0)


class _Overlay(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a given source."""

    def __init__(self, name: str, source: str, path: Path) -> None:
        self.name, self.text, self.path = name, source, path

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)  # pyright: ignore[reportArgumentType]

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)


def run_tests(module: str, source: str | None, limit: float) -> tuple[str, float]:
    """Run the tests of a module in a forked process.

    Args:
        module: below `mtlbench`.
        source: imported in place of its file; ``None``: the file.
        limit: seconds.

    Returns:
        ``passed``, ``failed`` or ``timeout``, and the seconds it took.
    """
    began = time.monotonic()
    child = os.fork()
    if not child:
        _test(module, source)
    while time.monotonic() - began < limit:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return ("passed" if os.waitstatus_to_exitcode(status) == 0 else "failed"), time.monotonic() - began
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout", time.monotonic() - began


def _test(module: str, source: str | None) -> None:
    """Run pytest in this process, silently, and exit with its status."""
    import pytest

    os.setpgid(0, 0)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.dont_write_bytecode = True
    if source is not None:
        sys.meta_path.insert(0, _Overlay(f"mtlbench.{module}", source, path_of(module)))
    options = ["-x", "-q", "-m", "not long and not peers", "-p", "no:cacheprovider", "-p", "no:xdist"]
    os._exit(int(pytest.main([*options, *TESTS[module]])))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="modules whose name begins like this")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "mutants.jsonl")
    chosen = parser.parse_args()
    os.chdir(ROOT)
    os.environ |= {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    import torch

    for name in SLOW_TO_IMPORT:
        importlib.import_module(name)
    torch.set_num_threads(1)
    modules = [module for module in TESTS if module.startswith(chosen.only)]
    found = [mutant for module in modules for mutant in all_mutants(module)]
    drawn = random.Random(chosen.seed).sample(found, min(chosen.mutants, len(found)))
    chosen.to.parent.mkdir(parents=True, exist_ok=True)
    known = _read(chosen.to)
    limits: dict[str, float] = {}
    for mutant in drawn:
        if mutant in known:
            continue
        if mutant.module not in limits:
            outcome, seconds = run_tests(mutant.module, None, 600)
            if outcome != "passed":
                raise SystemExit(f"{mutant.module}: its tests {TESTS[mutant.module]} do not pass without a mutant")
            limits[mutant.module] = 20 + 5 * seconds
        known[mutant] = run_tests(mutant.module, mutant.source(), limits[mutant.module])[0]
        with chosen.to.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(mutant), "outcome": known[mutant], "diff": mutant.diff()}) + "\n")
    return _report(drawn, known, len(found))


def _read(path: Path) -> dict[Mutant, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = [json.loads(line) for line in lines]
    return {Mutant(**{name: entry[name] for name in Mutant.__slots__}): entry["outcome"] for entry in entries}


def _report(drawn: list[Mutant], outcomes: dict[Mutant, str], total: int) -> int:
    """Print the share of killed mutants by module, and the survivors."""
    survived = [mutant for mutant in drawn if outcomes[mutant] == "passed"]
    for mutant in survived:
        spot = f"{mutant.module}:{mutant.line} ({mutant.operator.partition('/')[2]}, {mutant.occurrence})"
        print(f"{spot}\n{mutant.diff()}\n")
    drawn_by, lived_by = Counter(m.module for m in drawn), Counter(m.module for m in survived)
    for module, count in sorted(drawn_by.items()):
        print(f"{module:24}{count - lived_by[module]:5} of {count} killed")
    killed = len(drawn) - len(survived)
    print(f"{killed} of {len(drawn)} mutants killed ({killed / len(drawn):.1%}), drawn from {total:,}")
    return 0 if killed >= 0.9 * len(drawn) else 1


if __name__ == "__main__":
    sys.exit(main())
