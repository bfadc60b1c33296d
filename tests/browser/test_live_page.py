"""The live page in a real browser, with a real broker and a real worker behind it: it shows what the topics say, and keeps on."""

import json
import os
import time
from pathlib import Path

import psutil
import pytest

from models.config import Release
from models.release.evidence import Evidence
from models.release.record import record
from tests.broker.gateway import running

TITLE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
SCREENS = os.environ.get("CANAREC_SCREENSHOTS")  # a folder that gets pictures of the page


@pytest.fixture(scope="module")
def shop(installations):
    with installations() as installation:
        installation.publish_world()
        installation.start_worker()
        installation.ask("u1")
        yield installation


@pytest.fixture(scope="module")
def api(shop):
    with running(shop) as api:
        yield api


@pytest.fixture
def page(tab, api):
    tab.open(f"http://127.0.0.1:{api.port}/")
    tab.wait("document.getElementById('state').dataset.state === 'live'", "the stream")
    yield tab
    assert tab.complaints == []


def shown(tab, selector, text, what=None):
    """Waits until that text stands there."""
    tab.wait(
        f"(document.querySelector({json.dumps(selector)})?.innerText ?? '').includes({json.dumps(text)})", what or text
    )


def test_it_shows_what_the_topics_say(shop, page):
    shown(page, "#split", "v1 answers 50 %, v2 50 %")
    shown(page, "#arms", "stable v1")
    before = page.js("[...document.querySelectorAll('#arms tbody tr')][0].innerText")
    record = shop.ask("u2", n=3)
    shown(page, "#answers", record["request_id"])
    first = page.text("#answers li")
    assert "user u2" in first
    assert all(movie.upper() in first for movie in record["recommendations"])
    assert "made for this user" in first
    page.wait(
        f"[...document.querySelectorAll('#arms tbody tr')][0].innerText !== {json.dumps(before)}", "one request more"
    )


def test_a_fallback_says_why(shop, page):
    record = shop.ask("stranger")
    shown(page, "#answers", record["request_id"])
    assert "nobody knows this user: popular movies" in page.text("#answers li")


def test_a_change_of_the_split_is_shown(shop, page):
    shown(page, "#split", "v2 50 %")
    shop.configure(canary={"stable": "v1", "candidate": "v2", "percentage": 20})
    try:
        shown(page, "#split", "v1 answers 80 %, v2 20 %")
        shown(page, "#releases", "v1 / v2 50 % → v1 / v2 20 %")
    finally:
        shop.configure(canary={"stable": "v1", "candidate": "v2", "percentage": 50})
    shown(page, "#split", "v2 50 %")


def test_verdict_fairness_and_retraining_are_shown(shop, page):
    told = record(Evidence("v1", "v2", percentage=50, held_s=0), Release())
    at = {"timestamp": "2026-11-27T08:00:00Z", "until": "2026-11-27T07:59:59Z", "who": "canarec scheduler"}
    shop.publish("canary-events", {"event": "verdict", **at, **told})
    window = {"window_start": "2026-11-27T07:00:00Z", "window_end": "2026-11-27T08:00:00Z", "window_s": 3600}
    ratio = {"satisfaction_ratio": 0.793, "ci_low": 0.701, "ci_high": 0.897, "status": "alert"}
    shop.publish("fairness-metrics", {**window, "variant": "stable", "model_version": "v1", **ratio})
    thresholds = dict.fromkeys(("days", "users", "interactions", "psi", "psi_events", "ndcg_drop", "cool_down_days"), 1)
    training = {"event": "failed", "rule": "time", "reason": "due", "error": "<b>the data set</b> has 12 users of 20"}
    counts = {"counts": {"users": 1, "interactions": 2}, "thresholds": thresholds, "timestamp": at["timestamp"]}
    shop.publish("retraining-events", {**training, **counts})
    shop.flush()
    shown(page, "#verdict-words", "HOLD: 0 requests answered by v2 < 200")
    assert "click-through" in page.text("#verdict")
    assert page.js("document.querySelectorAll('#verdict svg').length") == 4
    shown(page, "#parity", "0.793")
    assert "0.701 to 0.897" in page.text("#parity")
    shown(page, "#trainings", "<b>the data set</b> has 12 users of 20")


