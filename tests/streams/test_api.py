"""The gateway without Kafka: what a URL asks for, who is let in, what a page is sent. With Kafka: tests/broker/test_api.py."""

import asyncio
import base64
import re
import socket

import pytest

from models.errors import BadMessage, CanarecError, UsageError
from models.events import Request
from streams.api import FILES, PAGE, Page
from streams.asked import Refused, question, shown_token
from streams.serving import listen, token_for, told

SCRIPT = (PAGE / "page.js").read_text()
MARKUP = (PAGE / "index.html").read_text()


def asked(user="u1", **parameters):
    return question(user, parameters.items(), "r1")


@pytest.mark.parametrize(
    ("parameters", "request_"),
    [
        ({}, Request("r1", "u1")),
        ({"n": "5"}, Request("r1", "u1", 5)),
        ({"genres": "Drama, War"}, Request("r1", "u1", genres=("Drama", "War"))),
        ({"exclude_seen": "false"}, Request("r1", "u1", exclude_seen=False)),
        ({"exclude_seen": "1", "n": "100"}, Request("r1", "u1", 100)),
    ],
)
def test_a_url_asks_for_this(parameters, request_):
    assert asked(**parameters) == request_


@pytest.mark.parametrize(
    ("user", "parameters", "reason"),
    [
        ("u1", {"n": "0"}, "bad_n"),
        ("u1", {"n": "101"}, "bad_n"),
        ("u1", {"n": "-1"}, "bad_n"),
        ("u1", {"n": "ten"}, "wrong_type"),
        ("u1", {"n": "1.5"}, "wrong_type"),
        ("u1", {"n": "٣"}, "wrong_type"),
        ("u1", {"n": ""}, "wrong_type"),
        ("u1", {"n": "9" * 400}, "wrong_type"),
        ("u1", {"exclude_seen": "maybe"}, "wrong_type"),
        ("u1", {"genres": " , "}, "bad_genres"),
        ("u1", {"genres": "x" * 300}, "bad_genres"),
        ("u" * 257, {}, "bad_id"),
        ("a\nb", {}, "bad_id"),
    ],
)
def test_a_url_that_is_refused_has_a_reason(user, parameters, reason):
    with pytest.raises(BadMessage) as refused:
        asked(user, **parameters)
    assert refused.value.reason == reason


@pytest.mark.parametrize("query", [[("N", "5")], [("n", "5"), ("n", "6")], [("user", "x")]])
def test_a_parameter_that_is_none_or_comes_twice_is_refused(query):
    with pytest.raises(Refused) as refused:
        question("u1", query, "r1")
    assert (refused.value.code, refused.value.reason) == (400, "unknown_parameter")


def test_genres_may_come_in_several_parameters():
    assert question("u", [("genres", "a"), ("genres", "b,c")], "r").genres == ("a", "b", "c")


@pytest.mark.parametrize(
    ("authorization", "shown"),
    [
        ("", b""),
        ("Bearer secret", b"secret"),
        ("bearer  secret ", b"secret"),
        ("Basic " + base64.b64encode(b"anyone:se:cret").decode(), b"se:cret"),
        ("Basic not base64!", b""),
        ("Digest secret", b""),
        ("secret", b""),
    ],
)
def test_a_token_is_shown_as_bearer_or_as_a_password(authorization, shown):
    assert shown_token(authorization) == shown


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_this_machine_needs_no_token(host):
    assert token_for(host, None) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
@pytest.mark.parametrize("token", [None, ""])
def test_other_machines_need_one(host, token):
    with pytest.raises(UsageError, match="CANAREC_API_TOKEN"):
        token_for(host, token)


@pytest.mark.parametrize("token", ["qq\nqq", "qqäqq", " qqqq", "qqqq "])
def test_a_token_fits_a_header(token):
    with pytest.raises(UsageError) as refused:
        token_for("127.0.0.1", token)
    assert "qq" not in str(refused.value)  # the error does not tell it


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(CanarecError, match="0 takes any free one"):
        listen("127.0.0.1", other.getsockname()[1])


def test_a_page_gets_of_each_part_only_the_newest():
    async def read():
        page = Page({"split": b"1", "arms": b"1"})
        page.tell({"arms": b"2"})
        page.tell({"arms": b"3"})
        return await page.next(1), await page.next(0.01)

    assert asyncio.run(read()) == ({"split": b"1", "arms": b"3"}, {})


def test_the_page_makes_no_markup_of_what_it_is_told():
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|DOMParser|srcdoc", SCRIPT)


def test_the_page_needs_nothing_from_elsewhere_and_nothing_inline():
    for name, _ in FILES.values():
        content = (PAGE / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"^\s*//.*$|\s// .*$", "", content, flags=re.MULTILINE), name
    assert not re.search(r"<style|\bstyle=|\bon\w+=|<script(?! src)", MARKUP)


def test_what_the_script_looks_for_is_in_the_page():
    ids = set(re.findall(r'\bid="([\w-]+)"', MARKUP))
    wanted = set(re.findall(r'(?:\$|fill)\("([\w-]+)"', SCRIPT))
    assert wanted <= ids


def test_each_field_has_a_label_and_each_section_a_heading():
    for name in re.findall(r'<input id="([\w-]+)"', MARKUP):
        assert f'<label for="{name}">' in MARKUP
    assert all(f'id="{name}"' in MARKUP for name in re.findall(r'<section aria-labelledby="([\w-]+)"', MARKUP))


def test_a_token_may_lie_in_a_file(tmp_path):
    (tmp_path / "token").write_text("of sixteen signs\n")
    named = {"CANAREC_API_TOKEN_FILE": str(tmp_path / "token")}
    assert told(named) == "of sixteen signs"
    assert told({**named, "CANAREC_API_TOKEN": "another"}) == "another"
    assert told({}) is None


def test_a_token_file_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"CANAREC_API_TOKEN_FILE: .*: No such file"):
        told({"CANAREC_API_TOKEN_FILE": str(tmp_path / "none")})
