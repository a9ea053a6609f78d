"""What training reads: the prepared store, its layout and loader, vocabularies, and split rules. Knows schema.py only."""
