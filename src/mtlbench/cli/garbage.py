"""Python's collector of garbage, kept away from what lives until a command ends."""

import gc
from collections.abc import Generator
from contextlib import contextmanager

import click

OWN_PROCESS = "the process of this command alone"
"""The object of click's context where nothing in the process belongs to anybody else, see `mtlbench.cli.main`."""


@contextmanager
def nothing_is_garbage() -> Generator[None]:
    """For imports and plans: nothing is collected while they are made, and they are not looked through afterwards.

    Python would look through them while they grow and again at exit, which took 2.0 of 7.8 s of CPU for planning all
    tables and figures, and 1.2 of 4.0 s for a run of one step. In a process of the user's own, such as a notebook, this
    does nothing, since objects of the user would never be collected either.
    """
    context = click.get_current_context(silent=True)
    if context is None or context.find_root().obj != OWN_PROCESS:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
