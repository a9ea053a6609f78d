"""Metrics within groups and lists: by hand, and against loops over groups."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mtlbench.metrics.evaluate import evaluate
from mtlbench.metrics.ranking import Ranking, Top, group_areas, group_numbers, hits_at, ordinal, rounded, sampled_lists
from mtlbench.schema import Field, Schema, Task

CLICK, BUY = Task(name="click", label="click"), Task(name="buy", label="buy", given="click")


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def drawn(rows: int, groups: int, distinct: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits (of so many distinct values), labels that follow them, and groups of very different sizes."""
    random = np.random.default_rng(seed)
    logits = random.integers(-distinct, distinct + 1, rows).astype(np.float32) * (3 / distinct)
    return logits, random.random(rows) < 1 / (1 + np.exp(-logits)), (random.random(rows) ** 2 * groups).astype(np.int64)


def naive_areas(scores: np.ndarray, positive: np.ndarray, group: np.ndarray) -> dict[int, tuple[float, int]]:
    """Area and rows of each group of both classes, a pair at a time."""
    found = {}
    for g in set(group.tolist()):
        above, below = scores[(group == g) & positive], scores[(group == g) & ~positive]
        pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in above for n in below]
        if pairs:
            found[g] = (sum(pairs) / len(pairs), len(above) + len(below))
    return found


def naive_hits(n: int, scores: np.ndarray, positive: np.ndarray, lists: np.ndarray) -> list[int]:
    hits = []
    for g in sorted(set(lists.tolist())):
        rows = np.flatnonzero(lists == g)
        if len(rows) >= n and positive[rows].any():
            best = sorted(rows, key=lambda row: (-scores[row], row))[:n]
            hits.append(int(positive[best].sum()))
    return hits


def test_group_areas_by_hand():
    # Group 7: positives 3 and 1 against 2 and 1: 2 wins and, for the 1, a loss and a tie: 2.5 of 4. Group 5: one class.
    # Group 9: 0 against 4, a loss. Group 2 is a single row.
    logits = floats(3, 1, 2, 1, 0, 4, 8, 9, 5)[:, None]
    labels = floats(1, 1, 0, 0, 1, 0, 1, 1, 0)[:, None]
    group = np.array([7, 7, 7, 7, 9, 9, 5, 5, 2])
    values = evaluate(logits, labels, None, [CLICK], group=group).values
    assert values["click/gauc"] == pytest.approx((4 * 2.5 / 4 + 2 * 0) / 6)
    assert values["click/uauc"] == pytest.approx((2.5 / 4 + 0) / 2)
    assert values["click/groups"] == 4
    assert values["click/one_class_groups"] == 2


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.integers(-2, 2), st.booleans(), st.integers(-3, 3)), min_size=0, max_size=40),
    st.sampled_from([np.float32, np.float64]),
)
def test_group_areas_equal_the_count_of_all_pairs_of_every_group(rows: list[tuple[int, bool, int]], kind: type):
    scores, positive, group = (np.array([row[i] for row in rows]) for i in range(3))
    positive, group = positive.astype(bool), group.astype(np.int64)
    found = group_areas(scores.astype(kind), positive, group_numbers(group))
    expected = naive_areas(scores, positive, group)
    order = list(dict.fromkeys(g for g in group.tolist() if g in expected))
    assert found.area.tolist() == pytest.approx([expected[g][0] for g in order], abs=1e-12)
    assert found.rows.tolist() == [expected[g][1] for g in order]
    assert found.groups == len(set(group.tolist()))


@pytest.mark.parametrize("distinct", [2, 1_000_000])
def test_group_areas_equal_scikit_learn(distinct: int):
    logits, positive, group = drawn(3_001, 97, distinct)
    found = group_areas(logits, positive, group_numbers(group))
    both = [g for g in dict.fromkeys(group.tolist()) if 0 < positive[group == g].sum() < (group == g).sum()]
    expected = [roc_auc_score(positive[group == g], logits[group == g]) for g in both]
    assert len(both) > 80
    assert found.area.tolist() == pytest.approx(expected, abs=1e-12)


