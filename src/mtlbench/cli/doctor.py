"""``mtlbench doctor``: checks the installation, the device, the stores and the tracker."""

import click

from mtlbench.cli import arguments


@click.command(cls=arguments.Command)
@arguments.overrides()
def command(overrides: list[str]) -> int:
    """Check the installation, the device, the stores and the tracker.

    Files of prepared stores are verified against their SHA-256 (0.7 s of CPU time per gigabyte). The exit status is 1
    if any check fails.

    \b
    Keys: run.folder=runs, run.data=data, run.tracker.uri
    Example:
      mtlbench doctor run.data=/data
    """
    from mtlbench.cli.compose import compose
    from mtlbench.experiment.environment import checks

    ok = True
    for name, state, good in checks(compose(overrides)):
        ok = ok and good
        print(f"  {'ok' if good else 'NO':<4}{name:<18}{state}")
    return 0 if ok else 1
