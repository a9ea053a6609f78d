"""``mtlbench list``: lists the choices of every group, or the runs of a folder."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtlbench.cli import arguments
from mtlbench.cli.choices import GROUPS, choices, comments
from mtlbench.cli.complete import complete_overrides, starting
from mtlbench.experiment.errors import ConfigError

if TYPE_CHECKING:
    from mtlbench.cli.runs import Record
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
@click.option("--sort", metavar="KEY", help="Runs: sort by a metric, best first, or by any key.")
@click.option("--json", "as_json", is_flag=True, help="Runs: print as JSON, with their whole configuration.")
@click.option("--csv", "as_csv", is_flag=True, help="Runs: print as CSV, with the settings that differ.")
def command(what: tuple[str, ...], sort: str | None, as_json: bool, as_csv: bool) -> int:
    """List models, data sets and other choices, or runs.

    WHAT is one or more of models, datasets, optimizers, schedulers, virtual_gradients, losses, balancings, metrics,
    trainers, profiles, trackers, tables and figures; or runs. Without it, the choices of every group are listed.

    After runs, KEY=VALUE filters by model, data set, state or any configuration key; values separated by commas are
    alternatives. run.folder=FOLDER is the folder of the runs.

    \b
    Examples:
      mtlbench list models
      mtlbench list runs run.folder=/data/runs
      mtlbench list runs model=mmoe,ple dataset=census --sort income/auc
    """
    names = [word for word in what if "=" not in word]
    keys = [word for word in what if "=" in word]
    if names == ["runs"]:
        folder = [word for word in keys if word.startswith("run.folder=")]
        runs = Path(arguments.read_keys(folder, arguments.RUNS)["run.folder"])
        return _list_runs(runs, [word for word in keys if word not in folder], sort, as_json, as_csv)
    if "runs" in names:
        raise ConfigError("list runs takes no other group: mtlbench list runs [KEY=VALUE]...")
    if sort or as_json or as_csv:
        raise ConfigError("--sort, --json and --csv apply to `mtlbench list runs` only")
    arguments.read_keys(keys, {})
    for group in [_group(word) for word in names] or GROUPS:
        print(f"{group}: {LISTED[group]}")
        if names and group == "model":  # counting imports torch, so only on request
            _list_models()
        else:
            print("".join(f"  {name:<22}{text}\n" for name, text in choices(group).items()), end="")
        print()
    return 0


def parameter_counts(schema: "Schema") -> dict[str, int]:
    """Parameters outside embedding tables at the default profile, for every model whose code may be imported."""
    from mtlbench.allowed import is_allowed
    from mtlbench.cli.compose import compose_group
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
    """A schema that every model accepts: Ali-CCP's single ids and histories, two tasks and three scenarios.

    Embedding tables are not counted, so a cardinality of one suffices.
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
        print("\n  run.allow: your own code; run.allow=[PACKAGE] lets this command import it and count")


def _group(word: str) -> str:
    """The group that a word names, in the singular or plural."""
    if word in LISTED or word in PLURALS:
        return PLURALS.get(word, word)
    allowed = [*PLURALS, "runs"]
    raise ConfigError(f"no group '{word}'{arguments.nearest(word, allowed)}. Allowed: {', '.join(allowed)}.")


def _list_runs(folder: Path, filters: list[str], sort: str | None, as_json: bool, as_csv: bool) -> int:
    from mtlbench.cli.runs import find_records, print_csv, print_json

    records, damaged = find_records(folder, filters, sort)
    if as_json:
        print_json(records)
    elif as_csv:
        print_csv(records)
    elif records or damaged:
        head = ["run", "model", "data set", "origin", "seed", "state", "test AUC"]
        rows = [*map(_run_cells, records), *([run.name, "", "", "", "", "damaged", ""] for run in damaged)]
        for title, column in _distinguishing(records).items():
            if any(column):
                head.append(title)
                rows = [[*cells, cell] for cells, cell in zip(rows, [*column, *("" for _ in damaged)], strict=True)]
        print(_fitting(head, rows, plain=head.index("test AUC")))
    else:
        print(f"no runs in {folder}" + (" match the filters" if filters else "; `mtlbench train` starts one"))
    for error in damaged.values():
        print(f"damaged: {error}", file=sys.stderr)
    return 1 if damaged else 0


def _fitting(head: list[str], rows: list[list[str]], plain: int) -> str:
    """A table; on a narrow terminal, cells after the first ``plain`` columns are printed below their row."""
    from mtlbench.report.terminal import table, visible

    text, width = table(head, rows), shutil.get_terminal_size().columns
    if max(map(len, text.splitlines())) <= width:
        return text
    titles, rule, *lines = table(head[:plain], [row[:plain] for row in rows]).splitlines()
    shown = [titles, rule]
    for line, row in zip(lines, rows, strict=True):
        shown.append(line)
        for title, cell in zip(head[plain:], row[plain:], strict=True):
            if cell:
                text = f"{title}: {visible(cell)}"
                shown += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 8)
    return "\n".join(shown)


def _distinguishing(records: "Sequence[Record]") -> dict[str, list[str]]:
    """Each run's settings that differ between runs of its model and data set, its name and its tags."""
    from mtlbench.tracking.parameters import differences

    alike: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        alike.setdefault((record["model"], record["dataset"]), []).append(record)
    settings: dict[str, str] = {}
    for group in alike.values():
        for record, differing in zip(group, differences([run["config"] for run in group]), strict=True):
            settings[record["run"]] = " ".join(f"{key}={value}" for key, value in differing.items())
    tags = [(f"{name}={value}".removesuffix("=true") for name, value in run["tags"].items()) for run in records]
    return {
        "settings": [settings[record["run"]] for record in records],
        "name": [record["name"] or "" for record in records],
        "tags": [", ".join(texts) for texts in tags],
    }


def _run_cells(record: "Record") -> list[str]:
    """Identity, model, data set, origin, seed, state and test AUC of a run."""
    areas = [(*name.rsplit("/", 1), value) for name, value in record["metrics"].items()]
    shown = ", ".join(
        f"{task} {value:.4f}" + " (XAUC)" * (metric == "xauc")
        for task, metric, value in areas
        if metric in ("auc", "xauc")
    )
    return [*(str(record[name]) for name in ("run", "model", "dataset", "origin", "seed", "state")), shown]
