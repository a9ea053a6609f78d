"""Census-Income (KDD); `Census` is also imported here because configurations of runs and stores name this package."""

from mtlbench.datasets.census.dataset import Census as Census
