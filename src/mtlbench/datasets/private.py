"""Former name of `mtlbench.datasets.unpublished`, kept for the configurations of existing runs and stores."""

from mtlbench.datasets.unpublished.dataset import Unpublished as Private

__all__ = ["Private"]
