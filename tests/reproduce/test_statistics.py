"""Statistics over seeds, against numbers worked out by hand or by the definition."""

import math

import pytest

from mtlbench.metrics.names import metric
from mtlbench.reproduce.statistics import (
    BySeed,
    Pair,
    agreement,
    average_ranks,
    compare,
    difference,
    expected_best,
    gain,
    holm,
    paired,
    spread,
)


def by_seed(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def pair(ours: BySeed, theirs: BySeed) -> list[Pair]:
    return [Pair(ours=ours, theirs=theirs)]


def test_spread_by_hand() -> None:
    """1, 2, 3, 4: mean 2.5, variance 5/3, t(0.975, 3) = 3.182446."""
    measured = spread(by_seed(1, 2, 3, 4), metric("auc"))
    deviation = math.sqrt(5 / 3)
    assert measured.mean == 2.5
    assert measured.deviation == pytest.approx(deviation)
    half = 3.182446 * deviation / 2
    assert measured.interval == pytest.approx((2.5 - half, 2.5 + half), abs=1e-5)
    assert (measured.best, measured.seeds) == (4, (0, 1, 2, 3))
    assert spread(by_seed(3, 1, 2), metric("logloss")).best == 1
    assert spread(by_seed(3, 1.5, 0.75), metric("pcoc")).best == 0.75
    assert spread(by_seed(3, 1, 2), metric("ceiling_logloss")).best is None


def test_one_value_has_no_spread() -> None:
    measured = spread({7: 0.5}, metric("auc"))
    assert (measured.seeds, measured.mean, measured.deviation, measured.interval) == ((7,), 0.5, None, None)


def test_paired_t_test_by_hand() -> None:
    """Differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.4641, two degrees of freedom, p = 1 - t / sqrt(t^2 + 2)."""
    difference, t_test, wilcoxon = paired(by_seed(2, 4, 6), by_seed(1, 2, 3))
    t = 2 * math.sqrt(3)
    assert difference == 2
    assert t_test == pytest.approx(1 - t / math.sqrt(t * t + 2))
    assert wilcoxon is None


def test_pairs_are_made_by_seed_and_the_direction_is_ours_minus_theirs() -> None:
    ours, theirs = {0: 1.0, 1: 5.0, 2: 3.5, 9: 100.0}, {2: 3.0, 1: 4.0, 0: 0.5, 8: -100.0}
    difference, t_test, _ = paired(ours, theirs)
    assert difference == pytest.approx((0.5 + 1 + 0.5) / 3)
    back, same, _ = paired(theirs, ours)
    assert (back, same) == (pytest.approx(-difference), pytest.approx(t_test))
    with pytest.raises(ValueError, match=r"no common seed: \[0\] and \[1\]"):
        paired({0: 1.0}, {1: 1.0})


def test_wilcoxon_from_six_pairs() -> None:
    """Six differences of one sign: the smallest two-sided p is 2 / 2**6."""
    ours, theirs = by_seed(1.1, 2.3, 3.2, 4.7, 5.5, 6.6), by_seed(1, 2, 3, 4, 5, 6)
    assert paired(ours, theirs)[2] == pytest.approx(2 / 64)
    assert paired(by_seed(1.1, 2.3, 3.2, 4.7, 5.5), by_seed(1, 2, 3, 4, 5))[2] is None


def test_differences_without_spread() -> None:
    assert paired(by_seed(1, 2), by_seed(1, 2)) == (0, 1.0, None)
    assert paired(by_seed(1, 2), by_seed(0, 1))[1] is None
    assert paired({0: 1.0}, {0: 0.0}) == (1.0, None, None)


def test_holm_by_hand() -> None:
    """0.01, 0.04, 0.03 of three: 0.03; then 0.03 * 2 = 0.06; then the larger of 0.04 and 0.06."""
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_average_ranks_follow_each_columns_direction() -> None:
    auc, loss = {"a": 0.9, "b": 0.8, "c": 0.7, "lonely": 1.0}, {"a": -0.3, "b": -0.1, "c": -0.1}
    assert average_ranks([auc, loss]) == {"a": 2.0, "b": 1.75, "c": 2.25}
    assert average_ranks([]) == average_ranks([{"a": 1.0}, {"b": 1.0}]) == {}


def test_agreement_is_kendalls_tau() -> None:
    ours = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}
    assert agreement(ours, {"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.3}) == pytest.approx((5 - 1) / 6)
    assert agreement(ours, {"a": 1.0, "b": 2.0}) is None
    assert agreement(ours, {"a": 1.0, "b": 1.0, "c": 1.0}) is None


def test_gain_is_positive_where_it_is_better() -> None:
    assert gain(0.66, 0.60) == pytest.approx(10)
    assert gain(-0.66, -0.60) == pytest.approx(-10)


def test_differences_that_are_equal_up_to_rounding_have_no_spread() -> None:
    """0.7 - 0.6 and 0.8 - 0.7 differ by one rounding, which made a p-value of 3.5e-16 of two seeds."""
    mean, t_test, wilcoxon = paired({0: 0.7, 1: 0.8}, {0: 0.6, 1: 0.7})
    assert (mean, t_test, wilcoxon) == (pytest.approx(0.1), None, None)
    same = {0: 0.1 + 0.2, 1: 0.7 - 0.4, 2: 0.3}
    assert paired(same, {0: 0.3, 1: 0.3, 2: 0.3}) == (0.0, 1.0, None)


def test_what_differs_by_more_than_rounding_stays_different() -> None:
    """Two AUCs over ten million pairs that differ in one pair."""
    assert paired({0: 0.7 + 2e-7, 1: 0.7 + 1e-7}, {0: 0.7, 1: 0.7})[1] == pytest.approx(0.2048, abs=1e-3)


def test_wilcoxon_ranks_differences_that_are_equal_up_to_rounding_as_ties() -> None:
    ours, theirs = by_seed(0.3, 0.4, 0.5, 0.6, 0.7, 0.9), by_seed(0.4, 0.3, 0.4, 0.5, 0.6, 0.6)
    exact = paired(by_seed(3, 4, 5, 6, 7, 9), by_seed(4, 3, 4, 5, 6, 6))
    assert paired(ours, theirs)[2] == pytest.approx(exact[2])
    assert paired(ours, theirs)[1] == pytest.approx(exact[1])


def test_ranks_and_agreement_tie_what_differs_by_rounding() -> None:
    ours = {"a": 0.1 + 0.2, "b": 0.3, "c": 0.5, "d": -0.1}
    assert average_ranks([ours]) == {"a": 2.5, "b": 2.5, "c": 1.0, "d": 4.0}
    assert agreement(ours, {"a": 3.0, "b": 3.0, "c": 5.0, "d": 1.0}) == pytest.approx(1)


def test_a_gain_of_rounding_is_none() -> None:
    assert gain(0.1 + 0.2, 0.3) == 0


def test_rows_are_compared_in_the_direction_of_the_metric() -> None:
    """Differences 1, 2, 3 have p = 0.0742; -0.1, -0.12, -0.18 have t = 5.547 and p = 0.0310, which Holm doubles."""
    wide = pair(by_seed(2, 4, 6), by_seed(1, 2, 3))
    clear = pair(by_seed(0.1, 0.2, 0.3), by_seed(0.2, 0.32, 0.48))
    first, second = compare(metric("auc"), [wide, clear])
    assert (first.mean, first.better, first.seeds, first.wilcoxon) == (2, 2, 3, None)
    assert first.t_test == pytest.approx(0.0742, abs=1e-4)
    assert second.t_test == pytest.approx(2 * 0.0310, abs=1e-4)
    assert (first.significant, second.significant) == (False, False)
    [alone] = compare(metric("logloss"), [clear])
    assert (alone.mean, alone.better) == (pytest.approx(-0.4 / 3), pytest.approx(0.4 / 3))
    assert (alone.t_test, alone.significant) == (pytest.approx(0.0310, abs=1e-4), True)


def test_what_is_the_same_for_every_seed_needs_no_test() -> None:
    [smaller] = compare(metric("parameters"), [pair({0: 10.0}, {0: 12.0, 1: 12.0})])
    assert (smaller.mean, smaller.better, smaller.t_test, smaller.seeds) == (-2, 2, None, 1)
    assert smaller.significant
    assert (smaller.p_better(), smaller.p_worse()) == (0.0, 1.0)
    [larger] = compare(metric("parameters"), [pair({0: 12.0}, {0: 10.0, 1: 10.0})])
    assert (larger.p_better(), larger.p_worse()) == (1.0, 0.0)
    assert not compare(metric("logloss"), [pair({0: 10.0}, {0: 12.0})])[0].significant


def test_a_p_value_at_the_level_is_significant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtlbench.reproduce.statistics.Estimate.unequal", lambda _: 0.05)
    assert compare(metric("auc"), [pair({0: 1.0}, {0: 0.5})])[0].significant


def test_distances_from_one_are_compared_where_one_is_best() -> None:
    [closer] = compare(metric("pcoc"), [pair(by_seed(0.75, 1.25), by_seed(1.5, 2.0))])
    assert (closer.mean, closer.better) == (-0.5, 0.5)


def test_a_gain_over_a_baseline_of_zero_is_none() -> None:
    assert gain(0.1, 0.0) is None
    assert gain(0.0, 0.0) == 0.0


def test_worlds_are_the_replicates_and_seeds_lie_in_them() -> None:
    """World means 1, 2, 3: t = 2 / (1 / sqrt 3) with two degrees of freedom, whatever the seeds do within.

    Variance between the seeds of a world: 2 (values m - 1, m + 1). Between worlds: 1 - 2 / 2 = 0; with values m - 0.1,
    m + 0.1, it is 0.02 and 1 - 0.02 / 2.
    """
    for apart, worlds, seeds in ((1.0, 0.0, 2**0.5), (0.1, 0.99**0.5, 0.02**0.5)):
        found = difference(
            metric("auc"),
            [Pair(ours=by_seed(m - apart, m + apart), theirs=by_seed(0.0, 0.0)) for m in (1.0, 2.0, 3.0)],
        )
        assert (found.better, found.worlds, found.seeds) == (pytest.approx(2), 3, 2)
        t = 2 * math.sqrt(3)
        assert found.p_better() == pytest.approx((1 - t / math.sqrt(t * t + 2)) / 2)
        assert found.between_worlds == pytest.approx(worlds, abs=1e-7)
        assert found.between_seeds == pytest.approx(seeds)


def test_worlds_are_balanced_by_their_common_seeds() -> None:
    first, second = Pair(ours={0: 1.0, 1: 9.0}, theirs={0: 0.0, 1: 0.0}), Pair(ours={0: 3.0}, theirs={0: 0.0})
    assert (difference(metric("auc"), [first, second]).mean, difference(metric("auc"), [first, second]).seeds) == (2, 1)
    with pytest.raises(ValueError, match="no seed common to all rows and worlds"):
        difference(metric("auc"), [first, Pair(ours={7: 1.0}, theirs={7: 0.0})])


def test_expected_best_by_hand() -> None:
    """Of 1, 2, 4 the best of two is 2, 4, 4; of losses, 1, 1, 2."""
    assert expected_best([4, 1, 2], 2, metric("auc")) == pytest.approx(10 / 3)
    assert expected_best([4, 1, 2], 2, metric("logloss")) == pytest.approx(4 / 3)
    assert expected_best([4, 1, 2], 1, metric("auc")) == pytest.approx(7 / 3)
    assert expected_best([4, 1, 2], 3, metric("auc")) == 4
    with pytest.raises(ValueError, match="expected best of 4 runs cannot be computed from 3"):
        expected_best([4, 1, 2], 4, metric("auc"))
