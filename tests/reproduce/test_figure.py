"""The figures in ``conf/figure``: all there, made of runs that exist; files that contradict themselves are refused."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mtlbench.cli import main
from mtlbench.cli.compose import compose
from mtlbench.cli.search_path import conf_folder
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.run import check_config
from mtlbench.reproduce.figure import Figure, figure_names, read_figure
from mtlbench.reproduce.plan import expand
from mtlbench.reproduce.table_file import load_table

FOLDER = conf_folder() / "figure"
NAMES = figure_names(FOLDER)
RUNS_OF_A_SEED = {
    "dephn_fig3": 1,
    "dephn_fig4": 0,
    "dephn_fig5": 2 * (2 + 2 * 8 * 2),  # data sets; without, and models by functions by measures
    "dephn_fig6": 4,
    "dephn_fig7": 2,
    "mmoe_fig4": 9,
    "mpa_fig9": 8,
    "mpa_fig10": 2,
    "mpa_fig11": 5,
    "mpa_fig12": 10,
    "mssm_fig3": 1,
}


@pytest.fixture(scope="module", params=NAMES)
def figure(request: pytest.FixtureRequest) -> Figure:
    return read_figure(FOLDER, request.param)


def test_how_many_there_are() -> None:
    assert list(RUNS_OF_A_SEED) == NAMES
    assert len({(FOLDER / f"{name}.yaml").read_text().splitlines()[0] for name in NAMES}) == len(NAMES)


def test_a_figure_says_where_it_stands_and_of_how_many_runs_it_is(figure: Figure) -> None:
    assert figure.place.startswith("Fig. ")
    assert figure.title
    assert figure.notes
    assert len(figure.rows) * len(figure.datasets) == RUNS_OF_A_SEED[figure.name]
    assert bool(figure.seeds_note) == bool(figure.rows)


def checked(figure: Figure) -> Iterator[None]:
    """Compose rows as they would be run, the last one first, and hold them to what can be checked without data."""
    for spec in reversed(figure.rows):
        for words in figure.datasets.values():
            check_config(compose([f"profile={figure.profile}", *words, *spec.overrides]))
            yield


def test_a_row_can_be_run(figure: Figure) -> None:
    next(checked(figure), None)


@pytest.mark.long
def test_every_row_can_be_run(figure: Figure) -> None:
    assert sum(1 for _ in checked(figure)) == RUNS_OF_A_SEED[figure.name]


def test_a_figure_of_a_table_has_its_runs() -> None:
    figure, table = read_figure(FOLDER, "mpa_fig12"), load_table(conf_folder() / "table", "mpa_table4")
    assert (figure.rows, figure.datasets, figure.seeds) == (table.rows, table.datasets, table.seeds)
    assert figure.profile == table.profile


def test_runs_are_shared_with_tables_where_overrides_mean_the_same() -> None:
    """What a figure writes out is what the model has anyway, so nothing is trained twice."""
    figure, table = read_figure(FOLDER, "dephn_fig5"), load_table(conf_folder() / "table", "dephn_section4c")
    alone = [
        replace(study, rows=tuple(row for row in study.rows if row.label == label))
        for study, label in ((figure, "DEPHN/add_sqrt/pearson"), (table, "DEPHN"))
    ]
    overrides = ["run.data=/nowhere", "dataset.source=simulated"]
    plans = expand(alone, compose, overrides, scale=None)
    of_figure, of_table = [{run.identity for run in plan} for plan in plans]
    assert of_figure == of_table
    assert len(of_figure) == 10


SWEEP = """
title: A sweep
paper: {name: P, title: A paper, venue: V}
place: Fig. 1
draws: mtlbench.reproduce.figures.virtual_gradient.gains
seeds: 2
datasets: {Census: [dataset=census]}
rows:
  - {label: alone, overrides: [seed=1]}
sweep:
  - {a: [model=dnn], b: [model=mmoe, optimizer=sgd]}
  - {x: [trainer.epochs=1], y: []}