def test_one_group_has_the_area_of_all_rows_and_the_order_of_rows_is_nothing():
    logits, positive, group = drawn(1_999, 101, 9)
    shuffle = np.random.default_rng(1).permutation(len(logits))
    columns = logits[:, None], positive[:, None]
    whole = evaluate(*columns, None, [CLICK], group=np.full(len(group), 12345678901)).values
    assert whole["click/gauc"] == whole["click/uauc"] == whole["click/auc"]
    by_group = evaluate(*columns, None, [CLICK], group=group).values
    shuffled = evaluate(*(column[shuffle] for column in columns), None, [CLICK], group=group[shuffle]).values
    assert shuffled == pytest.approx(by_group, rel=1e-12)
    assert by_group["click/gauc"] != pytest.approx(by_group["click/uauc"], abs=1e-6)
    renamed = evaluate(*columns, None, [CLICK], group=torch.tensor(-(group**3))).values
    assert renamed == by_group


def test_the_level_of_a_group_counts_for_the_whole_area_only():
    logits, positive, group = drawn(1_999, 101, 1_000)
    shifted = logits + 100 * (group % 7).astype(np.float32)
    one, other = (evaluate(x[:, None], positive[:, None], None, [CLICK], group=group).values for x in (logits, shifted))
    assert other["click/gauc"] == pytest.approx(one["click/gauc"], abs=1e-6)
    assert abs(other["click/auc"] - one["click/auc"]) > 0.1


def test_only_observed_rows_make_groups():
    logits, positive, group = drawn(499, 31, 5)
    observed = np.random.default_rng(2).random(499) < 0.5
    labels = np.where(observed, positive, np.nan)[:, None]
    whole = evaluate(logits[:, None], labels, observed[:, None], [CLICK], group=group, ranking=tops()).values
    part = evaluate(
        logits[observed, None], positive[observed, None], None, [CLICK], group=group[observed], ranking=tops()
    ).values
    assert whole == pytest.approx(part, rel=1e-12)
    everything = evaluate(logits[:, None], positive[:, None], None, [CLICK], group=group, ranking=tops()).values
    assert everything["click/gauc"] != pytest.approx(part["click/gauc"], abs=1e-4)


def test_ordinals_have_the_order_of_the_scores():
    scores = floats(-np.inf, -1e30, -1, -1e-45, -0.0, 0.0, 1e-45, 0.5, 1, 1e30, np.inf)
    for kind in (np.float32, np.float64):
        found = ordinal(scores.astype(kind)).astype(np.int64)
        assert found[4] == found[5]
        assert (np.diff(np.delete(found, 4)) > 0).all()


def test_rounded_probabilities_tie():
    # 0.5000004 and 0.5 round to the same six decimals: half a pair instead of a whole one.
    logits, labels = floats(1.6e-6, 0.0)[:, None], floats(1, 0)[:, None]
    group = np.zeros(2, dtype=np.int64)
    assert evaluate(logits, labels, None, [CLICK], group=group).values["click/uauc"] == 1
    official = evaluate(logits, labels, None, [CLICK], group=group, ranking=Ranking(decimals=6)).values
    assert official["click/uauc"] == official["click/gauc"] == 0.5
    assert official["click/auc"] == 1
    assert rounded(floats(0.0, -20.0), 3).tolist() == [0.5, 0.0]


def test_weighted_uauc_is_the_weighted_mean_of_the_tasks():
    logits = np.stack([floats(1, 0, 1, 0), floats(0, 1, 1, 0)], axis=1)
    labels = np.stack([floats(1, 0, 1, 0), floats(1, 0, 1, 0)], axis=1)
    asked = Ranking(uauc_weights={"buy": 1, "click": 3})
    group = np.array([0, 0, 1, 1])
    metrics = evaluate(logits, labels, None, [CLICK, BUY], group=group, ranking=asked)
    assert metrics.values["buy/uauc"] == 0.5
    assert metrics.values["weighted_uauc"] == (3 * 1 + 1 * 0.5) / 4
    labels[:, 1] = 0
    undefined = evaluate(logits, labels, None, [CLICK, BUY], group=group, ranking=asked).undefined
    assert undefined["weighted_uauc"] == "uauc of buy is undefined"
    assert undefined["buy/uauc"] == undefined["buy/gauc"] == "all 2 groups hold labels of one class only"


