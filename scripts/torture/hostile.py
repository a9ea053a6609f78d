"""Files and arguments that try to run code, or to be let out: none of it may run, whatever its spelling."""

import io
import itertools
import os
import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from scripts.torture.command import run
from scripts.torture.judge import LostError, Outcome, Seen, attempt, clean, line
from scripts.torture.place import FIELDS, SCHEMA, TRAIN, Place, written

TRAIN_ALONE = (*TRAIN, "tracker=none")
SCORE = ("score", "exported", "exported/example.parquet")
MARK = "mark"
"""A file that appears in the working directory where an attack succeeds."""

TARGETS = (
    {"_target_": "os.system", "command": f"touch {MARK}"},
    {"_target_": "os.system", "_args_": [f"touch {MARK}"]},
    {"_target_": "posix.system", "command": f"touch {MARK}"},
    {"_target_": "subprocess.getoutput", "cmd": f"touch {MARK}"},
    {"_target_": "builtins.eval", "_args_": [f"open('{MARK}', 'w')"]},
    {"_target_": "torch.optim.optimizer.torch.os.system", "command": f"touch {MARK}"},
    {"_target_": "mtlbench.tracking.folder.os.system", "command": f"touch {MARK}"},
    {"_target_": "hydra.utils.call", "config": {"_target_": "os.system", "command": f"touch {MARK}"}},
    {"_target_": "mtlbench.cli.main", "arguments": ["simulate", "dataset=census", "rows=100", f"to={MARK}"]},
)
"""Nodes that Hydra would call; some are other names of the same function, some go through ours."""

KEYS = (
    "model", "model.expert_layers", "dataset.reader", "dataset.schema.fields", "dataset.split", "dataset.split.seed",
    "optimizer.dense", "balancing",
)  # fmt: skip
"""Where a node is put into a configuration."""


class Pickled:
    """Runs a command as it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {MARK}",)  # pyright: ignore[reportDeprecated]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A hostile file, or none, and the command that meets it.

    Attributes:
        fault, detail: row of the table, and which case of it.
        snapshot: what the file is put into.
        file, content: the file, and what stands in it.
        words: of the command.
        read: whether the command reads what is hostile; if not, nothing need be refused.
    """

    fault: str
    detail: str
    snapshot: str
    words: tuple[str, ...]
    file: Path | None = None
    content: bytes = b""
    read: bool = True


def inject(place: Place, times: int, seed: int) -> Iterator[Outcome]:
    """`times` attacks at most, in turn over the doors."""
    attacks = [*_in_schemas(), *_in_configurations(place), *_in_arguments(), *_in_checkpoints(place)]
    random.Random(f"{seed} hostile").shuffle(attacks)
    by_door = [[attack for attack in attacks if attack.fault == door] for door in sorted({a.fault for a in attacks})]
    in_turn = [attack for turn in itertools.zip_longest(*by_door) for attack in turn if attack is not None]
    for attack in in_turn[:times]:
        yield attempt(attack.fault, attack.detail, _case, place, attack)


def _in_schemas() -> Iterator[Attack]:
    schemas: dict[str, dict[str, Any]] = {}
    for node in TARGETS:
        schemas[f"{_name(node)}, alone"] = node
        schemas[f"{_name(node)} among the fields"] = SCHEMA | {"fields": [*FIELDS, node]}
        schemas[f"{_name(node)} at tables"] = SCHEMA | {"tables": {"users": node}}
    for text in ("${oc.env:HOME}", "${oc.env:SECRET,none}", "../../outside"):
        schemas[text] = SCHEMA | {"tasks": [{"name": text, "label": "clicked"}]}
    for detail, schema in schemas.items():
        yield Attack(
            fault="`_target_`, an interpolation or a path in a schema",
            detail=detail,
            snapshot="raw",
            file=Path("raw/schema.yaml"),
            content=yaml.safe_dump(schema).encode(),
            words=TRAIN_ALONE,
        )


def _in_configurations(place: Place) -> Iterator[Attack]:
    finished = place.root / "snapshots" / "finished"
    run_file, (export_file,) = place.run_folder / "config.yaml", finished.glob("exported/artifacts/model/config.yaml")
    name = place.run_folder.name
    doors = (
        ("a run's config.yaml, `evaluate`", run_file, ("evaluate", name)),
        ("a run's config.yaml, `export`", run_file, ("export", name, "--to", "new", "--no-onnx")),
        ("an export's config.yaml, `score`", export_file.relative_to(finished), SCORE),
    )
    for (where, file, words), node, key in itertools.product(doors, TARGETS, KEYS):
        if words == SCORE and not key.startswith("model"):  # the rest of a configuration is not read there
            continue
        content = yaml.safe_load((finished / file).read_text())
        yield Attack(
            fault=f"`_target_` in {where}",
            detail=f"{_name(node)} at {key}",
            snapshot="finished",
            file=file,
            content=yaml.safe_dump(_changed(content, key, node)).encode(),
            words=words,
            read=key.startswith(("model", "dataset")),
        )


def _in_arguments() -> Iterator[Attack]:
    for node, key in itertools.product(TARGETS, ("model.expert_layers", "dataset.split.seed", "optimizer.dense.lr")):
        yield Attack(
            fault="`_target_` on the command line",
            detail=f"{_name(node)} at {key}",
            snapshot="prepared",
            words=(*TRAIN_ALONE, f"{key}={written(node)}"),
        )


def _in_checkpoints(place: Place) -> Iterator[Attack]:
    saved = io.BytesIO()
    torch.save(Pickled(), saved)
    doors = (("best.pt", "finished", ("evaluate", place.run_folder.name)), ("last.pt", "stopped", TRAIN_ALONE))
    for (name, snapshot, words), content in itertools.product(doors, (pickle.dumps(Pickled()), saved.getvalue())):
        yield Attack(
            fault="a checkpoint that runs code as it is loaded",
            detail=f"{name}, {len(content)} bytes",
            snapshot=snapshot,
            file=place.run_folder / name,
            content=content,
            words=words,
        )


def _case(place: Place, attack: Attack) -> Seen:
    """Nothing of it ran, and the command refused it in plain words."""
    case = place.restore(attack.snapshot)
    if attack.file is not None:
        (case / attack.file).write_bytes(attack.content)
    ran = run(case, attack.words, environment={"SECRET": "leaked"})
    if (case / MARK).exists():
        raise LostError(f"EXECUTED, exit status {ran.code}: {line(ran)}")
    clean(ran)
    if ran.code == 0 and attack.read:
        raise LostError("accepted")
    if "leaked" in ran.out + ran.err:
        raise LostError("the environment is shown")
    return Seen(line=line(ran))


def _name(node: dict[str, Any]) -> str:
    return f"{node['_target_']}{' by position' if '_args_' in node else ''}"


def _changed(content: dict[str, Any], key: str, node: dict[str, Any]) -> dict[str, Any]:
    """A copy with the node at a dotted key."""
    first, _, rest = key.partition(".")
    inner = content.get(first)
    if rest:
        return content | {first: _changed(inner if isinstance(inner, dict) else {}, rest, node)}
    return content | {first: node}
