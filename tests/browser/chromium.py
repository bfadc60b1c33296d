"""A headless Chromium, driven over its DevTools protocol: what a person at the page does and sees.

https://chromedevtools.github.io/devtools-protocol/ over the web socket of aiohttp, which canarec brings: no driver, no further package.
"""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

from aiohttp import ClientSession

from streams import processes
from tests.waiting import wait_for

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium here: `apt-get install chromium`, or name one in CANAREC_BROWSER"
START_S, PATIENCE_S = 60, 30


def executable():
    """The path of a Chromium, or None."""
    if named := os.environ.get("CANAREC_BROWSER"):
        return shutil.which(named)
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """The browser's process. `folder` gets its profile and its log."""

    def __init__(self, path, folder):
        self.log = folder / "chromium.log"
        command = [
            path,
            *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}", "about:blank"),
        ]
        with self.log.open("wb") as log:
            self.process = processes.start(command, stdout=subprocess.DEVNULL, stderr=log)
        self.address = wait_for(self._listening, "Chromium", START_S, between=self._look, said=self._said)[1]

    def _listening(self):
        return re.search(r"DevTools listening on ws://([^/]+)/", self._said())

    def _look(self):
        assert self.process.poll() is None, self._said()

    def _said(self):
        return self.log.read_text(errors="replace")

    def tab(self):
        request = urllib.request.Request(f"http://{self.address}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return Tab(json.load(answer)["webSocketDebuggerUrl"])

    def stop(self):
        processes.kill(self.process)
        self.process.wait()


class Tab:
    """One page. `complaints`: errors of scripts, refused loads and the like, as the browser's console has them."""

    def __init__(self, address):
        self._loop, self._number = asyncio.new_event_loop(), 0
        self.complaints = []
        self._loop.run_until_complete(self._connect(address))
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.bringToFront")  # keys go to the page in front
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    async def _connect(self, address):
        self._session = ClientSession()
        self._socket = await self._session.ws_connect(address, max_msg_size=0)

    def call(self, method, **parameters):
        """One command's result."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, parameters), PATIENCE_S))

    async def _call(self, method, parameters):
        self._number += 1
        number = self._number
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            told = await self._socket.receive_json()
            if told.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(told["params"]["exceptionDetails"].get("exception", {}).get("description")))
            elif told.get("method") == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.complaints.append(told["params"]["entry"]["text"])
            elif told.get("id") == number:
                assert "error" not in told, told
                return told["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'", url)

    def js(self, expression):
        """The value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, expression, what, seconds=PATIENCE_S):
        """What the expression gives once that is true."""
        return wait_for(lambda: self.js(expression), what, seconds, said=lambda: self.text()[:3_000], every_s=0.1)

    def text(self, selector="body"):
        """What is to be read there."""
        return self.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def screen(self, width, height=900, *, dark=False, phone=False):
        """Of this size, light or dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key, code=0):
        """A key, as a keyboard sends it."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **named, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, selector, text):
        """Text into a field."""
        self.js(f"document.querySelector({json.dumps(selector)}).focus()")
        self.js(f"document.querySelector({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=text)

    def screenshot(self, path):
        """The whole page as a picture."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        async def end():
            await self._socket.send_json({"id": 0, "method": "Page.close"})
            await self._socket.close()
            await self._session.close()

        self._loop.run_until_complete(end())
        self._loop.close()