def test_text_in_titles_cannot_become_markup(shop, page):
    shop.publish("movie-catalog", {"movie_id": "m000", "title": TITLE, "genres": ["Only"]}, "m000")
    shop.flush()
    shop.wait(
        lambda: shop.ask("u0", n=1, genres=["Only"], exclude_seen=False)["recommendations"] == ["m000"], "the movie"
    )
    shown(page, "#answers", TITLE)
    assert page.js("document.title") == "canarec"
    assert page.js("document.querySelectorAll('main img, main script').length") == 0


def test_a_user_is_looked_up_and_a_record_replayed_and_explained(shop, page):
    record = shop.ask("u9", n=2)
    request_id = record["request_id"]
    shown(page, "#answers", request_id)
    page.type("#user-id", "u9")
    page.press("Enter", 13)
    shown(page, "#found", request_id)
    page.type("#request-id", request_id)
    page.press("Enter", 13)
    shown(page, "#found", record["model_sha256"], "the record")
    assert "in_words" not in page.text("#found")
    assert all(movie.upper() in page.text("#found") for movie in record["recommendations"])
    page.js("document.getElementById('why').click()")
    shown(page, "#found", "because of")
    page.js("document.getElementById('replay').click()")
    shown(page, "#outcome", f"{request_id}: the same: 2 movies in the same order")


def test_what_is_not_there_is_said(page):
    page.type("#request-id", "no such request")
    page.press("Enter", 13)
    shown(page, "#looking", "there is no record of this request")
    page.complaints.clear()  # the browser notes the 404


def test_paused_answers_stand_still_and_go_on(shop, page):
    page.js("document.getElementById('pause').click()")
    assert page.js("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
    before = page.text("#answers")
    newest = page.text("#newest")
    request_id = shop.ask("u3")["request_id"]
    page.wait(f"document.getElementById('newest').innerText !== {json.dumps(newest)}", "the head to go on")
    assert page.text("#answers") == before
    page.js("document.getElementById('pause').click()")
    page.js("document.getElementById('pause').blur()")
    shop.ask("u4")
    shown(page, "#answers", request_id)


def test_it_survives_a_worker_s_death_and_a_gateway_s(shop, api, tab):
    tab.open(f"http://127.0.0.1:{api.port}/")
    tab.wait("document.getElementById('state').dataset.state === 'live'", "the stream")
    for child in psutil.Process(shop.workers[0].pid).children(recursive=True):
        child.kill()
    request_id = shop.ask("u5")["request_id"]  # answered by those that are started again
    shown(tab, "#answers", request_id)
    assert tab.text("#state").endswith("live")
    with running(shop) as other:
        tab.open(f"http://127.0.0.1:{other.port}/")
        tab.wait("document.getElementById('state').dataset.state === 'live'", "the stream")
        port = other.port
        other.process.kill()
        other.process.wait()
        tab.wait("document.getElementById('state').dataset.state === 'lost'", "the loss to be said")
    with running(shop, "--port", str(port)):
        tab.wait("document.getElementById('state').dataset.state === 'live'", "the stream to come back")
        request_id = shop.ask("u6")["request_id"]
        shown(tab, "#answers", request_id)


def test_it_is_usable_by_keyboard_and_named_for_who_cannot_see(page):
    page.js("document.activeElement.blur()")
    page.press("Tab", 9)
    assert page.js("document.activeElement.textContent") == "Skip to the figures"
    assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    nameless = """[...document.querySelectorAll('button, input')].filter(
        (each) => !(each.labels?.length || each.textContent.trim() || each.ariaLabel)).length"""
    assert page.js(nameless) == 0
    assert page.js(
        "[...document.querySelectorAll('section')].every((s) => document.getElementById(s.getAttribute('aria-labelledby')))"
    )
    assert page.js("document.getElementById('state').getAttribute('role')") == "status"


CONTRAST = """(() => {
  const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$|transparent/.test(c)) return c; } return 'rgb(255,255,255)'; };
  return [...document.querySelectorAll('main *, header *')].filter((e) => e.offsetParent && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
    .map((e) => { const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x); return [(a + .05) / (b + .05), e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 30)]; })
    .filter(([ratio]) => ratio < 4.5);
})()"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1_280])
def test_it_fits_the_screen_and_can_be_read(shop, page, width, dark):
    page.screen(width, dark=dark, phone=width < 500)
    shop.ask("u1")
    shown(page, "#arms", "requests")
    assert page.js("document.documentElement.scrollWidth") <= width
    assert page.js(CONTRAST) == []
    if SCREENS:
        time.sleep(1)
        page.screenshot(Path(SCREENS) / f"page-{width}-{'dark' if dark else 'light'}.png")
