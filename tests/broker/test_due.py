"""What is new since a version, counted from real topics and a real archive, and the signals of drift read from them."""

import json
import time
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from confluent_kafka import TopicPartition

from models.measures import prequential
from models.news import New
from models.recommenders import store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.popular import counts
from models.retraining import Counts, event
from pipelines import archive
from pipelines.announce import announce
from pipelines.due import Looking, look, newest
from pipelines.quality import live_hits, predicted
from streams.clients import high_watermarks

from .conftest import KNOWN_MOVIES, MOVIES, histories

RECIPE = {"factors": 6, "regularization": 2.0, "alpha": 5.0, "iterations": 4}
EVENTS = ("watch-events", "rating-events")


def ends(installation):
    """The next offset of each partition, by the contract's names."""
    reader = installation.cluster.consumer()
    try:
        return {name: high_watermarks(reader, installation.applied.topic(name)) for name in EVENTS}
    finally:
        reader.close()


def publish_version(installation, version, offsets, *, folder="models", made=None):
    rows = Rows.of(histories())
    store.write(
        installation.home.artifacts / folder,
        Als.fit(rows, MOVIES, RECIPE, 0),
        tuple(KNOWN_MOVIES),
        counts(rows, MOVIES),
        store.Metadata(
            model_id="als-6",
            model_version=version,
            training_method={"algorithm": "als", "seed": 0, **RECIPE},
            data_version={
                "md5": "d",
                "offsets": {t: {str(p): [0, after] for p, after in spans.items()} for t, spans in offsets.items()},
            },
            evaluation={},
            dvc_ref=None,
            code_version="0",
            created_at=(made or datetime.now(UTC)).isoformat(),
            files={},
        ),
    )


def looked(installation, **options):
    now = options.pop("now", None) or datetime.now(UTC)
    return look(installation.cluster, installation.applied, installation.home.artifacts, now, **options)


def settle(installation):
    """Everything published is acknowledged."""
    installation.flush()


@pytest.fixture
def installation(installations):
    with installations() as made:
        made.publish_world()
        yield made


def test_only_what_is_above_the_offsets_is_new(installation):
    publish_version(installation, "v3", ends(installation))
    assert looked(installation).counts == Counts(0, 0)
    installation.see("u0", "m100")
    installation.see("u0", "m100")  # a later minute of the same film
    installation.see("u0", "m100", rating=4.0)
    installation.see("u1", KNOWN_MOVIES[histories()[1][0]])  # seen before: an event all the same
    installation.see("new", "m001")
    installation.see("new", "m002", rating=3.0)
    installation.publish("watch-events", b"{")
    settle(installation)
    found = looked(installation)
    assert found.counts == Counts(users=1, interactions=4, events=6, refused=1)
    assert found.last.version == "v3"


def test_a_look_goes_on_where_the_last_one_stopped_and_sees_the_same(installation):
    publish_version(installation, "v3", ends(installation))
    looking = Looking(installation.cluster, installation.home.artifacts)
    for number in range(4):
        installation.see(f"n{number % 2}", f"m{number:03}")
        settle(installation)
        now = datetime.now(UTC)
        assert looking.look(installation.applied, now) == looked(installation, now=now)
    publish_version(installation, "v4", ends(installation))
    assert looking.look(installation.applied, datetime.now(UTC)).counts == Counts(0, 0)


def test_without_offsets_or_a_version_all_there_is_is_new(installation):
    # v1 and v2 of the installation say of no topic what they were made from
    known = Counts(users=40, interactions=320, events=320)
    assert looked(installation).counts == known
    for version in ("v1", "v2"):
        for path in (installation.home.models / version).iterdir():
            path.unlink()
        (installation.home.models / version).rmdir()
    found = looked(installation)
    assert (found.counts, found.last, found.due) == (known, None, True)


def test_offsets_by_the_topics_own_names_are_understood(installation):
    by_own_name = {installation.applied.topic(name): spans for name, spans in ends(installation).items()}
    publish_version(installation, "v3", by_own_name)
    installation.see("new", "m001")
    settle(installation)
    assert looked(installation).counts == Counts(1, 1, 1)


def delete_below(installation, offsets):
    """As retention does."""
    places = [
        TopicPartition(installation.applied.topic(name), partition, end)
        for name, spans in offsets.items()
        for partition, end in spans.items()
    ]
    admin = installation.cluster.admin()  # ends with its last reference
    for deleted in admin.delete_records(places).values():
        deleted.result(30)


def test_the_archive_remembers_users_that_the_topics_have_dropped(installation):
    folder = installation.home.artifacts / "archive"
    archive.extend(installation.cluster, installation.applied, folder)
    offsets = ends(installation)
    publish_version(installation, "v3", offsets)
    delete_below(installation, offsets)
    installation.see("u0", "m100")
    installation.see("new", "m100")
    settle(installation)
    assert looked(installation).counts == Counts(users=1, interactions=2, events=2)


