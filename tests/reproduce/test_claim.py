"""Verdicts on claims: intersection-union, Holm, equivalence, worlds; differences 1, 2, 3 have one-sided p = 0.0371."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mtlbench.report.result import Claim, TableColumn
from mtlbench.reproduce.claim import evaluate_claim
from mtlbench.reproduce.table import ClaimSpec, Paper, RowSpec, Table

AUC = TableColumn(dataset="D", task="click", metric="auc")
TABLE = Table(
    name="t",
    title="A table",
    paper=Paper(name="P", title="A paper", venue="V"),
    place="Table 1",
    profile="default",
    seeds=3,
    seeds_note="ours",
    datasets={"D": []},
    rows=tuple(RowSpec(label=label, overrides=[]) for label in "ABCD"),
    columns=(AUC,),
    printed={},
    tolerance={},
    claims=(),
    twins={},
    baselines=(),
    notes=(),
)
CLEAR = (0.003, 0.002, 0.001)
"""t = 3.46, p = 0.0371 (one-sided)."""


def judged(differences: Mapping[str, Sequence[float]], table: Table = TABLE, **spec: Any) -> Claim:
    """A claim about row A and others, of which A is better by these differences, seed by seed."""
    claim = ClaimSpec(text="", better=["A"], than=list(differences), metric="auc", **spec)
    seeds = len(next(iter(differences.values())))
    values = {("A", AUC): dict.fromkeys(range(seeds), 0.5)}
    values |= {(label, AUC): {s: 0.5 - d for s, d in enumerate(each)} for label, each in differences.items()}
    return evaluate_claim(claim, table, values, {}, {"D": None})


def test_a_claim_of_all_needs_no_correction() -> None:
    """Three comparisons of p = 0.037 each; Holm on two-sided p-values, 0.22, would never say so."""
    claim = judged({"B": CLEAR, "C": CLEAR, "D": CLEAR})
    assert claim.verdict == "holds"
    assert "p = 0.0371" in claim.evidence[0]
    assert judged({"B": CLEAR, "C": CLEAR, "D": (0.003, 0.002, -0.001)}).verdict == "undecided"


def test_differences_too_small_for_four_digits_are_shown_in_scientific_notation() -> None:
    assert "A - B, D: click auc: +2.0e-06 " in judged({"B": (0.000001, 0.000002, 0.000003)}).evidence[0]
    assert "A - B, D: click auc: +0.0000 " in judged({"B": (0.0, 0.0, 0.0)}).evidence[0], "such as the same runs"


def test_a_claim_fails_by_one_comparison_corrected_for_all() -> None:
    worse = tuple(-each for each in CLEAR)
    assert judged({"B": worse}).verdict == "fails"
    assert judged({"B": worse, "C": (0.001, -0.001, 0.0)}).verdict == "undecided", "2 * 0.037"
    clearly = (-0.003, -0.0031, -0.0029)  # t = -52
    assert judged({"B": clearly, "C": CLEAR, "D": CLEAR}).verdict == "fails"


def test_one_of_several_is_corrected_and_fails_by_all() -> None:
    clearly, worse = (0.003, 0.0031, 0.0029), tuple(-each for each in CLEAR)
    assert judged({"B": clearly, "C": worse, "D": worse}, enough="one").verdict == "holds"
    assert judged({"B": CLEAR, "C": worse}, enough="one").verdict == "undecided"
    assert judged({"B": worse, "C": worse}, enough="one").verdict == "fails"


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((0.0001, 0.0002, 0.0003), "holds"),  # (0.001 - 0.0002) / 0.0000577 = 13.9
        ((0.001, -0.001, 0.0), "undecided"),  # 0.001 / 0.000577 = 1.73, p = 0.11
        ((0.003, 0.002, 0.004), "undecided"),  # (0.003 - 0.001) / 0.000577 = 3.46, doubled 0.074
        ((0.003, 0.0031, 0.0029), "fails"),
        ((-0.003, -0.0031, -0.0029), "fails"),
        ((0.0, 0.0, 0.0), "holds"),
        ((0.0001,), "undecided"),
    ],
)
def test_no_effect_is_tested_by_equivalence(differences: tuple[float, ...], verdict: str) -> None:
    """Within 0.001 AUC, which is the smallest effect of interest unless a table names another."""
    assert judged({"B": differences}, says="no effect").verdict == verdict


def test_a_table_names_its_smallest_effect() -> None:
    """Mean 0.0001, standard error 0.000265: p = 0.038 for 0.001 (t = 3.4), 0.059 for 0.0008 (t = 2.64)."""
    small = (0.0005, -0.0004, 0.0002)
    assert judged({"B": small}, says="no effect").verdict == "holds"
    narrower = replace(TABLE, smallest_effect={"auc": 0.0008})
    assert judged({"B": small}, narrower, says="no effect").verdict == "undecided"


def test_a_claim_says_what_could_be_found_and_what_would_decide() -> None:
    """Standard deviations of 0.001; one-sided 5 %, 80 % power (R, ``pwr.t.test``): n = 3 finds 2.297 of them.

    One of them, which is the smallest effect of interest, needs 7.7 pairs.
    """
    claim = judged({"B": (0.0015, 0.0005, -0.0005)})
    assert (claim.verdict, claim.deciding) == ("undecided", 8)
    assert claim.detectable == pytest.approx(0.002297, abs=1e-6)
    said = "a difference of 0.0023 would be found with a probability of 0.8; 8 seeds would decide"
    assert said in claim.evidence


def test_a_claim_of_no_effect_says_within_what_it_would_be_seen() -> None:
    """Both of two tests must succeed in 80 %, so each in 90 %: as far as 90 % power finds a difference."""
    claim = judged({"B": (0.001, -0.001, 0.0)}, says="no effect")
    assert claim.detectable is not None
    assert claim.evidence[1].startswith(f"no effect would be seen within {claim.detectable:.2g}, with a probability")
    alone = judged({"B": (0.001, -0.001, 0.0)})
    assert alone.detectable is not None
    assert claim.detectable > alone.detectable
    assert claim.deciding == 11  # d = 1, 90 % power: n = 10.1


def test_what_is_decided_or_cannot_be_says_so() -> None:
    assert judged({"B": CLEAR}).evidence[1] == "a difference of 0.0023 would be found with a probability of 0.8"
    hopeless = judged({"B": (0.1, -0.1, 0.001)})
    assert hopeless.deciding is None
    assert hopeless.evidence[1].endswith("; no number of seeds up to 1,000 would decide")
    assert (judged({"B": (0.001,)}).detectable, judged({"B": (0.001,)}).deciding) == (None, None)


def test_a_claim_in_several_worlds_is_about_their_mean() -> None:
    """Three worlds of two seeds, whose means differ by 1, 2, 3 thousandths: p = 0.0371 by worlds."""
    worlds = {"w1": [], "w2": [], "w3": []}
    columns = tuple(replace(AUC, dataset=f"D, {world}") for world in worlds)
    datasets = {column.dataset: [] for column in columns}
    table = replace(TABLE, columns=columns, worlds=worlds, datasets=datasets)
    values = {("A", column): {0: 0.5, 1: 0.5} for column in columns}
    values |= {("B", column): dict.fromkeys((0, 1), 0.5 - d) for column, d in zip(columns, CLEAR, strict=True)}
    claim = ClaimSpec(text="", better=["A"], than=["B"], metric="auc", datasets=["D"])
    found = evaluate_claim(claim, table, values, {}, dict.fromkeys(datasets))
    assert found.verdict == "holds"
    said = "A - B, D: click auc: +0.0020 (3 worlds of 2 seeds, sd 0.001 between worlds, 0 between seeds, p = 0.0371)"
    assert found.evidence[0] == said
    assert found.evidence[1] == "a difference of 0.0023 would be found with a probability of 0.8"
    alone = evaluate_claim(replace(claim, datasets=["D, w1"]), table, values, {}, dict.fromkeys(datasets))
    assert (alone.verdict, alone.evidence[0]) == (
        "undecided",
        "A - B, D, w1: click auc: +0.0030 (2 seeds, all differences alike: no test)",
    )
    del values["B", columns[1]]
    lacking = evaluate_claim(claim, table, values, {}, dict.fromkeys(datasets))
    assert (lacking.verdict, lacking.evidence) == ("not run", ("D, w2: not run: B",))
