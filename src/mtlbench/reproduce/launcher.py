"""Settings of a launcher, which distributes runs over processes or machines; named as in Hydra's launchers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["basic", "joblib", "submitit_local", "submitit_slurm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Launcher:
    """Settings of a launcher.

    Attributes:
        kind: name of Hydra's launcher; ``basic`` runs one after another in this process.
        options: ``n_jobs`` of joblib; the parameters of submitit's executor.
    """

    kind: Kind = "basic"
    options: Mapping[str, Any] = field(default_factory=dict)
