"""A paper's table or figure: its runs, statistics, verdicts and claims. Used by cli/ and api.py alone.

Called, ``mtlbench.reproduce("census_mmoe")`` is `mtlbench.api.reproduce`.
"""

import sys

from mtlbench.callable import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
