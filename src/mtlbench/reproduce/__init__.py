"""Reproduction of a paper's table or figure: runs, statistics, verdicts and claims. Only imported by cli/ and api/.

The module can be called: ``mtlbench.reproduce("census_mmoe")`` is `mtlbench.api.reproduce`.
"""

import sys

from mtlbench.callable import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
