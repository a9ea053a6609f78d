"""``mtlbench list``: what there is to choose from, and the runs so far."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtlbench.cli import arguments
from mtlbench.cli.choices import GROUPS, choices, comments
from mtlbench.cli.complete import complete_overrides, starting
from mtlbench.experiment.errors import ConfigError

if TYPE_CHECKING:
    from mtlbench.schema import Schema

LISTED = GROUPS | {"table": "what `mtlbench reproduce` measures", "figure": "what `mtlbench reproduce` measures"}
PLURALS = {group + ("es" if group.endswith("s") else "s"): group for group in LISTED}


@click.command(cls=arguments.Command)
@click.argument(
    "what",
    nargs=-1,
    metavar="[WHAT]...",
    shell_complete=lambda ctx, param, text: [
        *starting(text, [*PLURALS, "runs"]),
        *complete_overrides(arguments.RUNS, ctx, param, text),
    ],
)
def command(what: tuple[str, ...]) -> int:
    """List models, data sets and other choices; or the runs.

    WHAT is one or more of models, datasets, optimizers, virtual_gradients, losses, balancings, trainers, profiles,
    trackers, tables and figures; or runs. Without it, every choice of a configuration is listed.

    \b
    Examples:
      mtlbench list models
      mtlbench list runs run.folder=/data/runs
    """
    names = [word for word in what if "=" not in word]
    keys = [word for word in what if "=" in word]
    if names == ["runs"]:
        return _list_runs(Path(arguments.read_keys(keys, arguments.RUNS)["run.folder"]))
    if "runs" in names:
        raise ConfigError("list runs stands alone: mtlbench list runs [run.folder=runs]")
    arguments.read_keys(keys, {})
    for group in [_group(word) for word in names] or GROUPS:
        print(f"{group}: {LISTED[group]}")
        if names and group == "model":  # counting waits for torch, so only where it was asked for
            _list_models()
        else:
            print("".join(f"  {name:<22}{text}\n" for name, text in choices(group).items()), end="")
        print()
    return 0


def parameter_counts(schema: "Schema") -> dict[str, int]:
    """Parameters outside embedding tables of every model at the default profile, but for code that is not allowed."""
    from mtlbench.cli.compose import compose_group
    from mtlbench.experiment.allowed import is_allowed
    from mtlbench.experiment.build import build
    from mtlbench.train.optimizers import parameter_groups

    counts: dict[str, int] = {}
    for name, node in compose_group("model").items():
        if not is_allowed(node._target_):
            continue
        groups = parameter_groups(build(node, "model", schema=schema))
        counts[str(name)] = sum(parameter.numel() for kind in ("dense", "gate") for parameter in groups[kind])
    return counts


def common_schema() -> "Schema":
    """Inputs that every model can read: Ali-CCP's single ids and histories, two tasks and three scenarios.

    Embedding tables are not counted, so one id per field will do.
    """
    from dataclasses import replace

    from mtlbench.datasets.aliccp.dataset import AliCCP
    from mtlbench.schema import Schema, in_order

    reader = AliCCP(field_set="din")
    fields = tuple(replace(field, cardinality=1) for field in in_order(reader.fields))
    return Schema(fields=fields, tasks=reader.tasks, group=True, source=3)


def _list_models() -> None:
    schema = common_schema()
    print(
        "parameters outside embedding tables, for the "
        f"{len(schema.fields)} fields of dataset=aliccp dataset.fields=din, {len(schema.tasks)} tasks and "
        f"{schema.source} scenarios, at profile=default\n"
    )
    counts = parameter_counts(schema)
    for name in choices("model"):
        paper, what = comments("model", name)
        count = f"{counts[name]:,}" if name in counts else "run.allow"
        print(f"  {name:<22}{count:>9}  {what}\n{'':35}{paper}")
    if len(counts) < len(choices("model")):
        print("\n  run.allow: code of yours, which run.allow=[PACKAGE] lets this command import and count")


def _group(word: str) -> str:
    """The group that a word names, in the singular or plural."""
    if word in LISTED or word in PLURALS:
        return PLURALS.get(word, word)
    there = [*PLURALS, "runs"]
    raise ConfigError(f"nothing is called '{word}'{arguments.nearest(word, there)}. There are: {', '.join(there)}.")


def _list_runs(folder: Path) -> int:
    from mtlbench.cli.render import table
    from mtlbench.tracking.files import DamagedFileError
    from mtlbench.tracking.folder import run_folders

    rows: list[list[str]] = []
    damaged: list[DamagedFileError] = []
    for run in sorted(run_folders(folder), key=_begun):
        try:
            rows.append(_run_cells(run))
        except DamagedFileError as error:
            rows.append([run.name, "", "", "", "", "damaged", ""])
            damaged.append(error)
    print(
        table(["run", "model", "data set", "origin", "seed", "state", "test AUC"], rows)
        if rows
        else f"no runs in {folder}; `mtlbench train` makes some"
    )
    for error in damaged:
        print(f"damaged: {error}", file=sys.stderr)
    return 1 if damaged else 0


def _run_cells(folder: Path) -> list[str]:
    """Identity, model, data set, origin, seed, state and test AUC of a run.

    Raises:
        DamagedFileError: one of its small files is damaged.
    """
    from mtlbench.result import Metrics
    from mtlbench.tracking.folder import CONFIG, RESULT, read_facts, read_result, read_status
    from mtlbench.tracking.parameters import read_config

    facts, state = read_facts(folder)[0], read_status(folder).state
    read_config(folder / CONFIG)
    test = read_result(folder).test if (folder / RESULT).exists() else Metrics()
    aucs = {task: area for task in test.tasks if (area := test.value("auc", task)) is not None}
    shown = ", ".join(f"{task} {area:.4f}" for task, area in aucs.items())
    return [folder.name, facts.model, facts.dataset, facts.origin, str(facts.seed), state, shown]


def _begun(folder: Path) -> float:
    """When a run began, by the time of its ``run.json``; of its folder where that is lost."""
    path = folder / "run.json"
    return (path if path.exists() else folder).stat().st_mtime
