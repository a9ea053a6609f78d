"""Random configurations from the real groups and keys: composed and checked in one process, some of them trained."""

import json
import math
import random
import re
import resource
import time
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from scripts.torture.command import POLL, run, start
from scripts.torture.judge import LostError, Outcome, Seen, attempt, clean, line
from scripts.torture.place import Place, written

TRAINED = 10
"""One of so many configurations is trained, of those that are accepted."""

STUCK = 60.0
"""Seconds after which a configuration counts as one without end."""

MEMORY = 6 << 30
"""Bytes that a process may allocate beyond what it has at its start."""

SIMULATED = ("census", "aliccp", "criteo", "aliexpress", "wechat")
"""Data sets whose simulators make a few thousand rows at once."""

SHORT = (
    "dataset.source=simulated", "dataset.simulator.rows=4000", "trainer.epochs=1", "trainer.rows=64",
    "trainer.batch_size=32", "trainer.compile=false", "run.device=cpu", "run.threads=1", "tracker=none",
)  # fmt: skip
"""Two steps."""

BOUNDARY: dict[str, tuple[Any, ...]] = {
    "int": (0, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 100_000),
    "float": (0.0, 1.0, -0.0, 1e-300, 1e308, 5e-324, 1),
    "list": ([], [1], [0], [1] * 40, [2**40], [0.0], [1, 2, 3]),
    "str": ("",),
    "bool": (True, False),
    "none": (0, 1, 0.5, [1, 1]),
}
INVALID = (
    -1, 1.5, math.nan, math.inf, -math.inf, "x", None, True, [], [-1], [0.5, "x"], {}, {"a": 1}, "null ", "1e5",
    "${oc.env:HOME}", "../..", "os.system", [[1], 2], 10**30, "é", [None],
)  # fmt: skip


