"""What a run leaves behind: its folder, which is the truth, and MLflow, a copy that can be sent at any time."""
