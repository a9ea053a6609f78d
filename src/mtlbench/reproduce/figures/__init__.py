"""What draws the figures of the papers, from a figure's finished runs; ``draws`` in ``conf/figure`` names it."""
