"""Census-Income (KDD): the package's name is the target that configurations of runs and stores name."""

from mtlbench.datasets.census.dataset import Census as Census
