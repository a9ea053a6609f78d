"""Functions that measure the papers' figures on finished runs; ``draws`` in ``conf/figure`` names one."""
