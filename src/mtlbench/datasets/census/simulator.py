"""Writes synthetic Census-Income files in the publisher's format, with labels drawn from known probabilities.

The log-odds of both tasks are a sum of main effects of every nominal field and of two numbers, at the label rates of
the real training file; see `mtlbench.datasets.planted`.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mtlbench.datasets.census.layout import COLLEGE, COLUMNS, INCOME, NO_COLLEGE, NOMINAL, NOT_SINGLE, NUMBERS, SINGLE
from mtlbench.datasets.draws import Integers, RankedValues
from mtlbench.datasets.planted import Effects, Term, fit_label_model
from mtlbench.datasets.simulated_files import check_settings, text_lines, truth_file, write_mark

SKEW = 2.5
"""Of the popularity of categories: the most frequent of 50 has a fifth of the rows."""

CATEGORIES = {
    "class_worker": 9, "det_ind_code": 52, "det_occ_code": 47, "hs_college": 3, "major_ind_code": 24,
    "major_occ_code": 15, "race": 5, "hisp_origin": 10, "sex": 2, "union_member": 3, "unemp_reason": 6,
    "full_or_part_emp": 8, "tax_filer_stat": 6, "region_prev_res": 6, "state_prev_res": 51,
    "det_hh_fam_stat": 38, "det_hh_summ": 8, "mig_chg_msa": 10, "mig_chg_reg": 9, "mig_move_reg": 10, "mig_same": 3,
    "mig_prev_sunbelt": 4, "fam_under_18": 5, "country_father": 43, "country_mother": 43, "country_self": 43,
    "citizenship": 5, "own_or_self": 3, "vet_question": 3, "vet_benefits": 3, "year": 2,
}  # fmt: skip
"""Distinct values of each nominal field in the real training file."""

CODES = ("det_ind_code", "det_occ_code", "own_or_self", "vet_benefits")
SPECIAL = {
    ("hisp_origin", 1): "NA",
    ("country_father", 1): "?",
    ("mig_chg_msa", 1): "?",
    ("citizenship", 1): "Foreign born- Not a citizen of U S ",
    ("year", 0): "94",
    ("year", 1): "95",
}
"""Values that a careless reader would misread."""

HIGHEST = {
    "age": 90,
    "wage_per_hour": 9999,
    "capital_gains": 99999,
    "capital_losses": 4608,
    "stock_dividends": 99999,
    "num_emp": 6,
    "weeks_worked": 52,
}
MOSTLY_ZERO = ("wage_per_hour", "capital_gains", "capital_losses", "stock_dividends")
CAUSES = ("age", "weeks_worked")
"""Numbers that labels depend on."""
TERMS = {"main": Term(dict.fromkeys((*NOMINAL, *CAUSES), 1.0))}

RATES = {"income": 0.06206, "college": 0.19638, "never_married": 0.43346}
"""Of the real training file."""
CEILINGS = {"income": 0.885, "college": 0.868, "never_married": 0.864}
"""AUC of the true probabilities, an assumption."""


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """What to simulate.

    Attributes:
        task_group: which tasks depend on the inputs; the other main label is drawn at its rate.
        rows: of both files together, two thirds of them train.
        seed: of everything.
        relatedness: correlation of the two tasks' log-odds, 0 to 1.
        structure: False makes the labels independent of every input, at the same rates.
    """

    task_group: Literal["income", "education"]
    rows: int
    seed: int
    relatedness: float
    structure: bool

    def __post_init__(self) -> None:
        check_settings("census", self, rows=(100, 100_000_000), seed=(0, 2**63), relatedness=(0, 1))


def simulate(folder: Path, config: SimulatorConfig, *, version: int) -> None:
    """Write both files, the true probabilities of each, and ``simulated.json``."""
    random = np.random.default_rng(config.seed)
    inputs = _inputs(random, config.rows)
    main, other = ("income", "college") if config.task_group == "income" else ("college", "income")
    components = _effects(config.seed).components(
        TERMS, inputs | {name: (inputs[name] / HIGHEST[name] - 0.5) * np.sqrt(12) for name in CAUSES}
    )
    model = fit_label_model(
        [components],
        shares={"main": 1.0},
        rates=(RATES[main], RATES["never_married"]),
        ceilings=(CEILINGS[main], CEILINGS["never_married"]),
        relatedness=config.relatedness,
        structure=config.structure,
    )
    drawn, chances = model.draw(components, random)
    labels = {main: drawn[:, 0], "never_married": drawn[:, 1], other: random.random(config.rows) < RATES[other]}
    columns = _columns(random, inputs, labels)

    folder.mkdir(parents=True, exist_ok=True)
    train = config.rows * 2 // 3
    for name, part in (("census-income.data.gz", slice(0, train)), ("census-income.test.gz", slice(train, None))):
        with gzip.GzipFile(folder / name, "wb", compresslevel=1, mtime=0) as file:
            file.write(text_lines((columns[column][part] for column in COLUMNS), ", "))
        with truth_file(folder / name, 2) as write_truth:
            write_truth(chances[part])
    write_mark(folder, "census", version, config)


def _inputs(random: np.random.Generator, rows: int) -> dict[str, Integers]:
    """Category numbers of nominal fields, frequent ones first, and the numbers themselves; int64 ``[rows]`` each."""
    values = {name: RankedValues(size, SKEW).at(random.random(rows)) for name, size in CATEGORIES.items()}
    for name in NUMBERS:
        drawn = random.integers(0, HIGHEST[name] + 1, rows)
        values[name] = np.where(random.random(rows) < 0.95, 0, drawn) if name in MOSTLY_ZERO else drawn
    return values


def _effects(seed: int) -> Effects:
    vocabularies = {name: RankedValues(size, SKEW) for name, size in CATEGORIES.items()}
    return Effects(seed=seed, tasks=2, vocabularies=vocabularies, numbers=CAUSES)


def _columns(
    random: np.random.Generator, inputs: dict[str, Integers], labels: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {name: inputs[name] for name in NUMBERS}
    columns |= {name: _names(name)[inputs[name]] for name in NOMINAL}
    columns["education"] = _pick(random, labels["college"], COLLEGE, NO_COLLEGE)
    columns["marital_stat"] = _pick(random, labels["never_married"], (SINGLE,), NOT_SINGLE)
    columns["income_50k"] = _pick(random, labels["income"], tuple(INCOME)[1:], tuple(INCOME)[:1])
    columns["instance_weight"] = np.round(random.uniform(43, 16258, len(labels["income"])), 2)
    return columns


def _names(field: str) -> np.ndarray:
    plain = [
        str(number) if field in CODES else f"{field} {number}" if number else "Not in universe"
        for number in range(CATEGORIES[field])
    ]
    return np.array([SPECIAL.get((field, number), name) for number, name in enumerate(plain)])


def _pick(
    random: np.random.Generator, label: np.ndarray, positive: tuple[str, ...], negative: tuple[str, ...]
) -> np.ndarray:
    yes = np.array(positive)[random.integers(0, len(positive), len(label))]
    no = np.array(negative)[random.integers(0, len(negative), len(label))]
    return np.where(label, yes, no)
