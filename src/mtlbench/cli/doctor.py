"""``mtlbench doctor``: what is installed, what the machine offers, what can be reached."""

import click

from mtlbench.cli import arguments


@click.command(cls=arguments.Command)
@arguments.overrides()
def command(overrides: list[str]) -> int:
    """Check the installation, the device, stores and tracker.

    The files of prepared stores are read whole (SHA-256: 0.7 s of CPU time per gigabyte). Exit status 1 where something
    is not in order.

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
