"""An estimated mean with its standard error, one-sided tests, equivalence tests, and power.

An estimate has two sources of variance: the drawing of seeds (or simulated worlds), and the drawing of test users. The
variances add up, with Satterthwaite's degrees of freedom.
"""

from dataclasses import dataclass, replace
from typing import cast

import scipy  # submodules are imported on first use, which saves a second when only planning runs

POWER = 0.8
"""Power (probability of detecting a true difference) for detectable differences and numbers of seeds."""

MOST_REPLICATES = 1000
"""Maximum number of replicates that is reported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Variance of an estimate due to the sampling of test users (bootstrap).

    Attributes:
        variance: variance of the mean over seeds, over draws of the users.
        degrees: degrees of freedom: one less than the number of draws or of users, whichever is smaller.
        units: the sampled units as text, such as ``1,203 test users``.
    """

    variance: float
    degrees: float
    units: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over replicates (seeds or worlds), with the variance between replicates and that of sampling test users.

    Tests return ``None`` if the variance is unknown: with a single replicate, or with several equal, non-zero ones.

    Attributes:
        value: the mean.
        replicates: number of replicates.
        between: variance (n - 1) between replicates; ``None`` for a single one.
        sampling: variance due to test users; ``None`` if unknown, so that only replicates count.
    """

    value: float
    replicates: int
    between: float | None
    sampling: Sampling | None = None

    @property
    def variance(self) -> float | None:
        """Variance of the mean; ``None`` if unknown."""
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
        """One-sided p-value of a true mean above `bound`."""
        if (variance := self.variance) is None:
            return None
        if variance == 0:  # equal seeds carry no information on a difference, unless it is zero
            return None if self.value else float(bound >= 0)
        return float(scipy.stats.t.sf((self.value - bound) / variance**0.5, self.degrees))

    def below(self, bound: float = 0.0) -> float | None:
        """One-sided p-value of a true mean below `bound`."""
        return replace(self, value=-self.value).above(-bound)

    def unequal(self) -> float | None:
        """Two-sided p-value of a true mean other than zero."""
        sides = (self.above(), self.below())
        return None if None in sides else min(1.0, 2 * min(side for side in sides if side is not None))

    def within(self, low: float, high: float) -> float | None:
        """P-value of equivalence, a true mean between two bounds, by two one-sided tests.

        Paper: Schuirmann, A Comparison of the Two One-Sided Tests Procedure and the Power Approach, Journal of
        Pharmacokinetics and Biopharmaceutics 1987.
        """
        sides = (self.above(low), self.below(high))
        return None if None in sides else max(side for side in sides if side is not None)

    def outside(self, low: float, high: float) -> float | None:
        """P-value of a true mean outside two bounds: twice the smaller of two one-sided p-values."""
        sides = (self.below(low), self.above(high))
        return None if None in sides else min(1.0, 2 * min(side for side in sides if side is not None))

    def detectable(self, level: float, power: float = POWER) -> float | None:
        """Minimum true difference that a one-sided test with this variance detects with this power (noncentral t)."""
        if not (variance := self.variance):
            return None
        degrees = self.degrees
        threshold = float(scipy.stats.t.isf(level, degrees))
        highest = threshold + float(scipy.stats.t.isf((1 - power) / 2, degrees)) + 10.0
        shift = scipy.optimize.brentq(lambda shift: _power(shift, threshold, degrees) - power, 0.0, highest)
        return cast(float, shift) * variance**0.5

    def replicates_to_detect(self, difference: float, level: float, power: float = POWER) -> int | None:
        """Number of replicates needed to detect a true difference with this power, given the variance of these.

        ``None`` if `MOST_REPLICATES` do not suffice, for example because the test split is too small, or if the
        variance is unknown.
        """
        if not self.variance or difference <= 0:
            return None

        def enough(replicates: int) -> bool:
            detectable = replace(self, replicates=replicates).detectable(level, power)
            return detectable is not None and detectable <= difference

        low, high = 1, MOST_REPLICATES  # with 1 there is no test; power increases with their number
        if not enough(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high


def _power(shift: float, threshold: float, degrees: float) -> float:
    """Probability that t exceeds a threshold if the true mean is `shift` standard errors."""
    if not shift:
        return float(scipy.stats.t.sf(threshold, degrees))
    return float(scipy.stats.nct.sf(threshold, degrees, shift))
