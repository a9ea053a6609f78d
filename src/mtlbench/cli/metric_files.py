"""Declares the user's own metrics (files of the group ``metric``) before any configuration is composed."""

from mtlbench.cli.choices import read_yaml
from mtlbench.cli.search_path import group_files
from mtlbench.experiment.errors import ConfigError
from mtlbench.metrics.declared import declared_metrics


def declare_files() -> None:
    """Declare titles and directions of the metrics in all configuration folders, without importing their code.

    Raises:
        ConfigError: an entry lacks a key, or has an unknown one.
    """
    for file in group_files("metric"):
        entries = {name: entry for name, entry in read_yaml(file).items() if name != "defaults"}
        try:
            declared_metrics({"metric": entries})
        except ValueError as error:
            raise ConfigError(f"{file}: {error}") from error