def tops(lists: str = "group", **changed: int) -> Ranking:
    return Ranking(top=Top(weights={"click": 1}, lists=lists, **changed))  # type: ignore[arg-type]


def test_precision_by_hand():
    # List 0: best two by score are rows 1 and 2 (the tie of rows 2 and 3 goes to row 2): one of them is positive.
    # List 1: both positives lead. List 2 has no positive, list 3 a single row: they do not count.
    scores = floats(0, 9, 5, 5, 2, 1, 0, 7, 7, 4)
    positive = np.array([0, 1, 0, 1, 1, 1, 0, 0, 0, 1], dtype=bool)
    lists = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
    assert hits_at(2, scores, positive, lists).tolist() == [1, 2]
    values = evaluate(scores[:, None], positive[:, None], None, [CLICK], group=lists, ranking=tops()).values
    assert values["click/precision_at_2_own"] == 3 / 4
    assert values["click/precision_at_2_export"] == 3 / 4
    assert values["click/lists_at_2"] == 2


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.integers(-2, 2), st.booleans(), st.integers(0, 5)), min_size=0, max_size=40),
    st.integers(1, 5),
)
def test_hits_equal_those_of_lists_sorted_one_by_one(rows: list[tuple[int, bool, int]], n: int):
    scores, positive, lists = (np.array([row[i] for row in rows]) for i in range(3))
    positive, lists = positive.astype(bool), lists.astype(np.int64)
    expected = naive_hits(n, scores, positive, lists)
    assert hits_at(n, scores.astype(np.float32), positive, lists).tolist() == expected
    assert hits_at(n, scores.astype(np.float64), positive, lists).tolist() == expected


@pytest.mark.parametrize(("positives", "best"), [(1, 1 / 2), (2, 1.0), (3, 1.0)])
def test_a_perfect_score_reaches_what_there_is_to_reach_and_the_worst_one_nothing(positives: int, best: float):
    label = np.tile(np.arange(8) >= 8 - positives, 50)[:, None].astype(np.float32)
    group = np.repeat(np.arange(50), 8)
    perfect, worst = (evaluate(s, label, None, [CLICK], group=group, ranking=tops()).values for s in (label, -label))
    for which in ("own", "export"):
        assert perfect[f"click/precision_at_2_{which}"] == best
        assert worst[f"click/precision_at_2_{which}"] == 0
    assert perfect["click/lists_at_2"] == 50


@pytest.mark.parametrize("change", [lambda x: 3 * x + 1, np.tanh, lambda x: x**3], ids=["affine", "tanh", "cube"])
def test_own_is_blind_to_increasing_functions_and_export_is_not(change: Callable[[np.ndarray], np.ndarray]):
    random = np.random.default_rng(6)
    logits = random.standard_normal((601, 2)).astype(np.float32)
    labels = (random.random((601, 2)) < 0.3).astype(np.float32)
    group = random.integers(0, 60, 601)
    asked = Ranking(top=Top(weights={"click": 0.8, "buy": 0.2}))
    changed = logits.copy()
    changed[:, 1] = change(3 * logits[:, 1])
    one, other = (evaluate(x, labels, None, [CLICK, BUY], group=group, ranking=asked).values for x in (logits, changed))
    for task in ("click", "buy"):
        assert other[f"{task}/precision_at_2_own"] == one[f"{task}/precision_at_2_own"]
    assert other["click/precision_at_2_export"] != one["click/precision_at_2_export"]


def test_export_ranks_by_the_weighted_sum_of_probabilities():
    random = np.random.default_rng(7)
    logits = random.standard_normal((301, 2)).astype(np.float32)
    labels = (random.random((301, 2)) < 0.3).astype(np.float32)
    group = random.integers(0, 40, 301)
    asked = Ranking(top=Top(n=3, weights={"buy": 0.2, "click": 0.8}))
    values = evaluate(logits, labels, None, [CLICK, BUY], group=group, ranking=asked).values
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    score = (0.8 * probability[:, 0] + 0.2 * probability[:, 1]).astype(np.float32)
    for t, task in enumerate(("click", "buy")):
        hits = naive_hits(3, score, labels[:, t] == 1, group)
        assert values[f"{task}/precision_at_3_export"] == pytest.approx(np.mean(hits) / 3)
        assert values[f"{task}/lists_at_3"] == len(hits)


