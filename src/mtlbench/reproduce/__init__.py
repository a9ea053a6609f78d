"""A paper's table or figure: its runs, statistics, verdicts and claims. Used by cli/ alone."""
