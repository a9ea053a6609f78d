"""Functions that measure the papers' figures on finished runs; each is named by ``draws`` in ``conf/figure``."""
