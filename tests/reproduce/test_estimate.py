"""Tests of an estimate, by hand: two degrees of freedom have p = (1 - t / sqrt(t^2 + 2)) / 2, one-sided."""

import math
from dataclasses import replace

import pytest

from mtlbench.reproduce.estimate import Estimate, Sampling

THREE = Estimate(value=2.0, replicates=3, between=1.0)
"""Of 1, 2, 3."""


def tail(t: float) -> float:
    return (1 - t / math.sqrt(t * t + 2)) / 2


def test_one_sided_tests_by_hand() -> None:
    """The standard error is 1 / sqrt 3."""
    assert THREE.above() == pytest.approx(tail(2 * math.sqrt(3)))
    assert THREE.above(1.0) == pytest.approx(tail(math.sqrt(3)))
    assert THREE.below() == pytest.approx(1 - tail(2 * math.sqrt(3)))
    assert THREE.unequal() == pytest.approx(2 * tail(2 * math.sqrt(3)))


def test_equivalence_is_the_harder_of_two_tests_and_its_opposite_the_easier_doubled() -> None:
    still = Estimate(value=0.5, replicates=3, between=3.0)  # a standard error of 1
    assert still.within(-4, 4) == pytest.approx(tail(3.5))
    assert still.within(-1, 4) == pytest.approx(tail(1.5))
    assert replace(still, value=4.0).outside(-1, 1) == pytest.approx(2 * tail(3))
    assert replace(still, value=-4.0).outside(-1, 1) == pytest.approx(2 * tail(3))
    assert still.outside(-1, 1) == 1.0


def test_the_variance_of_users_adds_up_and_degrees_are_satterthwaites() -> None:
    """1/3 with 2 degrees and 1/3 with 10: (2/3)^2 / (1/9/2 + 1/9/10) = 20/3."""
    both = replace(THREE, sampling=Sampling(variance=1 / 3, degrees=10, units="11 test rows"))
    assert both.variance == pytest.approx(2 / 3)
    assert both.degrees == pytest.approx(20 / 3)
    users = replace(both, between=0.0)
    assert (users.variance, users.degrees) == (pytest.approx(1 / 3), pytest.approx(10))


def test_nothing_is_tested_without_a_variance() -> None:
    one = Estimate(value=2.0, replicates=1, between=None, sampling=Sampling(variance=1.0, degrees=9, units=""))
    alike = Estimate(value=2.0, replicates=3, between=0.0)
    for each in (one, alike):
        assert each.above() is each.unequal() is each.within(-9, 9) is each.outside(-1, 1) is each.detectable(0.05)
        assert each.above() is None
        assert each.replicates_to_detect(1.0, 0.05) is None


def test_no_difference_at_all_is_none() -> None:
    same = Estimate(value=0.0, replicates=3, between=0.0)
    assert (same.above(), same.below(), same.unequal(), same.within(-1, 1)) == (1.0, 1.0, 1.0, 0.0)


def test_numbers_of_replicates_are_those_of_the_textbooks() -> None:
    """One-sided, 5 %: d = 0.5 needs 26.14 pairs for 80 % power (R, ``pwr.t.test``), d = 0.2 needs 155.9."""
    unit = Estimate(value=0.0, replicates=5, between=1.0)
    assert unit.replicates_to_detect(0.5, 0.05) == 27
    assert unit.replicates_to_detect(0.2, 0.05) == 156
    assert unit.replicates_to_detect(0.0, 0.05) is None
    assert unit.replicates_to_detect(0.01, 0.05) is None, "more than are worth stating"


def test_what_is_detectable_is_detected_with_the_power_that_is_stated() -> None:
    """Against 40,000 samples of five."""
    import numpy as np
    from scipy import stats

    found = Estimate(value=0.0, replicates=5, between=4.0).detectable(0.05)
    assert found is not None
    samples = np.random.default_rng(1).normal(found, 2.0, (40_000, 5))
    t = samples.mean(1) / (samples.std(1, ddof=1) / math.sqrt(5))
    assert (t > stats.t.isf(0.05, 4)).mean() == pytest.approx(0.8, abs=0.01)


def test_more_seeds_do_not_help_against_a_small_test_split() -> None:
    """A standard error of 1 by the users alone: a difference of 2 is found in 36 % however many seeds there are."""
    small = Estimate(value=2.0, replicates=5, between=1.0, sampling=Sampling(variance=1.0, degrees=999, units=""))
    assert small.replicates_to_detect(2.0, 0.05) is None
    assert small.replicates_to_detect(3.0, 0.05) is not None
