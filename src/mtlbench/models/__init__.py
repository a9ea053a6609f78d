"""One paper per file, composed of nn/. Knows schema.py and nn/; no optimizer, path, metric or configuration."""
