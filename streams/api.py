"""The gateway over HTTP: routes, codes and headers. What is asked of the topics is `streams.gateway`'s, what the page shows `streams.live`'s.

    GET  /recommend/USER_ID?n=&genres=&exclude_seen=   ids joined by commas, or the answer as it came for Accept: application/json
    GET  /health  /metrics
    GET  /  /events                                    the live page, and what it shows as server-sent events
    GET  /users/USER_ID  /requests/REQUEST_ID          for the page: last answers, a provenance record
    GET  /requests/REQUEST_ID/why                      … with the watched movies that pulled each one in
    POST /requests/REQUEST_ID/replay                   … made again and compared

Every refusal has a reason: one line of text, or `{"reason", "error"}`.
"""

import asyncio
import contextlib
import hmac
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from models import wire
from models.errors import BadMessage
from streams import metrics
from streams.ask import NoAnswer
from streams.asked import Refused, question, shown_token
from streams.gateway import Busy, Gateway, NotTaken
from streams.live import Followers
from streams.lookups import Looked, Lookups, TooLong, TooMany

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
MOST_PAGES = 50
TELL_EVERY_S = 1.0
STILL_THERE_S = 15.0
OF_A_USER = 20
DRAIN_S = 2.0
NOT_FOUND = 4  # exit code of `canarec provenance`
RETRY = {"Retry-After": "1"}

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")
_CODES = {Busy: (503, "overloaded"), NotTaken: (503, "kafka_away"), NoAnswer: (504, "no_answer")}


