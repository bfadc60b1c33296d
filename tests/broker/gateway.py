"""`canarec api` of an installation as a process, and what a client of it does. For tests of it, with a browser too."""

import http.client
import json
import os
import re
import time
from contextlib import contextmanager

from streams import processes
from streams.worker import child_command
from tests.waiting import PATIENCE_S, wait_for


class Api:
    """A running gateway of an installation."""

    def __init__(self, shop, *arguments, token=None):
        self.log = shop.home.path / f"api-{time.monotonic_ns()}.log"
        command = child_command("api", shop.home, shop.cluster.bootstrap_servers, "--port", "0", *arguments)
        environment = {**os.environ, **({"CANAREC_API_TOKEN": token} if token else {})}
        with self.log.open("wb") as log:
            self.process = processes.start(command, stdout=log, stderr=log, env=environment)
        self.port = int(self.wait(lambda: re.search(r":(\d+)/; Ctrl-C", self.log.read_text()))[1])
        self.wait(lambda: self.get("/health")[0] == 200)

    def wait(self, condition):
        return wait_for(condition, "the gateway", between=self._look, said=self.log.read_text)

    def _look(self):
        assert self.process.poll() is None, self.log.read_text()

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def get(self, path, *, method="GET", **headers):
        """Status, headers, body."""
        connection = self.connection()
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except OSError:
            return 0, {}, b""
        finally:
            connection.close()

    def json(self, path, **headers):
        status, _, body = self.get(path, Accept="application/json", **headers)
        return status, json.loads(body)

    def events(self, seconds=PATIENCE_S):
        """What the page is told: (part, JSON), as it comes."""
        connection = self.connection()
        connection.request("GET", "/events")
        response = connection.getresponse()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        until, name = time.monotonic() + seconds, None
        try:
            while time.monotonic() < until and (line := response.readline()):
                key, _, text = line.decode().rstrip("\n").partition(": ")
                if key == "event":
                    name = text
                elif key == "data":
                    yield name, json.loads(text)
        finally:
            connection.close()

    def told(self, wanted, condition):
        """The part of that name, once the condition holds."""
        return next(part for name, part in self.events() if name == wanted and condition(part))

    def metric(self, series):
        lines = self.get("/metrics")[2].decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(series + " ")), 0.0)

    def stop(self):
        return processes.stop(self.process, 10)


@contextmanager
def running(shop, *arguments, **options):
    api = Api(shop, *arguments, **options)
    try:
        yield api
    finally:
        api.stop()
