"""The analysis' page in a real browser, from disk: light and dark, wide and as narrow as a phone. What a person would see at once."""

import os
import random
import re
from pathlib import Path

import pytest

from streams.cli import main as canarec

SCREENS = os.environ.get("CANAREC_SCREENSHOTS")  # a folder that gets pictures of the page
WIDTHS = (1_200, 390)
LEAST_PX = 9.5  # of a label's height on a phone

# what sticks out of the page or its drawing, is too small, lies on other text, cannot be opened, or was asked of a server
LOOK = """(() => {
document.querySelectorAll('details').forEach(part => { part.open = true; });
const width = document.documentElement.clientWidth, found = [];
if (document.documentElement.scrollWidth > width) found.push('the page is wider than the window');
for (const text of document.querySelectorAll('svg text')) {
  const box = text.getBoundingClientRect(), drawing = text.ownerSVGElement.getBoundingClientRect();
  if (box.height < ${LEAST}) found.push('too small: ' + text.textContent + ' ' + box.height);
  if (box.left < drawing.left - 1 || box.right > drawing.right + 1) found.push('sticks out: ' + text.textContent);
}
for (const drawing of document.querySelectorAll('svg')) {
  const boxes = [...drawing.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
  boxes.forEach(([name, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
    if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
      found.push('on each other: ' + name + ', ' + other);
  }));
}
for (const table of document.querySelectorAll('table'))
  if (!table.getBoundingClientRect().height) found.push('a table that cannot be seen');
if (performance.getEntriesByType('resource').length) found.push('asked a server');
return found;
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of 400 users of both genders and none, with titles that try to be markup."""
    home = tmp_path_factory.mktemp("analyzed")
    rng, data = random.Random(1), home / "data"
    data.mkdir()
    genres = ["Action", "Comedy", "Drama", "Documentary", "<i>Film-Noir</i>", "A genre with quite a long name"]
    titles = {1: "<script>document.title = 'owned'</script> (1999)", 2: "An unusually long title " * 6 + "(2001)"}
    lines = (f"{m}::{titles.get(m, f'Movie {m} (1990)')}::{'|'.join(genres[: 1 + m % 6])}" for m in range(1, 301))
    (data / "movies.dat").write_text("\n".join(lines))
    (data / "users.dat").write_text("\n".join(f"{u}::{'MMF'[u % 3]}::25::1::0" for u in range(1, 361)))
    ratings = (
        f"{u}::{m}::{rng.randint(1, 5)}::{1_000_000_000 + rng.randrange(10**7)}"
        for u in range(1, 401)
        for m in {min(300, 1 + int(rng.paretovariate(0.7))) for _ in range(40)}
    )
    (data / "ratings.dat").write_text("\n".join(ratings))
    canarec(["analyze", "--home", str(home), "--data", str(data), "--now", "2026-11-27T08:00:00Z"])
    return (home / "artifacts" / "analysis" / "latest.html").as_uri()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_analysis_can_be_read(tab, page, theme, width):
    tab.screen(width, 900, dark=theme == "dark", phone=width < 500)
    tab.open(page)
    assert tab.js("document.querySelectorAll('svg').length") == 6
    if SCREENS:
        tab.screenshot(Path(SCREENS) / f"analysis-{theme}-{width}.png")
    assert tab.js(LOOK.replace("${LEAST}", str(LEAST_PX))) == []
    if SCREENS:
        tab.screenshot(Path(SCREENS) / f"analysis-{theme}-{width}-open.png")
    paper = tab.js("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) > 3 * 128) == (theme == "light")
    assert tab.js("document.title") == "Feedback loops and fairness: the MovieLens folder data"
    assert tab.complaints == []


def test_it_can_be_read_by_keyboard_and_says_its_parts(tab, page):
    tab.open(page)
    assert tab.js("[...document.querySelectorAll('summary')].every(part => part.tabIndex >= 0)")
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    named = {(node["role"]["value"], node.get("name", {}).get("value")) for node in tree if "role" in node}
    assert ("heading", "In short") in named
    assert ("image", "Lorenz curves") in named
