"""Shares equivalent runs within a plan, so that each is trained once.

Two runs are equivalent, bit for bit, if they differ

- only in ``trainer.diagnostics``, which adds to the journal and changes nothing else: the one with diagnostics is used
  for both;
- only in the name of the model: for instance, MSSM-Basic in MSSM's setting is SNR-Trans. The row of a table declares
  this (`RowSpec.same_as`).

Identities do not change, so a finished run is never trained again, whatever its name.
"""

from collections.abc import Sequence
from dataclasses import replace

from mtlbench.reproduce.plan import PlannedRun


def shared(plans: Sequence[Sequence[PlannedRun]]) -> list[list[PlannedRun]]:
    """The plans with equivalent runs replaced by one of them, a finished one if there is any.

    Args:
        plans: plans of several tables and figures.
    """
    every = [run for plan in plans for run in plan]
    representatives = {run.identity: run for run in every if run.finished or not run.alike}

    def standing_for(run: PlannedRun) -> PlannedRun:
        if run.identity in representatives:
            return run
        for identity in run.alike:
            other = representatives.get(identity) or replace(
                run, identity=identity, folder=run.folder.with_name(identity)
            )
            if identity in representatives or other.finished:
                return replace(run, identity=identity, folder=other.folder, config=other.config)
        representatives[run.identity] = run
        return run

    return [[standing_for(run) for run in plan] for plan in plans]
