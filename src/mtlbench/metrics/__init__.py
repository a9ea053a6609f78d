"""Metrics of a split's logits, independent of models, runs and configurations; importable from all higher layers."""