def test_the_archive_and_the_topics_are_read_together(installation):
    archive.extend(installation.cluster, installation.applied, installation.home.artifacts / "archive")
    installation.see("between", "m100")
    settle(installation)
    publish_version(installation, "v3", ends(installation))
    for user in ("u0", "between", "new"):
        installation.see(user, "m101")
    settle(installation)
    assert looked(installation).counts == Counts(users=1, interactions=3, events=3)


def test_a_damaged_file_of_the_archive_is_read_from_the_topic(installation):
    folder = installation.home.artifacts / "archive"
    archive.extend(installation.cluster, installation.applied, folder)
    publish_version(installation, "v3", ends(installation))
    installation.see("u0", "m100")
    installation.see("new", "m100")
    settle(installation)
    for path in folder.rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-7])
    assert looked(installation).counts == Counts(users=1, interactions=2, events=2)


def test_what_was_dropped_before_it_was_counted_is_told(installation):
    publish_version(installation, "v3", {name: dict.fromkeys(spans, 0) for name, spans in ends(installation).items()})
    offsets = ends(installation)
    delete_below(installation, offsets)
    found = looked(installation).counts
    assert found.lost == sum(end for spans in offsets.values() for end in spans.values())
    assert (found.users, found.interactions) == (0, 0)


def test_a_topic_that_ends_below_the_offsets_is_another_one_and_all_of_it_is_new(installation):
    publish_version(
        installation, "v3", {name: dict.fromkeys(spans, 10**9) for name, spans in ends(installation).items()}
    )
    assert looked(installation).counts == Counts(users=40, interactions=320, events=320)


def test_an_archive_of_a_topic_that_was_deleted_says_that_its_offsets_mean_nothing(installation):
    folder = installation.home.artifacts / "archive"
    archive.extend(installation.cluster, installation.applied, folder)
    publish_version(installation, "v3", ends(installation))
    for name in EVENTS:
        said = json.loads((folder / name / "_topic.json").read_text())
        (folder / name / "_topic.json").write_text(json.dumps({**said, "topic_id": "another"}))
    assert looked(installation).counts.interactions == 320


def test_the_newest_run_is_the_one_with_the_largest_number_refused_or_not(installation):
    publish_version(installation, "v10", {}, made=datetime(2026, 1, 1, tzinfo=UTC))
    publish_version(installation, "v9", {})
    assert newest(installation.home.artifacts).last.version == "v10"
    publish_version(installation, "v11", {}, folder="rejected")
    last = newest(installation.home.artifacts).last
    assert (last.version, last.refused) == ("v11", True)


def test_a_version_whose_metadata_is_damaged_is_passed_over_and_said(installation):
    publish_version(installation, "v3", {})
    publish_version(installation, "v4", {})
    (installation.home.models / "v4" / store.METADATA).write_bytes(b"{")
    said = []
    assert newest(installation.home.artifacts, said.append).last.version == "v3"
    assert [line.startswith("v4 is left out: ") for line in said] == [True]


def test_a_decision_can_be_asked_for_at_any_time(installation):
    publish_version(installation, "v3", ends(installation), made=datetime(2026, 11, 1, tzinfo=UTC))
    for days, rule in ((1, "none"), (3, "time"), (-5, "time")):
        found = looked(installation, now=datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=days))
        assert (found.due, found.rule) == (False, rule)


def test_an_event_is_on_its_topic_when_the_call_returns(installation):
    decision = looked(installation, manual=True)
    now = datetime(2026, 11, 1, tzinfo=UTC)
    announce(installation.cluster, installation.applied, "retraining-events", event("started", decision, now))
    (record,) = installation.everything("retraining-events")
    assert (record["event"], record["rule"], record["timestamp"]) == ("started", "manual", "2026-11-01T00:00:00Z")
    (message,) = [message for message, _ in installation.all_messages("retraining-events")]
    assert message.headers() == [("schema", b"1")]


# -- drift ------------------------------------------------------------------------------------------


def answer(installation, user, movies, **fields):
    record = {
        "user_id": user,
        "status": "ok",
        "variant": "stable",
        "model_version": "v1",
        "recommendations": movies,
        **fields,
    }
    installation.publish("recommendations", record)
    installation.flush()


