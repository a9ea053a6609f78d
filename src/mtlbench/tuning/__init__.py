"""Hyperparameter search on validation data: spaces, trials as ordinary runs, and what was found."""
