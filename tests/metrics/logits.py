"""Logits and labels that tests of metrics share."""

import numpy as np


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def scored(rows: int, distinct: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of which many are equal, and labels that follow them."""
    random = np.random.default_rng(seed)
    logits = random.integers(-distinct, distinct + 1, rows).astype(np.float32) * (3 / distinct)
    return logits, random.random(rows) < 1 / (1 + np.exp(-logits))
