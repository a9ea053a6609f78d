"""Stores whose labels are replaced: Criteo-R's confidence labels. Only experiment/ knows it."""
