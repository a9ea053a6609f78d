"""Configuration errors, importable without Hydra."""


class ConfigError(ValueError):
    """A configuration that cannot be used: says which key, what was found and what is allowed."""
