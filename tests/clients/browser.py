"""Headless Chromium, for tests of pages as people see them."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# The sandbox does not work for root, the user of most containers.
OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--hide-scrollbars",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
# It reads calls from descriptor 3 and writes answers to 4.
SHELL = 'exec 3<&0 4>&1 </dev/null >/dev/null 2>&1; exec "$@"'


def installed() -> str | None:
    """Return the path of the first Chromium that is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a headless Chromium, controlled by its debugging protocol through a pipe."""

    def __init__(
        self, width: int = 1280, height: int = 720, *, scale: float = 1, phone: bool = False
    ) -> None:
        self._size = width, height
        self._scale = scale
        self._phone = phone
        self._calls = 0
        self._unread = b""
        self._session: dict[str, str] = {}

    def __enter__(self) -> Self:
        program = installed()
        assert program, f"none of {', '.join(NAMES)} is installed"
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        own = ("--window-size={},{}".format(*self._size), f"--user-data-dir={self._profile.name}")
        self._process = subprocess.Popen(
            ["sh", "-c", SHELL, "sh", program, *OPTIONS, *own, "about:blank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._attach()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._profile.cleanup()

    def _attach(self) -> None:
        pages = self.call("Target.getTargets")["targetInfos"]
        self._enter(next(p["targetId"] for p in pages if p["type"] == "page"))

    def _enter(self, target: str) -> None:
        """Direct the calls that follow to a page."""
        self._session = {}
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.resize(*self._size, scale=self._scale, phone=self._phone)

    def resize(self, width: int, height: int, *, scale: float = 1, phone: bool = False) -> None:
        """Show the page on a screen of another size, one with a touch screen if it is a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    @contextmanager
    def second_tab(self) -> Iterator[None]:
        """Direct calls to another tab until the context is left, when it is closed."""
        first, self._session = self._session, {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._enter(target)
        try:
            yield
        finally:
            self._session = {}
            self.call("Target.closeTarget", targetId=target)
            self._session = first

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the browser's answer to one call of its protocol."""
        self._calls += 1
        call = {"id": self._calls, "method": method, "params": parameters} | self._session
        assert self._process.stdin
        self._process.stdin.write(json.dumps(call).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        while b"\0" not in self._unread:
            more = self._process.stdout.read(1 << 20)
            assert more, "the browser has gone"
            self._unread += more
        message, self._unread = self._unread.split(b"\0", 1)
        return dict(json.loads(message))

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """Return the value of `script` in the page; a promise is awaited."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_until(self, script: str, timeout_s: float = 30) -> None:
        """Wait until `script` has a true value."""
        until = time.monotonic() + timeout_s
        while not self.evaluate(script):
            assert time.monotonic() < until, f"never came true: {script}"
            time.sleep(0.1)

    def press(self, key: str) -> None:
        """Press a key, which is a character or has a name such as ``Enter``."""
        text = key if len(key) == 1 else ""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text)

    def type(self, text: str) -> None:
        """Type `text` into the field that has the focus."""
        self.call("Input.insertText", text=text)

    def mouse(self, kind: str, x: float, y: float, clicks: int = 1) -> None:
        """Let the left button be ``Pressed`` or ``Released``, or the mouse be ``Moved`` with it."""
        button = {"button": "left", "buttons": 1, "clickCount": clicks}
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **button)

    def click(self, selector: str, clicks: int = 1) -> None:
        """Click into the middle of an element."""
        x, y, _, _ = self.box(selector)
        for count in range(1, clicks + 1):
            self.mouse("Pressed", x, y, count)
            self.mouse("Released", x, y, count)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Scroll to an element; return the x and y of its middle, its width and height."""
        x, y, width, height = self.evaluate(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{ block: "center" }});
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2, box.width, box.height];
        }})()""")
        return x, y, width, height

    def screenshot(self, path: Path) -> Path:
        """Write a screenshot of the page to `path`, a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
        return path
