"""Training loop, optimizers, model selection, checkpoints. Knows data/, metrics, balancing/; no model by name."""