def test_a_hit_is_a_watch_of_the_first_ten_within_the_horizon(installation):
    movies = KNOWN_MOVIES[:12]
    begun = round(1_000 * time.time()) - 1_000
    answer(installation, "a", movies)
    answer(installation, "b", movies)
    answer(installation, "c", movies)
    answer(installation, "d", movies, status="fallback")
    answer(installation, "e", movies, variant="canary")
    answer(installation, "f", movies, model_version="v2")
    installation.publish("recommendations", b"no answer of ours")
    installation.see("a", "m009")
    installation.see("b", "m010")  # the eleventh
    installation.see("x", "m001")
    settle(installation)
    asked = (installation.cluster, installation.applied, "v1")
    horizon_ms = 1_000 * installation.applied.config.metrics.horizon_s
    later = begun + horizon_ms + 60_000
    assert live_hits(*asked, since_ms=begun, now_ms=later) == [1.0, 0.0, 0.0]
    assert live_hits(*asked, since_ms=begun, now_ms=begun + horizon_ms) == []  # no horizon has passed
    assert live_hits(*asked, since_ms=later, now_ms=later) == []


def test_a_hit_is_when_somebody_watched_as_the_event_says_but_for_a_minute_of_clocks(installation):
    movies, now_s, horizon_s = KNOWN_MOVIES[:12], time.time(), installation.applied.config.metrics.horizon_s
    for user in ("old", "behind", "ahead", "late"):
        answer(installation, user, movies)
    installation.see("old", "m001", at=now_s - 90)  # of a log that is imported: before anything was shown
    installation.see("behind", "m001", at=now_s - 30)
    installation.see("ahead", "m001", at=now_s + 3_600)  # nobody knows yet
    settle(installation)
    found = live_hits(
        installation.cluster,
        installation.applied,
        "v1",
        since_ms=round(1_000 * now_s) - 1_000,
        now_ms=round(1_000 * (now_s + horizon_s)) + 60_000,
    )
    assert found == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("archived", [True, False])
def test_a_watch_is_predicted_from_what_came_before_it(installation, archived):
    if archived:
        archive.extend(installation.cluster, installation.applied, installation.home.artifacts / "archive")
    offsets = ends(installation)
    publish_version(installation, "v3", offsets)
    for user, movie in (("u0", "m100"), ("u0", "m102"), ("u1", "m101"), ("new", "m000"), ("new", "m002")):
        installation.see(user, movie)
        settle(installation)
        time.sleep(0.005)  # another millisecond of the broker's clock
    seen_before = KNOWN_MOVIES[histories()[2][0]]
    installation.see("u2", seen_before)
    settle(installation)
    watches = {message.value(): message.timestamp()[1] for message, _ in installation.all_messages("watch-events")}
    at = {
        (value["user_id"], value["movie_id"]): ms
        for value, ms in ((json.loads(text), ms) for text, ms in watches.items())
    }
    sample = [
        New(at[pair], *pair)
        for pair in (("u0", "m102"), ("u1", "m101"), ("new", "m000"), ("new", "m002"), ("u2", seen_before))
    ]
    model = store.read(installation.home.models, "v3")
    after = ends(installation)
    (found,) = predicted(
        installation.cluster,
        installation.applied,
        installation.home.artifacts / "archive",
        model,
        [sample],
        below={(name, p): (0, end) for name, spans in offsets.items() for p, end in spans.items()},
        above={(name, p): (offsets[name][p], end) for name, spans in after.items() for p, end in spans.items()},
    )
    known = histories()
    rows = Rows.of([np.sort(np.append(known[0], 100)), known[1], np.array([0])])
    expected = prequential.ndcg(model.recommender, rows, np.array([102, 101, 2], np.int32))
    assert found.ndcg.tolist() == expected.tolist()
    assert found.user.tolist() == [0, 1, 2]


def test_a_change_of_taste_is_due_before_its_time(installations):
    """Everybody watches what was least popular, and the lists hit no more."""
    drift = {"events": 300, "cool_down_days": 0, "psi": 0.1, "adwin_delta": 0.05}
    with installations(
        retraining={"drift": drift}, metrics={"horizon_s": 30}, canary={"stable": "v3", "candidate": None}
    ) as installation:
        installation.publish_world()
        publish_version(installation, "v3", ends(installation), made=datetime.now(UTC) - timedelta(seconds=1))
        popularity = store.read(installation.home.models, "v3").popularity
        order = np.argsort(popularity, kind="stable")
        least, most = ([KNOWN_MOVIES[c] for c in columns] for columns in (order[:30], order[-30:]))
        for crowd, n, watched in (("x", 200, most[:10]), ("y", 400, least)):
            for user in range(n):
                answer_to(installation, f"{crowd}{user}", most)
            settle(installation)
            for user in range(n):
                installation.see(f"{crowd}{user}", watched[user % len(watched)])
            settle(installation)
        found = looked(installation, now=datetime.now(UTC) + timedelta(seconds=60))
        assert (found.due, found.rule) == (True, "drift"), found
        assert found.signals.psi > 0.1
        assert found.signals.hit_now < found.signals.hit_before
        assert msgspec.json.encode(found)


def answer_to(installation, user, movies):
    record = {
        "user_id": user,
        "status": "ok",
        "variant": "stable",
        "model_version": "v3",
        "recommendations": movies[:10],
    }
    installation.publish("recommendations", record)
