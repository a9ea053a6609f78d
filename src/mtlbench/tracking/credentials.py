"""User names and passwords of tracking servers: kept separate from addresses, and redacted from all output.

`withheld` replaces an address that contains a password by one without, which configurations, messages and files then
contain. `complete` restores the password for the connection. In between it is in an environment variable, which child
processes inherit.
"""

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import TracebackType
from typing import Any, TextIO, cast
from urllib.parse import unquote

KEPT = "MTLBENCH_TRACKING_URIS"
"""Environment variable: complete addresses by their public form, as JSON."""

ENVIRONMENT_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Environment variables of MLflow with secret values."""

SHORTEST = 4
"""Minimum length of a secret that is redacted outside addresses; a shorter one would match parts of words."""

_USER = re.compile(r"(?<=://)(?:[^/?#\s'\"]*@|[^/?#\s@:]+:(?!\d+(?:[/?#\s]|$))[^\s'\"]*@)")
"""``user:password@``, even if the password contains a ``/`` that should have been percent-encoded."""

_PARAMETER = re.compile(
    r"([?&](?!viewStateShareKey=)[a-z_-]*(?:passw(?:or)?d|pwd|token|secret|key)=)([^&#\s'\"]*)", re.IGNORECASE
)
"""A query parameter with a secret: its name and value. That of MLflow's saved view (`saved_view`) is public."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^\s'\"]*@)?[^\s'\",}\]]*")


def without_password(uri: str) -> str:
    """The address without user, password and secret parameters, for files and messages."""
    place, _, query = _USER.sub("", uri).partition("?")
    kept = [parameter for parameter in query.split("&") if parameter and not _PARAMETER.match(f"?{parameter}")]
    return place + ("?" + "&".join(kept) if kept else "")


def withheld(text: str) -> str:
    """A text or command-line argument with credentials removed from its addresses; `complete` restores them."""
    return _ADDRESS.sub(_withheld, text)


def complete(uri: str) -> str:
    """The complete address for a public one from `withheld`; any other address is returned unchanged."""
    return _kept().get(uri, uri)


def redacted(text: str) -> str:
    """A text without credentials in addresses and without any other known secret."""
    if "://" in text:
        text = _PARAMETER.sub(r"\1***", _USER.sub("", text))
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


class RedactingFilter(logging.Filter):
    """Redacts log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), None
        return True


def _withheld(found: re.Match[str]) -> str:
    whole, shown = found.group(), without_password(found.group())
    if shown != whole:
        os.environ[KEPT] = json.dumps({**_kept(), shown: whole})
    return shown


def _kept() -> dict[str, str]:
    return json.loads(os.environ.get(KEPT) or "{}")


def _secrets() -> list[str]:
    """All secrets in the environment, in every form that may appear in a text, longest first."""
    uris = [*_kept().values(), os.environ.get("MLFLOW_TRACKING_URI", "")]
    plain = [os.environ.get(name, "") for name in ENVIRONMENT_SECRETS]
    found = {*plain, *(secret for uri in uris for part in _parts(uri) for secret in (part, unquote(part)))}
    return sorted((secret for secret in found if len(secret) >= SHORTEST), key=len, reverse=True)


def _parts(uri: str) -> Iterator[str]:
    """The password and the secret parameters of an address."""
    if user := _USER.search(uri):
        yield user.group()[:-1].partition(":")[2]
    yield from (found.group(2) for found in _PARAMETER.finditer(uri))


@contextmanager
def redacted_output() -> Generator[None]:
    """Redact known passwords from everything that this process prints, including tracebacks."""
    sys.excepthook = _print_traceback  # Python prints a traceback after the original streams are restored
    with redirect_stdout(cast(TextIO, _Redacted(sys.stdout))), redirect_stderr(cast(TextIO, _Redacted(sys.stderr))):
        yield


class _Redacted:
    """Wraps a stream and redacts texts written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))