class Page:
    """An open page: what changed and was not sent yet. Of each part only the newest, so a slow reader holds no memory."""

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self._parts, self._changed = dict(parts), asyncio.Event()
        self._changed.set()

    def tell(self, parts: Mapping[str, bytes]) -> None:
        self._parts.update(parts)
        self._changed.set()

    async def next(self, patience_s: float) -> dict[str, bytes]:
        """What is new; nothing where nothing came in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), patience_s)
        self._changed.clear()
        parts, self._parts = self._parts, {}
        return parts


class Api:
    """The application. `token`: what must be shown for everything but /health; None: whoever reaches the loopback may ask."""

    def __init__(self, gateway: Gateway, followers: Followers, lookups: Lookups, *, token: str | None) -> None:
        self._gateway, self._followers, self._lookups = gateway, followers, lookups
        self._token = None if token is None else token.encode()
        self._pages: set[Page] = set()
        self._shown: dict[str, bytes] = {}
        self._turning = asyncio.Lock()
        self._ending = False
        self._files = {path: ((PAGE / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}

    def app(self) -> web.Application:
        """Of one event loop."""
        app = web.Application(middlewares=[self._guard], client_max_size=1_024)
        app.on_response_prepare.append(_dress)
        app.add_routes(
            [
                web.get("/recommend/{user_id}", self.recommend, allow_head=False),
                web.get("/health", self.health),
                web.get("/metrics", self.metrics),
                web.get("/events", self.events, allow_head=False),
                web.get("/users/{user_id}", self.user),
                web.get("/requests/{request_id}", self.record),
                web.get("/requests/{request_id}/why", self.why),
                web.post("/requests/{request_id}/replay", self.replay),
                *(web.get(path, self.file) for path in FILES),
            ]
        )
        return app

    # -- for clients ------------------------------------------------------------------------------

    async def recommend(self, request: web.Request) -> web.Response:
        """Publishes a request and waits for its answer."""
        begun = time.monotonic()
        asked = question(request.match_info["user_id"], request.query.items(), uuid.uuid4().hex)
        named = {"X-Request-Id": asked.request_id}
        try:
            value = await self._gateway.ask(asked)
        except (Busy, NotTaken, NoAnswer) as error:
            code, reason = _CODES[type(error)]
            raise Refused(code, reason, str(error), {**named, **RETRY}) from None
        answer = msgspec.json.decode(value)
        if answer.get("status") == "rejected":
            raise Refused(400, str(answer.get("reason")), "the request was refused", named)
        metrics.API_LATENCY.observe(time.monotonic() - begun)
        headers = {**named, **_about(answer)}
        if wants_json(request):
            return web.Response(body=value, content_type="application/json", charset="utf-8", headers=headers)
        return web.Response(text=",".join(map(str, answer.get("recommendations") or ())), headers=headers)

    async def health(self, request: web.Request) -> web.Response:
        """200 while a request would go out and its answer be seen."""
        if not self._gateway.ready:
            return web.json_response({"status": "stopping" if self._ending else "no broker answers"}, status=503)
        return web.json_response({"status": "ok"})

    async def metrics(self, request: web.Request) -> web.Response:
        metrics.API_WAITING.set(self._gateway.waiting)
        metrics.API_PAGES.set(len(self._pages))
        metrics.API_READY.set(self._gateway.ready)
        return web.Response(body=generate_latest(metrics.API), headers={"Content-Type": CONTENT_TYPE_LATEST})

    # -- for the page -----------------------------------------------------------------------------

    async def file(self, request: web.Request) -> web.Response:
        content, kind = self._files[request.path]
        return web.Response(body=content, content_type=kind, charset="utf-8", headers={"Cache-Control": "no-cache"})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Everything once, then each part when it has changed."""
        if self._ending or len(self._pages) >= MOST_PAGES:
            raise Refused(503, "overloaded", f"{len(self._pages)} pages are open already", RETRY)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        if not self._pages:  # nobody has looked so far
            self._shown = await self._parts(show=True)
        page = Page(self._shown)
        self._pages.add(page)
        try:
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
            while not self._ending:
                parts = await page.next(STILL_THERE_S)
                told = [b"event: %b\ndata: %b\n\n" % (name.encode(), part) for name, part in parts.items()]
                await response.write(b"".join(told) or b": still there\n\n")
        except ConnectionResetError:
            pass  # the page was closed
        finally:
            self._pages.discard(page)
        return response

    async def user(self, request: web.Request) -> web.Response:
        """The last answers to a user, of those that are remembered."""
        user_id = _id("user_id", request.match_info["user_id"])
        loop = asyncio.get_running_loop()
        return _json({"answers": await loop.run_in_executor(None, self._followers.of_user, user_id, OF_A_USER)})

    async def record(self, request: web.Request) -> web.Response:
        return await self._look(request, "provenance show")

    async def why(self, request: web.Request) -> web.Response:
        return await self._look(request, "provenance show --explain")

    async def replay(self, request: web.Request) -> web.Response:
        return await self._look(request, "provenance replay")

    async def _look(self, request: web.Request, command: str) -> web.Response:
        request_id = _id("request_id", request.match_info["request_id"])
        try:
            looked = await self._lookups.run(command, request_id)
        except TooMany as error:
            raise Refused(503, "overloaded", str(error), RETRY) from None
        except TooLong as error:
            raise Refused(504, "no_answer", str(error)) from None
        return web.Response(body=_output(looked), content_type="application/json", charset="utf-8")

    # -- beside the requests ----------------------------------------------------------------------

    async def tell_pages(self) -> None:
        """Takes in what the topics say, once for all pages, and tells them what has changed."""
        while not self._ending:
            begun = time.monotonic()
            parts = await self._parts(show=bool(self._pages))
            changed = {name: part for name, part in parts.items() if self._shown.get(name) != part}
            self._shown = parts
            if changed:
                for page in self._pages:
                    page.tell(changed)
            await asyncio.sleep(max(0.0, TELL_EVERY_S - (time.monotonic() - begun)))

    async def stop(self) -> None:
        """Requests that wait get their answers or 503, pages are closed."""
        self._ending = True
        for page in self._pages:
            page.tell({})
        self._lookups.stop()
        await self._gateway.drain(DRAIN_S)

    async def _parts(self, *, show: bool) -> dict[str, bytes]:
        """Nobody looks: nothing is written down, but what comes is taken in."""
        async with self._turning:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, lambda: self._followers.turn(show=show))

    # -- every request ----------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets in, turns errors into replies, adds headers, counts."""
        route = request.match_info.handler.__name__ if request.match_info.route.resource is not None else "none"
        try:
            self._let_in(request, route)
            response = await handler(request)
        except Refused as refused:
            response = refusal(request, refused)
        except BadMessage as error:
            response = refusal(request, Refused(400, error.reason, str(error)))
        except web.HTTPException as error:
            names = {404: "not_found", 405: "wrong_method"}
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            reason = names.get(error.status, "bad_request")
            response = refusal(request, Refused(error.status, reason, error.reason, allow))
        metrics.API_REQUESTS.labels(route, str(response.status)).inc()
        return response

    def _let_in(self, request: web.Request, route: str) -> None:
        """Refused where it has no token, or where another site's page asks."""
        if route == "health":
            return
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Refused(403, "other_site", "another site's page may not ask")
        if self._token is None:
            # A name that somebody else's DNS leads here would make this machine's pages readable to that site
            if not _LOOPBACK.fullmatch(request.host):
                raise Refused(
                    403, "other_host", f"without a token only localhost is answered, not {request.host[:80]!r}"
                )
        elif not hmac.compare_digest(shown_token(request.headers.get("Authorization", "")), self._token):
            # Basic, too: a browser asks for it by itself, and shows it with every request of the page
            headers = {"WWW-Authenticate": 'Bearer, Basic realm="canarec: any name, the token as the password"'}
            raise Refused(401, "no_token", "Authorization: Bearer and the token are needed", headers)


async def _dress(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "canarec"


def wants_json(request: web.Request) -> bool:
    return "application/json" in request.headers.get("Accept", "").lower()


def refusal(request: web.Request, refused: Refused) -> web.Response:
    if wants_json(request):
        return _json({"reason": refused.reason, "error": str(refused)}, refused.code, refused.headers)
    return web.Response(text=f"{refused.reason}: {refused}\n", status=refused.code, headers=refused.headers)


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8", headers=headers)


def _id(name: str, value: str) -> str:
    return wire.checked_id(name, value)


def _about(answer: Mapping[str, Any]) -> dict[str, str]:
    """Of an answer, what a header can carry: for clients that read no JSON."""
    names = {"X-Status": "status", "X-Reason": "reason", "X-Model-Version": "model_version", "X-Variant": "variant"}
    found = {header: answer.get(name) for header, name in names.items()}
    return {header: told for header, told in found.items() if isinstance(told, str) and re.fullmatch(r"[\w.-]+", told)}


def _output(looked: Looked) -> bytes:
    """What a command wrote; Refused where it failed. Exit 3 is a replay that differs: an answer, too."""
    if looked.code == NOT_FOUND:
        raise Refused(404, "not_found", "there is no record of this request")
    if looked.code not in (0, 3):
        raise Refused(409, "failed", looked.complaint.removeprefix("canarec: ") or f"exit code {looked.code}")
    return looked.output
