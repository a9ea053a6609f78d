"""How runs are spread over processes or machines; the options are those of Hydra's launchers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["basic", "joblib", "submitit_local", "submitit_slurm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Launcher:
    """How runs are spread.

    Attributes:
        kind: name of Hydra's launcher; ``basic`` is one run after another, here.
        options: ``n_jobs`` of joblib; the parameters of submitit's executor.
    """

    kind: Kind = "basic"
    options: Mapping[str, Any] = field(default_factory=dict)