def inject(place: Place, times: int, seed: int) -> Iterator[Outcome]:
    """`times` configurations composed and checked, and a tenth as many of the accepted ones trained."""
    place.restore(None)
    accepted: list[tuple[int, list[str]]] = []
    for number, checked in _checked(place, times, seed):
        overrides = " ".join(checked["overrides"])
        yield attempt("random configuration, composed and checked", f"{number}: {overrides}", _seen, checked)
        if checked["kind"] == "accepted":
            accepted.append((number, checked["overrides"]))
    for number, overrides in accepted[: max(times // TRAINED, 1)]:
        words = ("train", *_shortened(overrides))
        yield attempt(
            "random configuration, accepted and trained for two steps",
            f"{number}: {' '.join(words)}",
            _trained,
            place,
            words,
        )


def drawn(seed: int, number: int) -> list[str]:
    """The overrides of a configuration: some groups, and up to four keys with fitting and other values."""
    draw = random.Random(f"{seed} configuration {number}")
    groups = _groups()
    chosen = {group: draw.choice(groups[group]) for group in draw.sample(list(groups), draw.randint(0, 3))}
    if draw.random() < 0.6:
        chosen["model"] = draw.choice(groups["model"])
    keys: dict[str, Any] = dict(_leaves((), False))
    for group, choice in chosen.items():
        keys = {key: value for key, value in keys.items() if not key.startswith(f"{group}.")}
        keys |= {key: value for key, value in _leaves((f"{group}={choice}",), True) if key not in keys}
    settable = sorted(key for key in keys if not key.startswith("run.choices"))
    picked = draw.sample(settable, draw.randint(0 if chosen else 1, 4))
    return [*(f"{group}={choice}" for group, choice in chosen.items()), *(_override(k, keys[k], draw) for k in picked)]


@cache
def _groups() -> dict[str, list[str]]:
    from mtlbench.cli.choices import GROUPS, choices

    return {group: list(choices(group)) for group in GROUPS}


@cache
def _leaves(overrides: tuple[str, ...], quiet: bool) -> list[tuple[str, Any]]:
    """Every dotted key of a composed configuration, with its value."""
    from mtlbench.cli.compose import compose
    from mtlbench.experiment.errors import ConfigError

    try:
        return list(_flat(compose(list(overrides)), ""))
    except ConfigError:
        if not quiet:
            raise
        return []


def _flat(node: DictConfig, prefix: str) -> Iterator[tuple[str, Any]]:
    for key in typing.cast(list[str], list(node)):
        if OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        yield prefix + key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        if isinstance(value, DictConfig):
            yield from _flat(value, f"{prefix}{key}.")


def _override(key: str, value: Any, draw: random.Random) -> str:
    kind = "none" if value is None else type(value).__name__
    luck = draw.random()
    if luck < 0.35:
        new = _fitting(value, draw)
    elif luck < 0.65 and kind in BOUNDARY:
        new = draw.choice(BOUNDARY[kind])
    else:
        new = draw.choice(INVALID)
    return f"{key}={written(new)}"


def _fitting(value: Any, draw: random.Random) -> Any:
    """A value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.choice((value, 1, 2, 3, 8))
    if isinstance(value, float):
        return draw.choice((value, 0.1, 0.5, 1e-3))
    return value


def _checked(place: Place, times: int, seed: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Compose and check in one process; a new one takes over behind a configuration that ended or stopped it."""
    journal = place.root / "configurations.checked.jsonl"
    journal.unlink(missing_ok=True)
    done = 0
    while done < times:
        started = start(place.case, [str(done), str(times)], main=lambda words: _check_all(journal, seed, words))
        changed = time.monotonic()
        while started.alive() and time.monotonic() - changed < STUCK:
            time.sleep(POLL * 10)
            if (lines := _lines(journal)) > done:
                done, changed = lines, time.monotonic()
        ran = started.wait(0)
        done = _lines(journal)
        if done < times:
            ended = f"ended the process ({ran.code}): {ran.err[-200:]}"
            what = f"no end after {STUCK:.0f} s" if ran.code is None else ended
            with journal.open("a") as file:
                broken = {"number": done, "overrides": drawn(seed, done), "kind": "broken", "text": what}
                file.write(json.dumps(broken) + "\n")
            done += 1
    for text in journal.read_text().splitlines():
        content = json.loads(text)
        yield content["number"], content


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _check_all(journal: Path, seed: int, words: list[str]) -> int:
    from mtlbench.cli.compose import compose
    from mtlbench.cli.messages import REPORTED, text_of
    from mtlbench.experiment.check import check_config

    _limit_memory()
    for number in range(int(words[0]), int(words[1])):
        overrides = drawn(seed, number)
        kind, text = "accepted", ""
        try:
            check_config(compose(overrides))
        except REPORTED as error:
            kind, text = "refused", text_of(error)
        except BaseException as error:  # noqa: BLE001
            kind, text = "broken", f"{type(error).__name__}: {error}"
        with journal.open("a") as file:
            file.write(json.dumps({"number": number, "overrides": overrides, "kind": kind, "text": text}) + "\n")
    return 0


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _seen(checked: dict[str, Any]) -> Seen:
    if checked["kind"] == "broken":
        raise LostError(checked["text"][:300])
    if checked["kind"] == "refused" and not checked["text"].strip():
        raise LostError("refused without a word")
    keys = {part for word in checked["overrides"] for part in re.split(r"[.=]", word) if len(part) > 2}
    if checked["kind"] == "refused" and not any(key in checked["text"] for key in keys):
        raise LostError(f"refused by a message that names none of its keys: {checked['text'][:200]}")
    return Seen(line="accepted" if checked["kind"] == "accepted" else "refused: which key, found, allowed")


def _shortened(overrides: list[str]) -> list[str]:
    """A configuration on few rows for two steps; what was drawn for those keys gives way."""
    data = next((word.partition("=")[2] for word in overrides if word.startswith("dataset=")), "aliccp")
    ours = [f"dataset={data if data in SIMULATED else 'census'}", *SHORT]
    taken = {word.partition("=")[0] for word in ours} | {"trainer", "run.tracker.uri", "run.tracker.experiment"}
    taken |= {"run.data", "run.folder", "dataset.raw", "dataset.simulator"}
    kept = [
        word
        for word in overrides
        if (key := word.partition("=")[0]) not in taken and (data in SIMULATED or not key.startswith("dataset."))
    ]
    return [*kept, *ours]


def _trained(place: Place, words: tuple[str, ...]) -> Seen:
    def limited(arguments: list[str]) -> int:
        from mtlbench.cli import main

        _limit_memory()
        return main(arguments)

    ran = clean(run(place.case, words, 180, main=limited))
    return Seen(line="trained" if ran.code == 0 else f"refused: {line(ran)}")
