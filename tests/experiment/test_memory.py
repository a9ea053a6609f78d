"""The peak of a run is its own, not that of what the process did before."""

import sys

import numpy as np
import pytest

from mtlbench.experiment.memory import forget_peak, peak_mb


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not let a process forget its peak")
def test_a_peak_is_that_since_it_was_forgotten() -> None:
    before = np.ones(400 * 2**17)  # 400 MiB, written to, so resident
    high = peak_mb()
    del before
    forget_peak()
    low = peak_mb()
    assert low < high - 350
    now = np.ones(200 * 2**17)
    assert low + 150 < peak_mb() < high
    del now
