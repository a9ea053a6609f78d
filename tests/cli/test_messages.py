"""What a command says when it ends early."""

import contextlib
import signal

import pytest

from mtlbench.cli.messages import explained


def test_an_interrupt_that_an_import_swallows_ends_the_command_as_interrupted(capsys: pytest.CaptureFixture[str]):
    """numpy's C extension loses a KeyboardInterrupt; its import then fails with an AttributeError."""
    with explained() as status:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise AttributeError("module 'numpy._core' has no attribute '_multiarray_umath'")
    assert status.code == 130
    assert capsys.readouterr().err == "mtlbench: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_bug_keeps_its_traceback():
    with pytest.raises(AttributeError), explained():
        raise AttributeError
