"""A real browser without a window, driven by W3C WebDriver: chromium through its chromedriver."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {
    "Escape": "\ue00c",
    "Enter": "\ue007",
    "Left": "\ue012",
    "Right": "\ue014",
    "Home": "\ue011",
    "Tab": "\ue004",
}


def missing() -> str | None:
    """Say what of a browser is missing here, if anything is."""
    names = {
        "a chromium": ("chromium", "chromium-browser", "google-chrome"),
        "its chromedriver": ("chromedriver",),
    }
    lacking = [what for what, each in names.items() if not any(map(shutil.which, each))]
    return f"there is no {' and no '.join(lacking)} here" if lacking else None


class WebDriverError(Exception):
    """What the driver says went wrong."""


class Browser:
    """One window of a browser."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-extensions",
        ]
        arguments += [
            f"--user-data-dir={folder}",
            "--window-size=1300,900",
            "--no-first-run",
            "--disable-background-networking",
        ]
        options = {"binary": program, "args": arguments}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        found = self._ask("POST", "/session", {"capabilities": wanted})
        self._session = f"/session/{found['sessionId']}"

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._address + path, content, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise WebDriverError(json.load(error)["value"]["message"]) from error

    def open(self, path: Path) -> None:
        """Open a file, and wait until the page's script has run."""
        self._ask("POST", f"{self._session}/url", {"url": path.resolve().as_uri()})
        self.wait("return document.documentElement.dataset.ready !== undefined")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script as the browser's own tools do, which the page's policy doesn't bind."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str) -> Any:
        """Run a script whose last argument is called with its result."""
        return self._ask("POST", f"{self._session}/execute/async", {"script": script, "args": []})

    def wait(self, script: str, seconds: float = 30.0) -> None:
        """Wait until a script returns true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            if time.monotonic() > end:
                raise AssertionError(f"not true after {seconds} s: {script}")
            time.sleep(0.02)

    def find(self, selector: str) -> str:
        """Find an element."""
        found = self._ask("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def click(self, selector: str) -> None:
        """Click an element as a person does, who must be able to see it."""
        self._ask("POST", f"{self._session}/element/{self.find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        self._ask("POST", f"{self._session}/element/{self.find(selector)}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        actions = [
            {"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")
        ]
        self._ask(
            "POST",
            f"{self._session}/actions",
            {"actions": [{"type": "key", "id": "keys", "actions": actions}]},
        )

    def drag(self, selector: str, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Drag the mouse between two points, in pixels from the element's middle."""
        origin = {_ELEMENT: self.find(selector)}
        points = [
            {"type": "pointerMove", "duration": 0, "origin": origin, "x": x, "y": y} for x, y in (start, end)
        ]
        steps = [
            points[0],
            {"type": "pointerDown", "button": 0},
            points[1],
            {"type": "pointerUp", "button": 0},
        ]
        pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self._ask("POST", f"{self._session}/actions", {"actions": [pointer]})

    def screenshot(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(self._ask("GET", f"{self._session}/screenshot")))

    def media(self, **features: str) -> None:
        """Emulate what a person prefers, such as prefers_color_scheme="dark"."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        body = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": wanted}}
        self._ask("POST", f"{self._session}/goog/cdp/execute", body)

    def console(self) -> list[str]:
        """Take what was written to the console since the last time."""
        found = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        return [str(entry["message"]) for entry in found]

    def close(self) -> None:
        """Close the window."""
        with contextlib.suppress(WebDriverError, OSError):
            self._ask("DELETE", self._session)


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Browser]:
    """Start a browser that keeps its files in `folder`."""
    environment = {**os.environ, "HOME": str(folder)}
    with subprocess.Popen(
        ["chromedriver", "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as driver:
        try:
            assert driver.stdout is not None
            for line in driver.stdout:
                if found := re.search(r"successfully on port (\d+)", line):
                    break
            else:
                raise WebDriverError("chromedriver did not start")
            browser = Browser(f"http://127.0.0.1:{found[1]}", folder / "profile")
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()
