"""Raw files to a store: parse, join, split, fit on training rows, encode. Only experiment/ and datasets/ know it."""
