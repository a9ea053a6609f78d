"""Data access for training: prepared store, layout, loader, vocabularies, split rules. Only imports schema.py."""
