"""What an HTTP request asks for and shows of itself, and how one is refused. Knows no server and no topic."""

import base64
import binascii
import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from models import wire
from models.errors import BadMessage
from models.events import Request


class Refused(Exception):
    """A request that gets no list, and why."""

    def __init__(self, code: int, reason: str, error: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.code, self.reason, self.headers = code, reason, dict(headers or {})


def question(user_id: str, parameters: Iterable[tuple[str, str]], request_id: str) -> Request:
    """The request that a URL asks for. BadMessage as for any request; Refused for a parameter that is none, or comes twice.

    >>> question("42", [("n", "5"), ("genres", "Drama,War")], "r1")
    Request(request_id='r1', user_id='42', n=5, genres=('Drama', 'War'), exclude_seen=True, timestamp_ms=None)
    """
    fields: dict[str, Any] = {"request_id": request_id, "user_id": user_id}
    for name, value in parameters:
        if name not in _PARAMETERS:
            raise Refused(400, "unknown_parameter", f"{name[:80]!r} is none of {', '.join(_PARAMETERS)}")
        if name in fields and name != "genres":
            raise Refused(400, "unknown_parameter", f"{name}: given twice")
        read = _PARAMETERS[name](value)
        fields[name] = [*fields.get(name, ()), *read] if name == "genres" else read
    if fields.get("genres") == []:
        raise BadMessage("bad_genres", "genres: names none")
    return wire.request(msgspec.json.encode(fields))


def _number(text: str) -> int | str:
    """As JSON would have it; what is no whole number is left to be refused as any other."""
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) else text


_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "n": _number,
    "genres": lambda text: [name.strip() for name in text.split(",") if name.strip()],
    "exclude_seen": lambda text: _TRUTH.get(text.lower(), text),
}


def shown_token(authorization: str) -> bytes:
    """What a request shows: of Bearer the token, of Basic the password; nothing where it is neither.

    >>> shown_token("Bearer abc"), shown_token("Basic dTphYmM="), shown_token("abc")
    (b'abc', b'abc', b'')
    """
    scheme, _, shown = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return shown.strip().encode(errors="replace")
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, ValueError):
            return base64.b64decode(shown.strip(), validate=True).partition(b":")[2]
    return b""
