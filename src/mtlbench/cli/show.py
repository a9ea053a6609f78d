"""``mtlbench show``: describes one model, data set or run in detail."""

import inspect
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtlbench.cli import arguments
from mtlbench.cli.choices import GROUPS, choices
from mtlbench.cli.complete import complete_overrides, complete_run
from mtlbench.cli.search_path import conf_file
from mtlbench.experiment.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@click.command(cls=arguments.Command)
@click.argument(
    "what",
    metavar="RUN|GROUP=CHOICE",
    shell_complete=lambda ctx, param, text: [
        *complete_run(ctx, param, text),
        *complete_overrides("train", ctx, param, text),
    ],
)
@click.option("--json", "as_json", is_flag=True, help="Run: print as JSON, with its whole configuration and result.")
@arguments.overrides()
def command(what: str, as_json: bool, overrides: list[str]) -> None:
    """Show one model, data set or run in detail.

    RUN is a run's folder, or a prefix of its name.

    \b
    Examples:
      mtlbench show model=dephn       its configuration, paper and parameters
      mtlbench show dataset=census    its page, and its prepared store
      mtlbench show seed=1            the whole configuration
      mtlbench show 3f2a run.folder=/data/runs
    """
    if "=" in what and not Path(what).is_dir():
        if as_json:
            raise ConfigError("--json applies to runs only: mtlbench show RUN --json")
        _show_configuration([what, *overrides])
    else:
        _show_run(what, Path(arguments.read_keys(overrides, arguments.RUNS)["run.folder"]), as_json)


def _show_configuration(overrides: list[str]) -> None:
    from omegaconf import OmegaConf

    from mtlbench.cli.compose import compose

    group, _, choice = overrides[0].partition("=")
    config = compose(overrides)
    if group not in GROUPS:
        print(OmegaConf.to_yaml(config, resolve=True), end="")
        return
    file = conf_file(f"{group}/{choice}.yaml")
    assert file is not None, f"{group}={choice} was composed"
    print(f"{group}={choice}: {choices(group).get(choice, '')}\n{file.parent}\n")
    print(f"# {group}/{file.name}, as written\n{file.read_text()}\n# the same, composed")
    node = config.run.tracker if group == "tracker" else config[group]
    print(OmegaConf.to_yaml(OmegaConf.create({group: OmegaConf.to_container(node, resolve=True)})))
    if group == "dataset":
        print(_dataset_text(config, overrides))
    elif "_target_" in node and node._target_:
        from mtlbench.experiment.targets import import_object

        for part in (node, node.get("network")):  # the class of a single-task model is that of its network
            if part is not None:
                print(inspect.getdoc(import_object(part._target_, group)) or "", end="\n\n")


def _dataset_text(config: "DictConfig", overrides: list[str]) -> str:
    from mtlbench.data.store import open_store
    from mtlbench.experiment.data import resolve_data
    from mtlbench.experiment.targets import import_object
    from mtlbench.ingest.protocol import RawError
    from mtlbench.report.store import store_text

    reader = import_object(config.dataset.reader._target_, "dataset.reader")
    about = f"{inspect.getdoc(inspect.getmodule(reader))}\n\n{inspect.getdoc(reader)}"
    if keys := getattr(reader, "schema_keys", None):
        about += f"\n\n{keys()}"
    if "schema" in config.dataset and config.dataset.schema is None:
        return f"{about}\n\nnot described yet: dataset.schema=<file.yaml>"
    try:
        data = resolve_data(config.dataset, Path(config.run.data))
    except RawError as error:
        return f"{about}\n\n{error}"
    if not data.store.exists():
        about += f"\n\ntasks: {', '.join(data.tasks)}"
        return f"{about}\n\nnot prepared yet: {shlex.join(['mtlbench', 'prepare', *overrides])}"
    return f"{about}\n\n{store_text(open_store(data.store))}"


def _show_run(name: str, runs: Path, as_json: bool) -> None:
    from mtlbench.cli.render import convergence_lines, facts_text, head_text, kept_text, metrics_text
    from mtlbench.metrics.declared import declared_metrics
    from mtlbench.tracking.folder import CONFIG, RESULT, check_journal, read_facts, read_result, read_status
    from mtlbench.tracking.journal import Journal
    from mtlbench.tracking.parameters import read_config

    folder = arguments.find_run(name, runs)
    if as_json:
        from mtlbench.cli.runs import print_json, read_record

        print_json(read_record(folder))
        return
    (facts, attempt), state = read_facts(folder), read_status(folder).state
    declared_metrics(read_config(folder / CONFIG))
    Journal(folder).read()
    result = None
    if (folder / RESULT).exists():
        result = read_result(folder)
        check_journal(folder)
    print(f"{head_text(facts.model, facts.dataset, facts.seed, 'test', facts.origin)}: {state}\n")
    print(facts_text(folder, facts, attempt, result) + "\n")
    if result is not None:
        print(metrics_text(result.test))
        print("\n".join(["", f"  {kept_text(result.best_step)}", *convergence_lines(result)]))
        print("".join(f"  ! {text}\n" for text in result.warnings), end="")
    else:
        print("no result yet: the run was not finished")
