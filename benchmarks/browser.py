"""A real browser on a real server of `flow.explore`, for what is measured and tested there."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--window-size=1440,1200",
)  # fmt: skip
PATIENCE = 90.0

_MODEL = "const m = (name) => Bokeh.documents[0].get_model_by_name(name);"
_PLACE = """
const [name, x, y, range] = arguments, view = Bokeh.index.find_one(m(name)), frame = view.frame
view.el.scrollIntoView({block: "center"})
const {left, top} = view.canvas_view.el.getBoundingClientRect()
const down = range == null ? frame.y_scale : frame.y_scales.get(range)
return [left + frame.x_scale.compute(x), top + down.compute(y)]
"""
_PRESS = """
const pressed = (root, text) => {
  for (const e of root.querySelectorAll("*")) {
    if (e.tagName == "BUTTON" && e.textContent.trim() == text) { e.click(); return true }
    if (e.shadowRoot && pressed(e.shadowRoot, text)) return true
  }
  return false
}
return pressed(document, arguments[0])
"""


@contextmanager
def server() -> Iterator[str]:
    """The address of a page that is served."""
    command = [sys.executable, "-m", "flow.explore", "--no-browser"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split("?")[0]
        finally:
            process.send_signal(signal.SIGINT)


class Browser:
    """A headless Chromium.

    folder : where downloads go.
    log : whether it keeps what the network does and what scripts complain of, which costs time.
    """

    def __init__(self, folder: Path, *, log: bool = True) -> None:
        options = Options()
        for flag in FLAGS:
            options.add_argument(flag)
        options.binary_location = str(CHROMIUM)
        if log:
            options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        downloads = {
            "download.default_directory": str(folder),
            "profile.default_content_setting_values.automatic_downloads": 1,
        }
        options.add_experimental_option("prefs", downloads)
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        self.driver.set_script_timeout(PATIENCE)

    def close(self) -> None:
        self.driver.quit()

    def run(self, script: str, *arguments: Any) -> Any:
        """What JavaScript returns, in which m(name) is a model."""
        return self.driver.execute_script(_MODEL + script, *arguments)

    def shown(self) -> int:
        return self.driver.execute_script("return window.explore_shown ?? 0")

    def wait(self, script: str, *arguments: Any) -> None:
        """Until JavaScript returns true."""
        end = time.monotonic() + PATIENCE
        while not self.driver.execute_script(
            f"try {{ {_MODEL} {script} }} catch (_) {{ return false }}", *arguments
        ):
            assert time.monotonic() < end, f"{script}: {self.status()}"
            time.sleep(0.05)

    def open(self, address: str) -> None:
        """Until the page shows a run."""
        self.driver.get("about:blank")
        self.driver.get(address)
        self.wait("return window.explore_shown > 0 && m('frames').data.t.length > 0")

    def press(self, text: str) -> None:
        assert self.driver.execute_script(_PRESS, text), text

    def point(self, figure: str, x: float, y: float, *, lanes: str | None = None) -> None:
        """Move the pointer to (x, y) of a figure."""
        self._pointer("mouseMoved", *self.run(_PLACE, figure, x, y, lanes))

    def click(self, figure: str, x: float, y: float) -> None:
        """Click at (x, y) of a figure."""
        where = self.run(_PLACE, figure, x, y, None)
        for what in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._pointer(what, *where)

    def _pointer(self, what: str, x: float, y: float) -> None:
        button = {} if what == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.driver.execute_cdp_cmd(
            "Input.dispatchMouseEvent", {"type": what, "x": x, "y": y, **button}
        )

    def key(self, key: str) -> None:
        """Press a key where the focus is."""
        for what in ("keyDown", "keyUp"):
            self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": what, "key": key})

    def status(self) -> str:
        return str(self.run("return m('status').text + ' ' + m('progress').text"))

    def link(self) -> str:
        return str(self.driver.execute_script("return location.search"))

    def codes(self, frame: int = -1) -> np.ndarray:
        """Codes of W : (n, m) in a frame."""
        flat, shape = self.run(
            "const w = m('frames').data.W.at(arguments[0]); return [Array.from(w), w.shape]", frame
        )
        return np.array(flat, np.uint8).reshape(shape)

    def messages(self) -> list[dict[str, Any]]:
        """What the network did since the last call."""
        log = self.driver.get_log("performance")
        return [json.loads(entry["message"])["message"] for entry in log]

    def errors(self) -> list[str]:
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]


def asked(messages: list[dict[str, Any]]) -> list[str]:
    """Addresses that were asked for, without what stays in the page."""
    found = [
        message["params"].get("request", {}).get("url") or message["params"].get("url", "")
        for message in messages
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated")
    ]
    return [url for url in found if not re.match(r"(data|blob|about|chrome)", url)]


def sent(messages: list[dict[str, Any]]) -> int:
    """Messages that the page sent to the server."""
    return sum(message["method"] == "Network.webSocketFrameSent" for message in messages)
