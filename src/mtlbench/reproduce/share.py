"""Runs that one plan needs once: what another run measures too is not trained again.

Two runs measure the same, bit for bit, if they differ

- in ``trainer.diagnostics`` alone, which adds to the journal and changes nothing else: the one with diagnostics stands
  for both;
- in the name of the model alone: MSSM-Basic in MSSM's setting is SNR-Trans, for instance. The row of a table says so
  (`RowSpec.same_as`).

Identities stay as they are, so a finished run is never asked for again, whatever its name.
"""

from collections.abc import Sequence
from dataclasses import replace

from mtlbench.reproduce.plan import PlannedRun


def shared(plans: Sequence[Sequence[PlannedRun]]) -> list[list[PlannedRun]]:
    """The same plans, in which runs that are alike are one run; a finished one where there is one.

    Args:
        plans: of several tables and figures.
    """
    every = [run for plan in plans for run in plan]
    kept = {run.identity: run for run in every if run.finished or not run.alike}

    def standing_for(run: PlannedRun) -> PlannedRun:
        if run.identity in kept:
            return run
        for identity in run.alike:
            other = kept.get(identity) or replace(run, identity=identity, folder=run.folder.with_name(identity))
            if identity in kept or other.finished:
                return replace(run, identity=identity, folder=other.folder, config=other.config)
        kept[run.identity] = run
        return run

    return [[standing_for(run) for run in plan] for plan in plans]
