"""The training loop, optimizers, model selection and checkpoints. Knows data/, metrics and balancing/, no model by name."""
