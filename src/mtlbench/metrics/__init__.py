"""Metrics of a split's logits. Every floor above may import this room; it knows no model, run or configuration."""
