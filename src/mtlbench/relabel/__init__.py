"""Stores whose labels are replaced, such as the confidence labels of Criteo-R. Used by experiment/ alone."""
