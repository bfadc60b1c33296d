"""A worker of the real parts, but for one: its scoring raises once for each user called `fails…`.

    python flaky_worker.py HOME BOOTSTRAP_SERVERS

For a user called `fails-together…` only where several batches are scored in one call.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import ClassVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from models import wire
from streams import logs
from streams.agents.requests import Requests
from streams.app import Parts, build_app
from streams.home import Home
from streams.worker import _run

NAME = "flaky"


class FlakyRequests(Requests):
    failed: ClassVar[set[str]] = set()

    def answer(self, batches):
        outputs = super().answer(batches)  # so that all that it changes has been changed
        for message in (message for batch in batches for message in batch.messages):
            user = wire.readable_user_id(message.value()) or ""
            if not user.startswith("fails") or user in self.failed:
                continue
            if user.startswith("fails-together") and len(batches) == 1:
                continue
            self.failed.add(user)
            print(f"scoring raises for {user}", file=sys.stderr, flush=True)
            raise RuntimeError(f"this scoring fails for {user}")
        return outputs


class FlakyParts(Parts):
    requests_of = FlakyRequests


if __name__ == "__main__":
    logs.configure(level="info")
    home = Home(Path(sys.argv[1]))
    asyncio.run(_run(build_app(home, home.cluster(sys.argv[2]), home.load(), NAME, FlakyParts)))
