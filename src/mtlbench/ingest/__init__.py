"""From raw files to a store: parse, join, split, fit on training rows, encode. Used by datasets/ and experiment/."""
