"""The process of `canarec api`: its parts in the order in which they start, and their end in order. Routes are `streams.api`'s."""

import asyncio
import ipaddress
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from models.config import Applied
from models.errors import CanarecError, UsageError
from streams.api import Api
from streams.clients import Cluster
from streams.gateway import Gateway
from streams.home import Home
from streams.live import Followers
from streams.lookups import Lookups

log = structlog.get_logger()

DEFAULT_PORT = 8082
TOKEN = "CANAREC_API_TOKEN"
FATAL_EXIT = 70
REPLIES_S = 1.0  # for replies that are being written at the end
SECOND_SIGNAL_S = 1.0
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command was called with."""

    most_waiting: int = 1_000
    limit_s: float = 10.0
    token: str | None = None


def told(environment: Mapping[str, str]) -> str | None:
    """The token that is set, itself or by the name of a file that holds it; UsageError where that cannot be read."""
    if (path := environment.get(f"{TOKEN}_FILE")) and not environment.get(TOKEN):
        try:
            return Path(path).read_text(encoding="ascii", errors="replace").strip()
        except OSError as error:
            raise UsageError(f"{TOKEN}_FILE: {path}: {error.strerror}") from None
    return environment.get(TOKEN)


def token_for(host: str, token: str | None) -> str | None:
    """What must be shown; UsageError where none is set and others than this machine could ask.

    >>> token_for("127.0.0.1", None), token_for("127.0.0.1", ""), token_for("0.0.0.0", "of sixteen signs")
    (None, None, 'of sixteen signs')
    """
    if not token:
        if not _is_loopback(host):
            raise UsageError(f"--host {host} lets other machines ask: set {TOKEN} to what they have to show")
        return None
    if not (token.isascii() and token.isprintable() and token == token.strip()):
        raise UsageError(f"{TOKEN}: only ASCII characters that can be printed, no space at either end")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. CanarecError where it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        advice = (
            "; 0 takes any free one" if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else ""
        )
        raise CanarecError(f"--host {host} --port {port}: {error.strerror}{advice}") from None


def run(home: Home, cluster: Cluster, applied: Applied, listener: socket.socket, settings: Settings) -> int:
    """Answers until SIGTERM or SIGINT; the exit code. CanarecError, KafkaException where it cannot begin."""
    sys.setswitchinterval(0.0005)  # short turns: an answer must not wait while a page's figures are counted
    return asyncio.run(_run(home, cluster, applied, listener, settings))


async def _run(home: Home, cluster: Cluster, applied: Applied, listener: socket.socket, settings: Settings) -> int:
    loop, ending = asyncio.get_running_loop(), _ending()
    gateway = Gateway(cluster, applied, most_waiting=settings.most_waiting, limit_s=settings.limit_s, on_fatal=_die)
    await gateway.start()
    followers = await loop.run_in_executor(None, lambda: Followers(cluster, applied, on_fatal=_die))
    await loop.run_in_executor(None, followers.start)
    lookups = Lookups(home, cluster.bootstrap_servers)
    api = Api(gateway, followers, lookups, token=settings.token)
    runner = web.AppRunner(api.app(), access_log=None, shutdown_timeout=REPLIES_S)
    await runner.setup()
    site = web.SockSite(runner, listener)
    await site.start()
    log.info("api answers", port=listener.getsockname()[1])
    telling, stopping = asyncio.create_task(api.tell_pages()), asyncio.create_task(ending.wait())
    await asyncio.wait({telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await site.stop()
    await api.stop()
    await runner.cleanup()
    await gateway.stop()
    await loop.run_in_executor(None, followers.stop)
    await telling
    log.info("api stopped")
    return 0


def _ending() -> asyncio.Event:
    """Set by the first signal; a second one, a second or more later, ends the process at once."""
    ending, first = asyncio.Event(), 0.0

    def received() -> None:
        nonlocal first
        if not first:
            first = time.monotonic()
            ending.set()
        elif time.monotonic() - first >= SECOND_SIGNAL_S:
            os._exit(130)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, received)
    return ending


def _die() -> None:
    """A thread has died: whoever watches over this process starts it again."""
    os._exit(FATAL_EXIT)
