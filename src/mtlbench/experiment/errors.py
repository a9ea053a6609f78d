"""The error of an unusable configuration, in a file of its own so that the command line need not wait for Hydra."""


class ConfigError(ValueError):
    """A configuration that cannot be used: says which key, what was found and what is allowed."""
