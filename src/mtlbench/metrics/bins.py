"""Bins of equally many rows."""

import numpy as np


def equal_mass_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each value, int64 ``[N]`` in ``range(bins)``: quantiles, except that equal values share a bin.

    The result depends on no order of the values; a bin may be empty.
    """
    ranked = np.sort(values)
    edges = ranked[[len(ranked) * cut // bins for cut in range(1, bins)]]
    return np.searchsorted(edges, values, side="right")
