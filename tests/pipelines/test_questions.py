"""docs/provenance.md: each SQL block runs over a home's files, written by the writers' own code, and gives what the page shows."""

import gzip
import json
import re
from pathlib import Path

import duckdb
import pytest

from models import provenance
from models.catalog import Catalog
from models.events import Movie
from models.ids import Ids
from models.provenance import HEADER, Place
from pipelines.places import Places

PAGE = Path(__file__).parents[2] / "docs" / "provenance.md"
BLOCKS = re.findall(r"```sql\n(.*?)```(?:\n+```text\n(.*?)```)?", PAGE.read_text(), re.DOTALL)
CATALOG = Catalog.of(
    [
        Movie("heat+1995", "Heat", ("Crime",), 1995),
        Movie("alien+1979", "Alien", ("Horror",), 1979),
        Movie("dune+2021", "Dune, Part One", ("Drama",), 2021),
    ],
    Ids(),
)
# user, time, version, status, list
ANSWERS = [
    ("42", "2026-11-19T20:00:00.000Z", "v1", "ok", ["heat+1995"]),
    ("42", "2026-11-21T20:15:00.000Z", "v1", "ok", ["heat+1995", "alien+1979"]),
    ("7", "2026-11-21T20:16:00.000Z", "v1", "fallback", ["dune+2021"]),
    ("7", "2026-11-21T20:20:00.000Z", "v1", "ok", ["dune+2021"]),
    ("8", "2026-11-24T07:00:00.000Z", "v2", "ok", ["alien+1979"]),
    ("42", "2026-11-24T21:00:00.000Z", "v2", "ok", ["dune+2021", "alien+1979"]),
    ("=9", "2026-11-24T22:00:00.000Z", "v1", "ok", ["heat+1995"]),
    (None, "2026-11-24T22:00:01.000Z", None, "rejected", []),
]
# answer, who says it, what they selected: of another list, and somebody else, it is no click
SELECTED = [
    (0, "42", "alien+1979"),
    (1, None, "alien+1979"),
    (3, "7", None),
    (4, "8", "alien+1979"),
    (5, "7", "alien+1979"),
    (5, "42", None),
]
BAD_DAY_MS = 1_795_305_600_000  # 2026-11-22


def record(number):
    user, at, version, status, movies = ANSWERS[number]
    return {
        "request_id": f"r{number}",
        "user_id": user,
        "status": status,
        "reason": {"fallback": "unknown_user", "rejected": "bad_n"}.get(status),
        "recommendations": movies,
        "scores": [1.0] * len(movies),
        "model_id": version and "als-64",
        "model_version": version,
        "variant": {"v1": "stable", "v2": "canary"}.get(version),
        "source": {"topic": "recommendation-requests", "partition": 0, "offset": number},
        "served_at": at,
        "latency_ms": 10 + number,
        "asked": version and {"n": 2, "genres": None, "exclude_seen": True},
        "canary_percentage": 10.0,
        "bucket": version and 17,
        "config_sha256": "a" * 64,
        "model_sha256": version and "b" * 64,
        "data_version": version and f"data-of-{version}",
        "catalog_sha256": CATALOG.sha256,
        "history_offsets": {"watch-events": {"0": 5}},
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory, small_archive):
    """Answers of three days, the oldest compressed; a version from before the bad day and one from after it."""
    folder = tmp_path_factory.mktemp("home")
    places, lines = Places(folder), {}
    for number in range(len(ANSWERS)):
        row = provenance.row(json.dumps(record(number)).encode(), Place("life", 0, number))
        lines.setdefault(row.date, HEADER)
        lines[row.date] += row.line
    csv = places.artifacts / "provenance"
    csv.mkdir(parents=True)
    for day, content in lines.items():
        packed = day == min(lines)
        (csv / f"{day}.csv{'.gz' if packed else ''}").write_bytes(gzip.compress(content) if packed else content)
    (places.artifacts / "catalogs").mkdir()
    (places.artifacts / "catalogs" / f"{CATALOG.sha256}.jsonl").write_text(CATALOG.text())
    for version, after in (("v1", 3), ("v2", 6)):
        (places.models / version).mkdir(parents=True)
        data = {"md5": f"data-of-{version}", "offsets": {"rating-events": {"0": [0, after]}, "watch-events": {}}}
        metadata = {"model_version": version, "created_at": f"2026-11-2{after - 3}T00:00:00Z", "data_version": data}
        (places.models / version / "metadata.json").write_text(json.dumps(metadata))
    archive = small_archive(places.archive)
    for first, day in ((0, -1), (4, 0), (6, 1)):
        ratings = [archive.rate("u", "heat+1995", 4.0) for _ in range(2)]
        archive.add("rating-events", ratings, first=first, logged_ms=BAD_DAY_MS + day * 86_400_000)
    said = [(f"r{n}", {"request_id": f"r{n}", "user_id": user, "selected": movie}) for n, user, movie in SELECTED]
    archive.add("recommendation-feedback", said)
    return folder


def test_the_page_asks_what_people_ask():
    assert len(BLOCKS) >= 4
    assert sum(bool(shown) for _, shown in BLOCKS) >= 4


def test_each_question_gives_what_the_page_shows(home, monkeypatch):
    monkeypatch.chdir(home)
    with duckdb.connect() as database:
        for sql, shown in BLOCKS:
            found = database.sql(sql)
            if shown:
                assert str(found).rstrip() == shown.rstrip(), f"{sql}\n{found}"
