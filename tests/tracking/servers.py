"""MLflow servers in a thread of the test, healthy or with a fault, and servers that are none."""

import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from mtlbench.tracking.connect import ARTIFACTS, sqlite_uri

Handler = Callable[[socket.socket, threading.Event], None]
Fault = Callable[[str, Callable[[], list[bytes]]], list[bytes]]
"""Takes the path of a request and what answers it."""


@contextmanager
def socket_server(handle: Handler) -> Iterator[str]:
    """Gives every connection to `handle`, in a thread of its own; its URI has a password."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                handle(connection, ended)
            except OSError:
                return

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for each in (thread, *threads):
            each.join()


def silent(connection: socket.socket, ended: threading.Event) -> None:
    """Accepts and never answers, like a process that was paused."""
    ended.wait()


def trickling(connection: socket.socket, ended: threading.Event) -> None:
    """One byte every half second, for ever: no read times out."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not ended.wait(0.5):
        connection.sendall(b" ")


def wrong(connection: socket.socket, ended: threading.Event) -> None:
    """Some other web server."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>")


def dead_uri() -> str:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def mlflow_server(database: Path, fault: Fault = lambda _, answer: answer()) -> Iterator[str]:
    """MLflow's own server on a database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_module("starlette.middleware.wsgi")
        from mlflow.server import app, handlers
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(sqlite_uri(database), (database.parent / ARTIFACTS).as_uri())

    def serve(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return fault(environ["PATH_INFO"], lambda: list(app(environ, start_response)))

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  # werkzeug's name
            pass

    server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(handlers, "_tracking_store", store)
            yield f"http://127.0.0.1:{server.server_port}"
    finally:
        store.engine.dispose()
        server.shutdown()
        thread.join()
        server.server_close()


def slow(seconds: float) -> Fault:
    def fault(_: str, answer: Callable[[], list[bytes]]) -> list[bytes]:
        time.sleep(seconds)
        return answer()

    return fault
