"""``mtlbench show``: one model, data set or run in detail."""

import inspect
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mtlbench.cli.choices import GROUPS, choices, conf_folder, options
from mtlbench.cli.compose import compose
from mtlbench.cli.render import head_text, kept_text, metrics_text, table
from mtlbench.data.store import SPLITS, Store
from mtlbench.ingest.manifest import accounts
from mtlbench.ingest.unknown import warnings_about
from mtlbench.tracking.parameters import flatten

USAGE = """usage: mtlbench show <group>=<choice> [<key>=<value> ...]     e.g. show model=dephn, show dataset=aliccp
       mtlbench show <run> [run.folder=runs]
"""


def run(arguments: list[str]) -> int:
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0 if arguments else 2
    group = arguments[0].partition("=")[0]
    if "=" not in arguments[0]:
        return _show_run(arguments)
    config = compose(arguments)
    if group not in GROUPS:
        print(OmegaConf.to_yaml(config, resolve=True), end="")
        return 0
    print(f"{arguments[0]}: {choices(group).get(arguments[0].partition('=')[2], '')}")
    print(f"{conf_folder() / group}\n")
    print(_written(arguments[0]))
    node = config.run.tracker if group == "tracker" else config[group]
    print(OmegaConf.to_yaml(OmegaConf.create({group: OmegaConf.to_container(node, resolve=True)})))
    if group == "dataset":
        print(_dataset_text(config))
    elif "_target_" in node and node._target_:
        from mtlbench.experiment.targets import imported

        for part in (node, node.get("network")):  # a single-task model's own class is the network inside
            if part is not None:
                print(inspect.getdoc(imported(part._target_, group)) or "", end="\n\n")
    return 0


def _written(word: str) -> str:
    """The file of a choice as it stands, whose comments say what its keys mean."""
    group, _, choice = word.partition("=")
    text = (conf_folder() / group / f"{choice}.yaml").read_text()
    return f"# {group}/{choice}.yaml, as written\n{text}\n# the same, filled in"


def store_text(store: Store) -> str:
    """What a store holds: splits with positives and overlaps, fields with cardinalities, what was left out."""
    manifest = store.manifest
    simulated = "  SIMULATED DATA" if store.origin == "simulated" else ""
    tasks = [task.name for task in store.schema.tasks]
    splits = [[name, *_split_cells(manifest, name, tasks)] for name in SPLITS]
    fields = [
        [
            field.name,
            field.kind,
            f"{field.cardinality:,}" if field.cardinality else "",
            str(field.width),
            field.table or "rows",
            field.role or "",
            *_unknown_cells(manifest["fields"][field.name]),
        ]
        for field in store.schema.fields
    ]
    return "\n".join(
        [
            f"{store.folder}{simulated}",
            "",
            table(["split", "rows", *(f"{task} positives" for task in tasks)], splits),
            "",
            *_together_lines(manifest),
            *_overlap_lines(manifest),
            *_relabel_lines(manifest),
            table(
                ["field", "kind", "ids", "width", "table", "role", *(f"unknown in {name}" for name in SPLITS)], fields
            ),
            "",
            *(f"  WARNING: {text}" for text in warnings_about(manifest)),
            f"  {store.schema.embedding_rows:,} rows in the embedding table",
            "",
            *(f"  {line}" for line in accounts(manifest)),
        ]
    )


def _unknown_cells(facts: dict[str, Any]) -> list[str]:
    """Share of unknown values by split; blank for a number, or where an earlier version did not note it."""
    shares = facts.get("unknown", {})
    return [f"{shares[name]:.1%}" if name in shares else "" for name in SPLITS]


def _relabel_lines(manifest: dict[str, Any]) -> list[str]:
    """How the labels were made, where they are not those of the raw files."""
    facts = [list(fact) for fact in flatten(manifest.get("relabel", {})).items()]
    return [table(["labels were made here", ""], facts), ""] if facts else []


def _together_lines(manifest: dict[str, Any]) -> list[str]:
    """Rows that are positive for two tasks, and the correlation of the two labels, by split."""
    rows = [
        [
            name,
            pair,
            f"{both:,}",
            _correlation(split["rows"], [split["positives"][task] for task in pair.split(" and ")], both),
        ]
        for name, split in manifest["splits"].items()
        for pair, both in split["together"].items()
    ]
    return [table(["split", "positive for both", "rows", "correlation"], rows), ""] if rows else []


def _correlation(rows: int, positives: list[int], both: int) -> str:
    """Pearson's, of two labels of 0 and 1, from counts."""
    one, other = positives
    spread = (one * (rows - one) * other * (rows - other)) ** 0.5
    return f"{(rows * both - one * other) / spread:.4f}" if spread else "undefined"


def _overlap_lines(manifest: dict[str, Any]) -> list[str]:
    """Distinct groups and times of each split, and those that two splits share."""
    rows = [
        [
            {"group": "groups", "time": "times"}[name],
            *(f"{count:,}" for count in facts["distinct"].values()),
            *(f"{count:,}" for count in facts["shared"].values()),
        ]
        for name, facts in manifest["overlaps"].items()
    ]
    if not rows:
        return []
    facts = next(iter(manifest["overlaps"].values()))
    return [table(["distinct", *facts["distinct"], *(f"both {pair}" for pair in facts["shared"])], rows), ""]


def _split_cells(manifest: dict[str, Any], name: str, tasks: list[str]) -> list[str]:
    split = manifest["splits"][name]
    return [f"{split['rows']:,}", *(f"{split['positives'][task]:,}" for task in tasks)]


def _dataset_text(config: DictConfig) -> str:
    from mtlbench.data.store import open_store
    from mtlbench.experiment.data import locate
    from mtlbench.ingest.protocol import RawError

    try:
        data = locate(config.dataset, Path(config.run.data))
    except RawError as error:
        return str(error)
    about = f"{inspect.getdoc(inspect.getmodule(type(data.reader)))}\n\n{inspect.getdoc(type(data.reader))}"
    if not data.store.exists():
        return f"{about}\n\nnot prepared yet: mtlbench prepare dataset={config.dataset.name}"
    return f"{about}\n\n{store_text(open_store(data.store))}"


def _show_run(arguments: list[str]) -> int:
    from mtlbench.cli.evaluate import find_run
    from mtlbench.tracking.folder import CONFIG, FACTS, RESULT, check_journal, read_facts, read_result, read_status
    from mtlbench.tracking.journal import Journal
    from mtlbench.tracking.parameters import read_config

    folder = find_run(arguments[0], Path(options(arguments[1:], {"run.folder": "runs"})["run.folder"]))
    facts, state = read_facts(folder)[0], read_status(folder).state
    read_config(folder / CONFIG)
    Journal(folder).read()
    result = None
    if (folder / RESULT).exists():
        result = read_result(folder)
        check_journal(folder)
    print(f"{head_text(facts.model, facts.dataset, facts.seed, 'test', facts.origin)}: {state}\n")
    print((folder / FACTS).read_text())
    if result is not None:
        print(metrics_text(result["metrics"], result["undefined"], "test"))
        print(f"\n  {kept_text(result['best_step'])}")
        print("".join(f"  ! {text}\n" for text in result.get("warnings", [])), end="")
    else:
        print("no result yet: the run was not finished")
    return 0
