"""Training loop, optimizers, model selection, checkpoints. Independent of particular models and data sets.

The module can be called: ``mtlbench.train("model=mmoe", "dataset=census")`` is `mtlbench.api.train`.
"""

import sys

from mtlbench.callable import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
