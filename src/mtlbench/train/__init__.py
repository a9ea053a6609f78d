"""Training loop, optimizers, model selection, checkpoints. Knows data/, metrics, balancing/; no model by name.

Called, ``mtlbench.train("model=mmoe", "dataset=census")`` is `mtlbench.api.train`.
"""

import sys

from mtlbench.callable import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
