"""Experiment runner for multi-task recommendation models: raw files to tracked, reproducible tables."""

__version__ = "0.3.0"
