"""A worker whose machine's clock is an hour ahead.

python skewed_worker.py HOME BOOTSTRAP_SERVERS
"""

import asyncio
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from streams import logs
from streams.app import build_app
from streams.clock import BrokerClock
from streams.home import Home
from streams.worker import _run

BrokerClock.local_ms = staticmethod(lambda: (time.time() + 3_600) * 1000)

if __name__ == "__main__":
    logs.configure(level="info")
    home = Home(Path(sys.argv[1]))
    asyncio.run(_run(build_app(home, home.cluster(sys.argv[2]), home.load(), "skewed")))
