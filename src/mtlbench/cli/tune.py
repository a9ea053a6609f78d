"""``mtlbench tune``: searches hyperparameters on validation data, and writes the best settings to a file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtlbench.cli import arguments
from mtlbench.cli.search_path import conf_file, tuned_folder
from mtlbench.experiment.errors import ConfigError

if TYPE_CHECKING:
    from mtlbench.tuning.search import Search, Untuned
    from mtlbench.tuning.summary import Summary
    from mtlbench.tuning.trials import Method, Trial

SEVERAL = ("model", "dataset")
"""Keys that may have several values; each combination is a separate search."""


@click.command(cls=arguments.Command)
@click.option("--trials", type=click.IntRange(1), default=24, show_default=True, help="Number of trials per search.")
@click.option(
    "--sampler", type=click.Choice(["tpe", "random"]), default="tpe", show_default=True, help="Sampler of settings."
)
@click.option(
    "--pruner",
    type=click.Choice(["median", "halving", "none"]),
    default="median",
    show_default=True,
    help="Rule that stops a trial early if its scores are poor compared with earlier trials.",
)
@click.option("--name", help="Write to tuned/<dataset>/NAME/, to keep the settings of several splits of a data set.")
@arguments.path_option("--space", help="Search space to use instead of conf/space.")
@arguments.overrides()
@arguments.verbosity
def command(trials: int, sampler: str, pruner: str, name: str | None, space: Path | None, overrides: list[str]) -> int:
    """Search hyperparameters of models on validation data.

    The untuned settings are trained first, and kept where no trial is better. Every trial is an ordinary run, trained,
    tracked and stored as by `mtlbench train`; seed= is the seed of the runs and of the search. Keys set on the command
    line (budget, data, or any other) are the same in all trials and are not searched. Test scores are never used. You
    can interrupt and restart the command at any point: it resumes, and reaches the same best trial. A larger --trials
    continues an earlier search. Trials run one after another; other models may be searched by another command at the
    same time.

    The best settings are written to tuned/<dataset>/<model>.yaml, with a summary beside it, in the first folder of
    --config-dir or else in the current folder. `mtlbench train tuned=true` uses those of the same data, split included.
    A file of other data is not replaced: --name 7_may writes to tuned/<dataset>/7_may/<model>.yaml.

    The search space of a model is conf/space/default.yaml plus conf/space/<model>.yaml. Optuna's studies are in
    optuna.db beside the runs. Needs the extra 'tune'.

    \b
    Examples:
      mtlbench tune model=mmoe,ple dataset=kuairand trials=24
      mtlbench train model=mmoe dataset=kuairand tuned=true
    """
    _require_optuna()
    from mtlbench.cli.compose import compose
    from mtlbench.cli.messages import text_of
    from mtlbench.experiment.tuned import check_replaceable, tuned_file, write_tuned
    from mtlbench.tuning.search import NothingFoundError, search
    from mtlbench.tuning.summary import summarize, terminal_table, write_summary

    if name is not None and (Path(name).name != name or name.startswith(".")):
        raise ConfigError(f"--name {name}: expected the name of a folder, without slashes and without a leading dot")
    folder = tuned_folder()
    plans = {
        tuned_file(folder, plan.base.dataset, plan.model, name): plan
        for plan in _plans(overrides, sampler, pruner, space)
    }
    for path, plan in plans.items():
        check_replaceable(path, plan.base.data.fingerprint)
    summaries: list[Summary] = []
    failures: list[str] = []
    for path, plan in plans.items():
        print(f"{plan.name}: {trials} trials of {', '.join(plan.space)}", file=sys.stderr)
        record, untuned = search(plan, trials, compose, _show)
        try:
            summaries.append(summarize(plan, record, untuned))
        except NothingFoundError as error:
            failures.append(text_of(error))
            continue
        write_tuned(path, summaries[-1].tuned)
        write_summary(summaries[-1], path)
        print(f"{path} and its summary are written", file=sys.stderr)
    if summaries:
        print(terminal_table(summaries))
    for text in failures:
        print(f"mtlbench: {text}", file=sys.stderr)
    return 1 if failures else 0


def _require_optuna() -> None:
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise ConfigError("mtlbench tune needs the extra 'tune': pip install 'mtlbench[tune]'")


def _plans(overrides: list[str], sampler: str, pruner: str, space: Path | None) -> "list[Search]":
    """A search for each model and data set, all checked before the first begins."""
    from mtlbench.cli.choices import GROUPS
    from mtlbench.cli.compose import compose
    from mtlbench.cli.overrides import parse_override
    from mtlbench.cli.sweep import combinations
    from mtlbench.tuning.search import plan_search
    from mtlbench.tuning.space import model_space

    for word in overrides:
        override = parse_override(word)
        if override.is_sweep_override() and override.key_or_group not in SEVERAL:
            raise ConfigError(
                f"'{word}': only {' and '.join(SEVERAL)} may have several values here. To search values of "
                f"{override.key_or_group}, list them as {{choice: [...]}} in a search space, --space FILE"
            )
        if override.key_or_group == "tuned":
            raise ConfigError(f"'{word}': a search starts from the settings of the command line")
    plans: dict[str, Search] = {}
    for words in combinations(overrides):
        config = compose(words)
        model = config.run.choices.model
        default = None if space else conf_file("space/default.yaml")
        model_space_file = space or conf_file(f"space/{model}.yaml")
        # The choice of a group (optimizer=lazy_adam) is a starting point, whose keys are searched; a key is fixed.
        fixed = [word for word in words if parse_override(word).key_or_group not in GROUPS]
        searched = model_space(config, default, model_space_file, fixed)
        plan = plan_search(words, config, searched, _method(sampler, pruner, config.seed))
        plans.setdefault(plan.name, plan)
    return list(plans.values())


def _method(sampler: str, pruner: str, seed: int) -> "Method":
    from pydantic import TypeAdapter

    from mtlbench.tuning.trials import Method

    return TypeAdapter(Method).validate_python({"sampler": sampler, "pruner": pruner, "seed": seed})


def _show(ended: "Trial | Untuned") -> None:
    print(_text(ended), file=sys.stderr)


def _text(ended: "Trial | Untuned") -> str:
    from mtlbench.tuning.trials import Trial

    name, state = (f"trial {ended.number}", ended.state) if isinstance(ended, Trial) else ("untuned", "complete")
    if ended.score is None:
        return f"{name} failed: {ended.reason}"
    return f"{name} {state}: {ended.score:.4f} after {ended.steps:,} steps, run {ended.run}"
