"""A headless Chromium for tests, spoken to by the DevTools protocol over two pipes (JSON, a zero byte between).

Its ``--window-size`` alone would not do: a window is never narrower than 500 pixels, a phone is.
"""

import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
PATIENCE = 60
"""Seconds after which a silent browser counts as broken."""


class Browser:
    """One open tab; ``complaints`` collects what its console and its exceptions say."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = os.fdopen(send, "wb"), os.fdopen(receive, "rb")
        self._count = 0
        self._rest = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Result of a command; events that arrive before it are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._send.write(json.dumps(message).encode() + b"\0")
        self._send.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def open(self, page: Path, *, width: int, dark: bool = False, height: int = 800) -> None:
        """Show a file in a window of that many CSS pixels."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, script: str) -> Any:
        """Value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """Exceptions, console messages and log entries since the page was opened."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event["params"] for event in self.events if event["method"] in kinds]

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def close(self) -> None:
        """End the browser and all its processes."""
        self._session = None
        self.call("Browser.close")
        self._send.close()
        self._receive.close()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._receive], [], [], PATIENCE)[0], "the browser is silent"
            piece = os.read(self._receive.fileno(), 1 << 16)
            assert piece, "the browser has gone"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, ended when the block ends."""
    assert CHROMIUM is not None
    its_input, our_output = os.pipe()
    our_input, its_output = os.pipe()
    # The browser reads file descriptor 3 and writes 4, whatever numbers the pipes have here.
    wire = f'exec "$@" 8<&{its_input} 9>&{its_output} 3<&8 4>&9 8<&- 9>&-'
    command = ["bash", "-c", wire, "bash", CHROMIUM, *ARGUMENTS, f"--user-data-dir={profile}"]
    with subprocess.Popen(command, pass_fds=(its_input, its_output), stderr=subprocess.DEVNULL) as process:
        os.close(its_input)
        os.close(its_output)
        try:
            opened = Browser(our_output, our_input)
            yield opened
            opened.close()
            process.wait(PATIENCE)
        finally:
            process.kill()
