"""Stores whose labels are replaced, such as the confidence labels of Criteo-R. Only imported by experiment/."""
