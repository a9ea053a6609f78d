"""Hyperparameter search on validation data: search spaces, trials as ordinary runs, and summaries."""
