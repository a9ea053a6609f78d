"""Configuration errors, importable without Hydra."""


class ConfigError(ValueError):
    """An invalid configuration; the message names the key, the value found and the values allowed."""
