"""A headless Chromium driven over its DevTools protocol: open a page, look at it, listen.

The messages are those of https://chromedevtools.github.io/devtools-protocol/.
"""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

BINARIES = ("chromium", "chromium-browser", "google-chrome")
BINARY = next((found for name in BINARIES if (found := shutil.which(name))), None)
PATIENCE = 60.0  # seconds, for a machine that does other work beside


class Tab:
    """One tab: what it shows, and every complaint of it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command and return its result; events that come meanwhile are kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])
            self._hear(message)

    def _hear(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(params["entry"]))

    def open(self, page: Path, *, width: int = 1280, dark: bool = False) -> None:
        """Show a page at a width, in a scheme, and wait until its figures stand."""
        self.complaints.clear()
        self.requests.clear()
        self._loaded = False
        phone = width < 600
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        self.tell("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.scheme(dark=dark)
        self.tell("Page.navigate", url=page.resolve().as_uri())
        deadline = time.monotonic() + PATIENCE
        while not self._loaded:
            assert time.monotonic() < deadline, f"{page.name} was not loaded in {PATIENCE} s"
            self._hear(json.loads(self._socket.recv(timeout=PATIENCE)))
        self.settle()

    def scheme(self, *, dark: bool) -> None:
        """Prefer a dark screen, or a light one."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.tell("Emulation.setEmulatedMedia", media="", features=features)

    def settle(self) -> None:
        """Wait for two frames: what a script has drawn by then stands."""
        self.ask("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def ask(self, expression: str) -> Any:
        """Evaluate JavaScript and return its value; a promise is waited for."""
        found = self.tell(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def photograph(self, file: Path) -> None:
        """Write the whole page, from top to bottom, as PNG."""
        size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.tell("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """Start a browser of its own without a window, and end it with everything that it started."""
    assert BINARY is not None
    command = [
        *(BINARY, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={profile}"),
        *("--disable-background-networking", "--hide-scrollbars", "about:blank"),
    ]
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with connect(_address(process, profile), max_size=None) as browser:
                with connect(_tab_address(browser), max_size=None) as socket:
                    yield Tab(socket)
        finally:
            process.terminate()
            try:
                process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], profile: Path) -> str:
    """Read where the browser listens, as soon as it says so."""
    file, deadline = profile / "DevToolsActivePort", time.monotonic() + PATIENCE
    while not file.exists() or len(lines := file.read_text().splitlines()) < 2:
        assert process.poll() is None, f"{BINARY} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{BINARY} did not start in {PATIENCE} s"
        time.sleep(0.05)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"


def _tab_address(browser: ClientConnection) -> str:
    """Open a tab and name its own socket beside the browser's."""
    browser.send(
        json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}})
    )
    while (message := json.loads(browser.recv(timeout=PATIENCE))).get("id") != 1:
        pass
    host, port = browser.remote_address[:2]
    return f"ws://{host}:{port}/devtools/page/{message['result']['targetId']}"
