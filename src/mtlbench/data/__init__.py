"""What training reads: prepared store, layout, loader, vocabularies, split rules. Knows schema.py only."""
