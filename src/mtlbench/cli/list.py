"""``mtlbench list``: what there is to choose from, and the runs so far."""

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mtlbench.cli.choices import GROUPS, choices, comments, options
from mtlbench.experiment.errors import ConfigError

if TYPE_CHECKING:
    from mtlbench.schema import Schema

USAGE = "usage: mtlbench list [models|datasets|optimizers|...|tables|figures|runs] [run.folder=runs]\n"


def run(arguments: list[str]) -> int:
    words = [word for word in arguments if "=" not in word and not word.startswith("-")]
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    if words == ["runs"]:
        return _runs(Path(options(arguments, {"run.folder": "runs"})["run.folder"]))
    if "runs" in words:
        raise ConfigError("list runs stands alone: mtlbench list runs [run.folder=runs]")
    if words in (["tables"], ["figures"]):
        print(f"{words[0]}: what `mtlbench reproduce` measures")
        for name, text in choices(words[0].removesuffix("s")).items():
            print(f"  {name:<22}{text}")
        return 0
    groups = [_group(word) for word in words]
    for group in groups or GROUPS:
        print(f"{group}: {GROUPS[group]}")
        if group in groups and group == "model":  # counting waits for torch, so only where it was asked for
            _models()
        else:
            for name, text in choices(group).items():
                print(f"  {name:<22}{text}")
        print()
    return 0


def parameter_counts(schema: "Schema") -> dict[str, int]:
    """Parameters outside embedding tables of every model at the default profile."""
    from mtlbench.cli.compose import compose_group
    from mtlbench.experiment.build import build
    from mtlbench.train.optimizers import parameter_groups

    counts: dict[str, int] = {}
    for name, node in compose_group("model").items():
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


def _models() -> None:
    schema = common_schema()
    print(
        "parameters outside embedding tables, for the "
        f"{len(schema.fields)} fields of dataset=aliccp dataset.fields=din, {len(schema.tasks)} tasks and "
        f"{schema.source} scenarios, at profile=default\n"
    )
    for name, count in parameter_counts(schema).items():
        paper, what = comments("model", name)
        print(f"  {name:<22}{count:>9,}  {what}\n{'':35}{paper}")


def _group(word: str) -> str:
    singular = word.removesuffix("s")
    for name in (word, singular):
        if name in GROUPS:
            return name
    close = difflib.get_close_matches(word, [*(f"{group}s" for group in GROUPS), "tables", "figures", "runs"], n=1)
    raise ConfigError(
        f"nothing is called '{word}'"
        + (f"; did you mean {close[0]}?" if close else ".")
        + f" There are: {', '.join(f'{group}s' for group in GROUPS)}, tables, figures, runs."
    )


def _runs(folder: Path) -> int:
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
    from mtlbench.tracking.folder import CONFIG, RESULT, read_facts, read_result, read_status
    from mtlbench.tracking.parameters import read_config

    facts, state = read_facts(folder)[0], read_status(folder).state
    read_config(folder / CONFIG)
    metrics = read_result(folder)["metrics"] if (folder / RESULT).exists() else {}
    aucs = ", ".join(f"{name.split('/')[1]} {value:.4f}" for name, value in metrics.items() if name.endswith("/auc"))
    return [folder.name, facts.model, facts.dataset, facts.origin, str(facts.seed), state, aucs]


def _begun(folder: Path) -> float:
    """When a run began, by the time of its ``run.json``; of its folder where that is lost."""
    path = folder / "run.json"
    return (path if path.exists() else folder).stat().st_mtime
