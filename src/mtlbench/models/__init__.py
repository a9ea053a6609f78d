"""One paper per file, composed of nn/. A model knows schema.py and nn/: no optimizer, path, metric or configuration."""