notes: []
"""


def test_a_sweep_is_every_combination_of_its_axes(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(SWEEP)
    figure = read_figure(tmp_path, "one")
    assert {row.label: row.overrides for row in figure.rows} == {
        "alone": ["seed=1"],
        "a/x": ["model=dnn", "trainer.epochs=1"],
        "a/y": ["model=dnn"],
        "b/x": ["model=mmoe", "optimizer=sgd", "trainer.epochs=1"],
        "b/y": ["model=mmoe", "optimizer=sgd"],
    }
    assert figure.sweep == (("a", "b"), ("x", "y"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("title:", "titel:"), "titel: no such key; allowed: name, title, venue"),
        (lambda text: text.replace("seeds: 2", "seeds: two"), "seeds: Input should be a valid integer"),
        (lambda text: text.replace("notes:", "columns: []\nnotes:"), "columns: no such key; allowed: title, "),
        (lambda text: text.replace(".gains", ".losses"), r"draws.*virtual_gradient has no .losses."),
        (lambda text: text.replace("label: alone", "label: a/x"), "row named more than once: a/x"),
        (lambda text: text.replace("seeds: 2", "seeds: 0"), "5 rows, 1 data sets, 0 seeds; allowed: at least one"),
        (lambda text: text.replace("notes:", "table: mpa_table4\nnotes:"), "no table 'mpa_table4'"),
    ],
)
def test_a_figure_that_contradicts_itself_is_refused(
    tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    assert change(SWEEP) != SWEEP
    (tmp_path / "one.yaml").write_text(change(SWEEP))
    with pytest.raises(ConfigError, match=message):
        read_figure(tmp_path, "one")


def test_a_figure_of_a_table_has_no_runs_of_its_own(tmp_path: Path) -> None:
    for folder in ("figure", "table"):
        (tmp_path / folder).mkdir()
    (tmp_path / "table" / "printed").mkdir()
    for name in ("mpa_table4.yaml", "printed/mpa_table4.csv"):
        (tmp_path / "table" / name).write_text((conf_folder() / "table" / name).read_text())
    (tmp_path / "figure" / "one.yaml").write_text(SWEEP + "table: mpa_table4\n")
    with pytest.raises(ConfigError, match="the runs are those of table mpa_table4; remove rows, sweep"):
        read_figure(tmp_path / "figure", "one")


def test_an_unknown_figure_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no figure 'dephn_fig9'; allowed: dephn_fig3, .*mpa_fig9, mpa_fig10"):
        read_figure(FOLDER, "dephn_fig9")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["dephn_fig9"],
            r"no table or figure 'dephn_fig9'; did you mean dephn_fig\d\? Allowed: census_mmoe",
        ),
        (["dephn_fig3", "dephn_fig4"], "'dephn_fig4' is not of the form key=value"),
        (["dephn_fig6", "--rows", "TVG,TV"], "dephn_fig6 has no row TV; allowed: TVG, MG"),
        (["dephn_fig6", "--seeds", "some"], "'--seeds': 'some' is not a valid integer"),
        (["dephn_fig6", "--scale", "2"], "'--scale': 2.0 is not in the range 0<x<=1"),
        (["dephn_fig6", "--to"], "option '--to' requires an argument"),
        (["dephn_fig6", "seed=7"], r"'seed=7': a table or figure sets this by its seeds \(--seeds takes fewer\)"),
        (["all", "model=mmoe"], "'model=mmoe': a table or figure sets this by its rows; `mtlbench train` accepts any"),
        (
            ["dephn_fig6", "--figures"],
            "no such option: --figures; allowed: --dry-run, --scale",
        ),
    ],
)
def test_what_cannot_be_reproduced_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    assert main(["reproduce", *words]) != 0
    assert re.search(message, capsys.readouterr().err)


def test_figures_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "figures"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in NAMES)
    assert main(["reproduce", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name}\n" in text for name in NAMES)
