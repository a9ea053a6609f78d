"""Code version of a run: that of the package, and that of the user's own code."""

import hashlib
from functools import cache
from pathlib import Path

from omegaconf import DictConfig

import mtlbench
from mtlbench.experiment.sources import own_versions


def code_version(config: DictConfig | None = None) -> str:
    """Version of the package and a hash of its source, to distinguish results of different code.

    Args:
        config: the run's configuration; code of other packages that it names is included.
    """
    return " ".join([_package_version(), *(own_versions(config) if config is not None else ())])


@cache
def _package_version() -> str:
    package = Path(mtlbench.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return f"{mtlbench.__version__}+{digest.hexdigest()[:12]}"
