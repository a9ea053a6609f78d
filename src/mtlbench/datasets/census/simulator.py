"""A made-up Census-Income: the raw format of the real files, with labels drawn from known probabilities.

Every category of every nominal field, and two of the numbers, push the log-odds of a task up or down::

    logit_t = intercept_t + STRENGTH * sum_f (sqrt(r) shared_f[v_f] + sqrt(1 - r) own_tf[v_f]) / sqrt(F)

with standard normal ``shared`` and ``own``, so that ``r`` (relatedness) is the correlation of the two tasks' causes.
The intercepts give the label rates of the real training file. Without structure every row has just that rate.
"""

import gzip
import json
from pathlib import Path
from typing import Literal

import numpy as np

from mtlbench.datasets.census.layout import (
    COLLEGE,
    COLUMNS,
    INCOME,
    NO_COLLEGE,
    NOMINAL,
    NOT_SINGLE,
    NUMBERS,
    SINGLE,
)

VERSION = 1
STRENGTH = 2.0

CATEGORIES = {
    "class_worker": 9,
    "det_ind_code": 52,
    "det_occ_code": 47,
    "hs_college": 3,
    "major_ind_code": 24,
    "major_occ_code": 15,
    "race": 5,
    "hisp_origin": 10,
    "sex": 2,
    "union_member": 3,
    "unemp_reason": 6,
    "full_or_part_emp": 8,
    "tax_filer_stat": 6,
    "region_prev_res": 6,
    "state_prev_res": 51,
    "det_hh_fam_stat": 38,
    "det_hh_summ": 8,
    "mig_chg_msa": 10,
    "mig_chg_reg": 9,
    "mig_move_reg": 10,
    "mig_same": 3,
    "mig_prev_sunbelt": 4,
    "fam_under_18": 5,
    "country_father": 43,
    "country_mother": 43,
    "country_self": 43,
    "citizenship": 5,
    "own_or_self": 3,
    "vet_question": 3,
    "vet_benefits": 3,
    "year": 2,
}
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
"""Values that a careless reader spoils."""

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

RATES = {"income": 0.06206, "college": 0.19638, "never_married": 0.43346}


def simulate(
    folder: Path,
    *,
    task_group: Literal["income", "education"],
    rows: int,
    seed: int,
    relatedness: float,
    structure: bool,
) -> None:
    """Write both files (two thirds of the rows train, one third test), the truth of each, and ``simulated.json``.

    Args:
        folder: is made if need be.
        task_group: which tasks depend on the inputs; the other main label is drawn at its rate.
        rows: of both files together.
        seed: of everything.
        relatedness: correlation of the causes of the two tasks, in ``[0, 1]``.
        structure: whether labels depend on inputs at all.
    """
    if not 0 <= relatedness <= 1:
        raise ValueError(f"census simulator: relatedness is {relatedness}; allowed: 0 to 1")
    if rows < 3:
        raise ValueError(f"census simulator: rows is {rows}; allowed: 3 or more, two thirds of them train")
    random = np.random.default_rng(seed)
    values = _inputs(random, rows)
    main, other = ("income", "college") if task_group == "income" else ("college", "income")
    truth = _truth(random, values, np.array([RATES[main], RATES["never_married"]]), relatedness, structure)
    drawn = random.random((rows, 2)) < truth
    labels = {main: drawn[:, 0], "never_married": drawn[:, 1], other: random.random(rows) < RATES[other]}
    lines = _lines(random, values, labels)

    folder.mkdir(parents=True, exist_ok=True)
    train = rows * 2 // 3
    for name, part in (("census-income.data.gz", slice(0, train)), ("census-income.test.gz", slice(train, rows))):
        with gzip.GzipFile(folder / name, "wb", compresslevel=1, mtime=0) as file:
            file.write("".join(lines[part]).encode())
        np.save(folder / f"{name}.truth.npy", truth[part].astype(np.float32))
    knobs = {"task_group": task_group, "rows": rows, "seed": seed, "relatedness": relatedness, "structure": structure}
    facts = {"dataset": "census", "simulator_version": VERSION, **knobs}
    (folder / "simulated.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _inputs(random: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Category numbers of nominal fields, frequent ones first, and the numbers themselves; int64 ``[rows]`` each."""
    values: dict[str, np.ndarray] = {}
    for name in NOMINAL:
        share = 1 / np.arange(1, CATEGORIES[name] + 1)
        values[name] = random.choice(CATEGORIES[name], size=rows, p=share / share.sum())
    for name in NUMBERS:
        drawn = random.integers(0, HIGHEST[name] + 1, rows)
        values[name] = np.where(random.random(rows) < 0.95, 0, drawn) if name in MOSTLY_ZERO else drawn
    return values


def _truth(
    random: np.random.Generator, values: dict[str, np.ndarray], rates: np.ndarray, relatedness: float, structure: bool
) -> np.ndarray:
    """True probabilities, float64 ``[rows, 2]``."""
    rows = len(values["age"])
    sums = np.zeros((rows, 2))
    for name in (*NOMINAL, *CAUSES):
        categories = 1 if name in CAUSES else CATEGORIES[name]
        shared, own = random.standard_normal((categories, 1)), random.standard_normal((categories, 2))
        effect = np.sqrt(relatedness) * shared + np.sqrt(1 - relatedness) * own
        if name in CAUSES:
            sums += (values[name] / HIGHEST[name] - 0.5)[:, None] * np.sqrt(12) * effect
        else:
            sums += effect[values[name]]
    logits = STRENGTH * sums / np.sqrt(len(NOMINAL) + len(CAUSES)) * structure
    return np.stack([_with_rate(logits[:, task], rate) for task, rate in enumerate(rates)], axis=1)


def _with_rate(logits: np.ndarray, rate: float) -> np.ndarray:
    """Probabilities of shifted logits whose mean is ``rate``, by bisection."""
    low, high = -30.0, 30.0
    for _ in range(50):
        middle = (low + high) / 2
        if (1 / (1 + np.exp(-logits - middle))).mean() < rate:
            low = middle
        else:
            high = middle
    return 1 / (1 + np.exp(-logits - low))


def _lines(random: np.random.Generator, values: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> list[str]:
    rows = len(values["age"])
    columns: dict[str, list[str]] = {name: values[name].astype(str).tolist() for name in NUMBERS}
    columns |= {name: _names(name)[values[name]].tolist() for name in NOMINAL}
    columns["education"] = _pick(random, labels["college"], COLLEGE, NO_COLLEGE)
    columns["marital_stat"] = _pick(random, labels["never_married"], (SINGLE,), NOT_SINGLE)
    columns["income_50k"] = _pick(random, labels["income"], tuple(INCOME)[1:], tuple(INCOME)[:1])
    columns["instance_weight"] = [f"{weight:.2f}" for weight in random.uniform(43, 16258, rows)]
    return [", ".join(line) + "\n" for line in zip(*(columns[name] for name in COLUMNS), strict=True)]


def _names(field: str) -> np.ndarray:
    plain = [
        str(number) if field in CODES else f"{field} {number}" if number else "Not in universe"
        for number in range(CATEGORIES[field])
    ]
    return np.array([SPECIAL.get((field, number), name) for number, name in enumerate(plain)])


def _pick(
    random: np.random.Generator, label: np.ndarray, positive: tuple[str, ...], negative: tuple[str, ...]
) -> list[str]:
    yes = np.array(positive)[random.integers(0, len(positive), len(label))]
    no = np.array(negative)[random.integers(0, len(negative), len(label))]
    return np.where(label, yes, no).tolist()
