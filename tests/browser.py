"""A headless Chromium that tests drive through its debugging pipe: no driver, no package, no port."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-pipe", "--window-size=1500,1200",
)  # fmt: skip
LOCAL = ("file:", "data:", "blob:", "about:", "devtools:")


def installed() -> str | None:
    """The browser's program, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page of the browser.

    Attributes:
        errors: uncaught exceptions, and what the page or the browser wrote to the console as an error.
        requests: addresses that the page asked for, other than files and data.
    """

    def __init__(self, out: int, into: int) -> None:
        self._out, self._into, self._number, self._buffer = out, into, 0, b""
        self.session = ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.loaded = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser, and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        for answer in self._messages(60):
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])
        raise AssertionError(f"{method}: no answer from the browser")

    def open(self, path: Path) -> None:
        """Load a file, and wait until it is there."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.errors, self.requests, self.loaded = [], [], False
        self.call("Page.navigate", url=path.resolve().as_uri())
        for _ in self._messages(60):
            if self.loaded:
                return
        raise AssertionError(f"{path.name} was not loaded")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < end, f"{condition} never came true; {self.errors}"
            time.sleep(0.1)

    def settle(self) -> None:
        """Let the page draw twice."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def picture(self, selector: str = "", *, whole: bool = False) -> bytes:
        """A PNG of what is seen, of one element, or of the ``whole`` page."""
        clip = {}
        if selector:
            box = self.run(
                f"(r => [r.x + scrollX, r.y + scrollY, r.width, r.height])"
                f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
            )
            clip = {"clip": dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}}
        self.settle()
        answer = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=bool(selector or whole), **clip
        )
        return base64.b64decode(answer["data"])

    def _messages(self, seconds: float) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            while b"\0" in self._buffer:
                text, _, self._buffer = self._buffer.partition(b"\0")
                message = json.loads(text)
                self._note(message)
                yield message
            if select.select([self._into], [], [], left)[0]:
                self._buffer += os.read(self._into, 1 << 20)

    def _note(self, message: dict[str, Any]) -> None:
        method, told = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(part.get("value", part.get("description"))) for part in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not told["request"]["url"].startswith(LOCAL):
            self.requests.append(told["request"]["url"])


@contextmanager
def opened(profile: Path) -> Iterator[Page]:
    """A browser with one empty page; its profile goes to the folder ``profile``."""
    program = installed()
    assert program is not None
    (to_browser, out), (into, from_browser) = os.pipe(), os.pipe()
    options = " ".join((*OPTIONS, f"--user-data-dir='{profile}'", "about:blank"))
    command = f"exec {program} {options} 3<&{to_browser} 4>&{from_browser}"
    with subprocess.Popen(
        ["bash", "-c", command], pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        try:
            page = Page(out, into)
            target = page.call("Target.createTarget", url="about:blank")["targetId"]
            page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            yield page
        finally:
            process.terminate()
            os.close(out)
            os.close(into)
