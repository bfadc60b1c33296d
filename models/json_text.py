"""JSON text changed in place: what keeps its value keeps its bytes, so that a file stays as people have written it.

Takes and gives text; knows nothing of what it means.
"""

import json
import re
from typing import Any, NamedTuple, cast

_SPACE = re.compile(r"[ \t\n\r]*")
_decoder = json.JSONDecoder()


class _Member(NamedTuple):
    key: str
    begin: int  # of the key
    value: int
    end: int


def changed(text: str, new: dict[str, Any]) -> str:
    """The text of an object with other values. Members with the same value, and the order, stay; new ones come last.

    An object that loses a member, or that has a key twice, is written anew as a whole.

    >>> changed('{"a": [1,\\n2], "b": {"c" : 1}}', {"a": [1, 2], "b": {"c": 2, "d": None}})
    '{"a": [1,\\n2], "b": {"c" : 2, "d": null}}'
    """
    begin = _skip(text, 0)
    value, end = _decoder.raw_decode(text, begin)
    return text[:begin] + _rewritten(text, begin, end, value, new) + text[end:]


def _rewritten(text: str, begin: int, end: int, old: Any, new: Any) -> str:
    if _same(old, new):
        return text[begin:end]
    if not (isinstance(old, dict) and old and isinstance(new, dict)):
        return _written(new)
    members = _members(text, begin)
    keys = [member.key for member in members]
    if keys != list(old) or keys != list(new)[: len(keys)]:
        return _written(new)
    pieces, at = [], begin
    for member in members:
        value = _rewritten(text, member.value, member.end, old[member.key], new[member.key])
        pieces += [text[at : member.value], value]
        at = member.end
    before_a_key = text[_skip_back(text, members[-1].begin) : members[-1].begin] or " "
    if len(members) == 1 and "\n" not in before_a_key:
        before_a_key = " "
    for key in list(new)[len(keys) :]:
        pieces.append(f",{before_a_key}{_written(key)}: {_written(new[key])}")
    return "".join(pieces) + text[at:end]


def _members(text: str, begin: int) -> list[_Member]:
    """The members of the object that begins there. The text is JSON: it was parsed before."""
    found, at = [], _skip(text, begin + 1)
    while text[at] != "}":
        key, after = _decoder.raw_decode(text, at)
        value = _skip(text, _skip(text, after) + 1)
        end = _decoder.raw_decode(text, value)[1]
        found.append(_Member(key, at, value, end))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1, 1.0 and true are three values."""
    return _written(one) == _written(other)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _skip(text: str, at: int) -> int:
    return cast("re.Match[str]", _SPACE.match(text, at)).end()


def _skip_back(text: str, at: int) -> int:
    while text[at - 1] in " \t\n\r":
        at -= 1
    return at