def test_sampled_lists_are_dealt_once_for_all_tasks_and_by_their_seed():
    lists = sampled_lists(103, 10, seed=0)
    assert sorted(np.bincount(lists).tolist()) == [3, *[10] * 10]
    assert (lists == sampled_lists(103, 10, seed=0)).all()
    assert (lists != sampled_lists(103, 10, seed=1)).any()
    logits, positive, _ = drawn(103, 1, 5)
    values = evaluate(logits[:, None], positive[:, None], None, [CLICK], ranking=tops("sampled")).values
    hits = naive_hits(2, logits, positive, lists)
    assert values["click/precision_at_2_of_10_own"] == pytest.approx(np.mean(hits) / 2)
    assert values["click/lists_at_2_of_10"] == len(hits)
    assert "click/gauc" not in values
    assert "click/lists_at_2" not in values


def test_what_is_undefined_says_why():
    logits, labels, group = floats(1, np.nan, 3)[:, None], floats(1, 0, 1)[:, None], np.array([4, 4, 4])
    undefined = evaluate(logits, labels, None, [CLICK], group=group, ranking=tops()).undefined
    for name in ("gauc", "uauc", "precision_at_2_own", "precision_at_2_export"):
        assert undefined[f"click/{name}"] == "1 of 3 logits are not finite"
    apart = evaluate(floats(1, 2, 3)[:, None], labels, None, [CLICK], group=np.arange(3), ranking=tops())
    assert apart.undefined["click/gauc"] == "all 3 groups hold labels of one class only"
    assert apart.undefined["click/precision_at_2_own"] == "no list holds 2 rows and a positive"
    assert apart.values["click/lists_at_2"] == 0
    unseen = evaluate(logits, labels, np.zeros((3, 1), dtype=bool), [CLICK], group=group, ranking=tops())
    assert unseen.undefined["click/gauc"] == unseen.undefined["click/precision_at_2_own"] == "no observed rows"
    assert unseen.values["click/groups"] == unseen.values["click/one_class_groups"] == 0


def schema(group: bool) -> Schema:
    return Schema(fields=(Field(name="a", cardinality=2),), tasks=(CLICK, BUY), group=group)


def test_a_ranking_that_the_data_cannot_have_is_refused():
    Ranking(uauc_weights={"click": 1}, top=Top(weights={"buy": 1})).check(schema(group=True))
    tops("sampled").check(schema(group=False))
    Ranking().check(schema(group=False))
    with pytest.raises(ValueError, match=r"uauc_weights: no binary task like; allowed: click, buy"):
        Ranking(uauc_weights={"click": 1, "like": 3}).check(schema(group=True))
    with pytest.raises(ValueError, match=r"top\.weights: no binary task like; allowed: click, buy"):
        Ranking(top=Top(weights={"like": 3})).check(schema(group=True))
    with pytest.raises(ValueError, match="have no group, so uAUC is undefined"):
        Ranking(uauc_weights={"click": 1}).check(schema(group=False))
    with pytest.raises(ValueError, match=r"top\.lists is 'group', but rows of this data set have no group"):
        tops().check(schema(group=False))
    with pytest.raises(ValueError, match=r"group: shape is \(2,\); expected \[rows\] = \(3,\)"):
        evaluate(np.zeros((3, 1)), np.zeros((3, 1)), None, [CLICK], group=np.zeros(2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: tops(n=0), r"top\.n is 0; allowed: 1 or more"),
        (lambda: tops("sampled", n=5, size=4), r"top\.size is 4; allowed: 5 or more"),
        (lambda: tops("sampled", seed=-1), r"top\.seed is -1; allowed: 0 or more"),
        (lambda: tops("users"), r"top\.lists is 'users'; allowed: group, sampled"),
        (lambda: Top(weights={"click": -1}), r"top\.weights\.click is -1; allowed: 0 or more"),
        (lambda: Top(weights={"click": 0}), r"has no task with a weight above 0"),
        (lambda: Ranking(uauc_weights={}), r"uauc_weights: \{\} has no task with a weight above 0"),
        (lambda: Ranking(decimals=0), r"decimals is 0; allowed: 1 to 15, or null"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: Callable[[], object], message: str):
    with pytest.raises(ValueError, match=message):
        wrong()
