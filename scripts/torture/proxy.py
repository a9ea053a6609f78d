"""A proxy in front of a tracking server that answers late, slowly, wrongly or never; a process of its own."""

import asyncio
import contextlib
import os
import random
import signal
import socket

LATENCY = 2.5
"""Seconds by which a slow server delays every answer."""

LATE = 20.0
"""Seconds by which a late server delays the answer of the one request that creates a run."""

WRONG = {
    "answers with garbage": lambda: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\nConnection: close\r\n\r\n" + random.randbytes(400)
    ),
    "answers no HTTP at all": lambda: random.randbytes(400),
    "is another one (a web page)": lambda: (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>"
    ),
    "answers HTTP 500": lambda: b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}",
    "answers JSON of another kind": lambda: (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n[1]"
    ),
}
"""Answers that never come from the server behind."""


class Proxy:
    """Passes requests on to a local port, with a fault."""

    def __init__(self, upstream: int, fault: str, port: int = 0) -> None:
        listener = socket.create_server(("127.0.0.1", port))
        self.port = listener.getsockname()[1]
        self.process = os.fork()
        if self.process == 0:
            try:
                os.setsid()
                asyncio.run(_serve(listener, upstream, fault))
            finally:
                os._exit(0)
        listener.close()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process, number)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)


async def _serve(listener: socket.socket, upstream: int, fault: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await _answer(reader, writer, upstream, fault)
        with contextlib.suppress(OSError):
            writer.close()

    server = await asyncio.start_server(answer, sock=listener)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: int, fault: str) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [text for text in head.split(b"\r\n") if not text.lower().startswith(b"connection:")]
    sizes = [int(text.split(b":")[1]) for text in lines if text.lower().startswith(b"content-length:")]
    body = await reader.readexactly(sizes[0]) if sizes else b""
    if fault == "never answers":
        await asyncio.sleep(3600)
    if fault in WRONG:
        writer.write(WRONG[fault]())
        await writer.drain()
        return
    inner, outer = await asyncio.open_connection("127.0.0.1", upstream)
    outer.write(b"\r\n".join([lines[0], b"Connection: close", *lines[1:]]) + body)
    await outer.drain()
    reply = await inner.read()
    outer.close()
    if fault == "is slow":
        await asyncio.sleep(LATENCY)
    if fault == "answers the creation of a run late" and b"/runs/create" in lines[0]:
        await asyncio.sleep(LATE)
    if fault == "sends one byte a second":
        for byte in reply:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1)
    writer.write(reply[: len(reply) // 2] if fault == "breaks off half-way" else reply)
    await writer.drain()
