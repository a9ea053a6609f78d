"""The run folder, which is the truth, and MLflow, a copy that can be sent at any time. Knows no torch."""
