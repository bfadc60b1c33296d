"""Commands that a text suggests, made so that they work as they stand: called as this one was, with the options that it was given."""

import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import click

_SUGGESTED = re.compile(r"`canarec ([^`]+)`")


def complete(text: str, given: Mapping[str, str]) -> str:
    """The text, each command in it with those of the given options that it takes.

    >>> complete("nobody answers: `canarec worker` starts one", {"--home": "/srv/my shop"})
    "nobody answers: `canarec worker --home '/srv/my shop'` starts one"
    >>> complete("`canarec models verify`", {"--bootstrap-servers": "kafka:9092"})
    '`canarec models verify`'
    """
    return _SUGGESTED.sub(lambda found: f"`{suggestion(found[1], given)}`", text)


def suggestion(words: str, given: Mapping[str, str]) -> str:
    """One command of canarec as it is to be typed."""
    takes = _options(words.split())
    options = [f"{name} {shlex.quote(value)}" for name, value in sorted(given.items(), reverse=True) if name in takes]
    return " ".join([program(sys.argv[0]), words, *options])


def program(called: str) -> str:
    """What `canarec` is called by here: its name where the shell finds it, else the path that it was called by.

    >>> program("-c")
    'canarec'
    >>> program("my venv/bin/canarec")
    "'my venv/bin/canarec'"
    """
    if Path(called).name != "canarec" or called == shutil.which("canarec"):
        return "canarec"
    return shlex.quote(called)


def _options(words: list[str]) -> set[str]:
    from streams.cli import canarec

    found: click.Command | None = canarec
    for word in words:
        if isinstance(found, click.Group):
            found = found.get_command(click.Context(found), word)
    return {option for parameter in found.params for option in parameter.opts} if found is not None else set()
