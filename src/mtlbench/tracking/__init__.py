"""The run folder, the source of truth, and its copy in MLflow, which can be sent at any time. Does not import torch."""
