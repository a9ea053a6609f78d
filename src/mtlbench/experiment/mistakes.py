"""Reports an exception in the user's own code as one message."""

import traceback
from collections.abc import Generator
from contextlib import contextmanager

from mtlbench.allowed import is_inside, own
from mtlbench.experiment.errors import ConfigError


@contextmanager
def mistakes(what: str, *, any_code: bool = False) -> Generator[None]:
    """Turn an exception from the user's own code into a `ConfigError` that names the line; others propagate.

    Args:
        what: the failed operation, the beginning of the message.
        any_code: whether errors raised outside the user's files count too, such as a call with the wrong signature.
    """
    try:
        yield
    except (ConfigError, MemoryError, ImportError):
        raise
    except Exception as error:
        frames = traceback.walk_tb(error.__traceback__)
        lines = [(f.f_code.co_filename, n) for f, n in frames if is_inside(f.f_globals.get("__name__", ""), own())]
        if isinstance(error, SyntaxError) and error.filename:
            lines.append((error.filename, error.lineno or 0))
        if not (lines or any_code):
            raise
        place = f" ({lines[-1][0]}, line {lines[-1][1]})" if lines else ""
        raise ConfigError(
            f"{what} failed: {type(error).__name__}: {error}{place}. MTLBENCH_TRACEBACK=1 shows the whole traceback"
        ) from error
