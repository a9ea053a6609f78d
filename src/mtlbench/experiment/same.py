"""Checks that the processes of a job agree: same code, configuration and data, and a shared run folder."""

import time
import typing
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from mtlbench.distributed.job import alone
from mtlbench.distributed.ranks import agree
from mtlbench.experiment.code_version import code_version
from mtlbench.experiment.data import DataSource
from mtlbench.tracking.folder import FACTS, read_facts
from mtlbench.tracking.parameters import flatten, identity_config

LATE = 15.0
"""Seconds to wait for a new file to appear on another machine, over a network file system."""


def check_ranks(config: DictConfig, data: DataSource, device: torch.device) -> None:
    """Reject processes that differ in code, configuration, data or kind of device; does nothing for a single process.

    Raises:
        ValueError: they differ; the message names the first difference.
    """
    if alone():
        return
    plain = typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    facts = {
        "code": code_version(config),
        "torch": torch.__version__,
        "device": device.type,
        "origin of the data": data.origin,
        **flatten(identity_config(plain, data.origin)),
        "run.fresh": config.run.fresh,
        "run.shard_tables": config.run.get("shard_tables", False),
        "fingerprint of the data": data.fingerprint,
    }
    agree(facts, "Start all processes with the same code, arguments, data and kind of device")


def check_folder(folder: Path) -> None:
    """Reject processes that do not see the run folder opened by rank 0; does nothing for a single process.

    Raises:
        ValueError: a process does not see it.
    """
    if alone():
        return
    until = time.monotonic() + LATE
    while not (seen := (folder / FACTS).exists()) and time.monotonic() < until:
        time.sleep(0.2)
    agree(
        {f"the content of the run folder of {folder.name}": f"attempt {read_facts(folder)[1].key}" if seen else None},
        "Set run.folder to a folder that all machines share",
    )
