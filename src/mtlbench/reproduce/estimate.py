"""An estimated mean with its standard error, and what can be decided by it: one-sided tests, equivalence, power.

An estimate varies for two reasons: seeds (or simulated worlds) are drawn, and so are the users of the test split. Their
variances add up, and degrees of freedom are Satterthwaite's.
"""

from dataclasses import dataclass, replace
from typing import cast

import scipy  # its parts are imported when they are used: a second that planning runs does not need

POWER = 0.8
"""Probability of finding what is there, by which detectable differences and numbers of seeds are stated."""

MOST_REPLICATES = 1000
"""Seeds up to which their number is worked out; more are not worth stating."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """What drawing the test users adds to the variance of an estimate (bootstrap).

    Attributes:
        variance: of the mean over seeds, over draws of the users.
        degrees: of freedom, one less than the draws or the users, whichever are fewer.
        units: what was drawn, such as ``1,203 test users``.
    """

    variance: float
    degrees: float
    units: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The mean over replicates (seeds, or worlds), with the variance between them and that of drawing test users.

    A test gives ``None`` where the variance is not known: one replicate, or several that are all alike and not zero.

    Attributes:
        value: the mean.
        replicates: how many there are.
        between: variance (n - 1) between them; ``None`` for one.
        sampling: of the test users; ``None`` if that is not known, so that only the replicates count.
    """

    value: float
    replicates: int
    between: float | None
    sampling: Sampling | None = None

    @property
    def variance(self) -> float | None:
        """Of the mean; ``None`` if it is not known."""
        if self.between is None:
            return None
        return self.between / self.replicates + (self.sampling.variance if self.sampling else 0.0)

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the variance.

        Paper: Satterthwaite, An Approximate Distribution of Estimates of Variance Components, Biometrics Bulletin 1946.
        """
        assert self.between is not None
        parts = [(self.between / self.replicates, self.replicates - 1.0)]
        if self.sampling is not None:
            parts.append((self.sampling.variance, self.sampling.degrees))
        divisor = sum(variance**2 / degrees for variance, degrees in parts)
        return sum(variance for variance, _ in parts) ** 2 / divisor if divisor else parts[0][1]

    def above(self, bound: float = 0.0) -> float | None:
        """One-sided p-value: how likely a mean as high as this is if the true one is at most `bound`."""
        if (variance := self.variance) is None:
            return None
        if variance == 0:  # seeds that differ in nothing say nothing about a difference, unless it is none at all
            return None if self.value else float(bound >= 0)
        return float(scipy.stats.t.sf((self.value - bound) / variance**0.5, self.degrees))

    def below(self, bound: float = 0.0) -> float | None:
        """One-sided p-value: how likely a mean as low as this is if the true one is at least `bound`."""
        return replace(self, value=-self.value).above(-bound)

    def unequal(self) -> float | None:
        """Two-sided p-value of a mean of zero."""
        sides = (self.above(), self.below())
        return None if None in sides else min(1.0, 2 * min(side for side in sides if side is not None))

    def within(self, low: float, high: float) -> float | None:
        """P-value of equivalence: that the true mean lies between two bounds, by two one-sided tests.

        Paper: Schuirmann, A Comparison of the Two One-Sided Tests Procedure and the Power Approach, Journal of
        Pharmacokinetics and Biopharmaceutics 1987.
        """
        sides = (self.above(low), self.below(high))
        return None if None in sides else max(side for side in sides if side is not None)

    def outside(self, low: float, high: float) -> float | None:
        """P-value of a true mean that is below the one bound or above the other: the smaller of two, doubled."""
        sides = (self.below(low), self.above(high))
        return None if None in sides else min(1.0, 2 * min(side for side in sides if side is not None))

    def detectable(self, level: float, power: float = POWER) -> float | None:
        """Smallest true difference that a one-sided test of this variance finds with this power (noncentral t)."""
        if not (variance := self.variance):
            return None
        degrees = self.degrees
        threshold = float(scipy.stats.t.isf(level, degrees))
        highest = threshold + float(scipy.stats.t.isf((1 - power) / 2, degrees)) + 10.0
        shift = scipy.optimize.brentq(lambda shift: _power(shift, threshold, degrees) - power, 0.0, highest)
        return cast(float, shift) * variance**0.5

    def replicates_to_detect(self, difference: float, level: float, power: float = POWER) -> int | None:
        """How many replicates find a true difference with this power, as far as they vary like these.

        ``None`` if not even `MOST_REPLICATES` do, as where the test split is too small, or if nothing is known about
        the variance.
        """
        if not self.variance or difference <= 0:
            return None

        def enough(replicates: int) -> bool:
            found = replace(self, replicates=replicates).detectable(level, power)
            return found is not None and found <= difference

        low, high = 1, MOST_REPLICATES  # at 1 nothing can be tested; the power rises with their number
        if not enough(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high


def _power(shift: float, threshold: float, degrees: float) -> float:
    """Probability that t is beyond a threshold where the true mean is `shift` standard errors."""
    if not shift:
        return float(scipy.stats.t.sf(threshold, degrees))
    return float(scipy.stats.nct.sf(threshold, degrees, shift))
