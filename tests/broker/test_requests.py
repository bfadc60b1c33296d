"""A real worker on a real broker, seen from outside: each request is answered once, freshly, by the model that it says."""

import json
import time

import numpy as np
import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException

from models import wire
from models.history import Histories
from models.ids import Ids
from models.recommenders import store
from models.recommenders.base import Rows
from models.topics import PARTITIONS
from pipelines import evaluate
from pipelines.replay import replay
from streams.home import write_whole

RELOAD_S = 5.0


def histories_below(shop, offsets):
    """The events below the offsets of a record, folded anew from the topics."""
    found = Histories(Ids())
    for name, parse in (("watch-events", wire.watch), ("rating-events", wire.rating)):
        ends = offsets[shop.applied.topic(name)]
        needed = sum(ends.values())  # nobody else publishes there with transactions: every offset is a message

        def below(name=name, ends=ends, needed=needed):
            messages = [m for m, _ in shop.messages(name) if m.offset() < ends[str(m.partition())]]
            return messages if len(messages) >= needed else None

        messages = shop.wait(below, f"{needed} messages of {name}") if needed else []
        found.apply([parse(m.value(), m.timestamp()[1], wire.Limits()) for m in messages])
    return found


# -- one answer -----------------------------------------------------------------------------------


def test_each_request_is_answered_once_and_answer_and_record_agree(shop, audited):
    rng = np.random.default_rng(1)
    for number in range(400):
        user = ["nobody", "p0", f"u{number % 40}"][min(2, int(rng.integers(20)))]
        shop.request(user, partition=int(rng.integers(-1, PARTITIONS)), n=int(rng.integers(1, 101)))
    last = [shop.request("u1", partition=partition) for partition in range(PARTITIONS)]
    shop.flush()
    shop.records_of(last)
    assert audited(shop) == []


def test_a_list_is_as_it_was_asked_for(shop):
    wished = shop.ask("u1", n=7, genres=["eVEN"])
    assert len(wished["recommendations"]) == 7
    assert all(int(movie[1:]) % 2 == 0 for movie in wished["recommendations"])
    whole = shop.ask("u2", n=100, exclude_seen=False)
    own = {movie for user, movie in seen(shop) if user == "u2"}
    assert own & set(whole["recommendations"])
    assert not own & set(shop.ask("u2", n=100)["recommendations"])


def seen(shop):
    """Every (user, movie) that was published."""
    return [(e["user_id"], e["movie_id"]) for name in ("watch-events", "rating-events") for e in shop.everything(name)]


@pytest.mark.parametrize(("user", "reason"), [("nobody", "unknown_user"), ("p0", "no_history")])
def test_who_cannot_be_known_gets_a_fallback_that_says_why(shop, user, reason):
    record = shop.ask(user)
    assert (record["status"], record["reason"], len(record["recommendations"])) == ("fallback", reason, 20)


def test_a_new_user_with_one_watch_gets_a_personal_list(shop):
    shop.see("newcomer", "m004")
    shop.flush()
    record = shop.ask("newcomer", n=5)
    assert record["status"] == "ok"
    assert all(int(movie[1:]) % 2 == 0 for movie in record["recommendations"])


# -- what is served -------------------------------------------------------------------------------


def test_what_is_served_is_what_the_offline_evaluation_recommends_for_the_same_history(shop):
    asked = [shop.request(f"u{user}") for user in range(2, 40)]
    shop.flush()
    records = shop.records_of(asked)
    found = histories_below(shop, next(iter(records.values()))["history_offsets"])
    models = {version: store.read(shop.home.models, version) for version in ("v1", "v2")}
    columns = {movie: column for column, movie in enumerate(models["v1"].movie_ids)}
    used = set()
    for record in records.values():
        model = models[record["model_version"]]
        own = [found.movie_ids.text(movie) for movie in found.movies(record["user_id"]).tolist()]
        top = evaluate.lists(model.recommender, Rows.of([sorted(columns[movie] for movie in own)]))
        expected, scores = top.row(0)
        assert record["recommendations"] == [model.movie_ids[column] for column in expected.tolist()]
        np.testing.assert_array_equal(np.float32(record["scores"]), scores)
        used.add(model.version)
    assert used == {"v1", "v2"}


@pytest.mark.parametrize("user", ["u1", "nobody", "p0"])
def test_a_list_can_be_made_again_from_what_its_record_names(shop, user):
    shop.see("u1", f"m{int(time.time() * 1000) % 150:03}")
    shop.flush()
    record = shop.ask(user, n=30)
    replayed = replay(shop.cluster, shop.home.artifacts, record)
    assert (replayed.movies, replayed.differences) == (record["recommendations"], [])
    wrong = {**record, "recommendations": record["recommendations"][::-1], "scores": record["scores"][::-1]}
    assert replay(shop.cluster, shop.home.artifacts, wrong).differences


def test_what_was_acknowledged_before_is_in_the_next_answer(shop):
    for turn in range(12):
        before = shop.ask("u0")
        assert before["status"] == "ok"
        movie = before["recommendations"][0]
        place = shop.see("u0", movie, rating=4.5 if turn % 2 else None)
        shop.flush()  # acknowledged
        after = shop.ask("u0")
        assert movie not in after["recommendations"]
        topic = shop.applied.topic("rating-events" if turn % 2 else "watch-events")
        assert after["history_offsets"][topic][str(place["partition"])] > place["offset"]


def test_an_answer_waits_for_the_events_before_it_when_the_histories_are_behind(shop):
    """Thousands of events stand between: an answer that did not wait would miss the last of them."""
    for turn in range(6):
        movie = shop.ask("u7")["recommendations"][0]
        for number in range(3_000):
            shop.see(f"crowd{number % 50}", f"m{number % 150:03}", rating=3 if number % 2 else None, at=1_700_000_000)
        shop.see("u7", movie, rating=4.5 if turn % 2 else None)
        shop.flush()  # acknowledged
        after = shop.ask("u7")
        assert after["status"] == "ok"
        assert movie not in after["recommendations"]


def test_a_new_movie_is_in_fallback_lists_and_a_deleted_one_in_none(shop):
    shop.publish("movie-catalog", {"movie_id": "z-new", "title": "New", "genres": ["Fresh"], "popularity": 9}, "z-new")
    shop.flush()

    def listed():
        record = shop.ask("nobody", n=100)
        return record if "z-new" in record["recommendations"] else None

    with_it = shop.wait(listed, "the new movie", 15)
    assert shop.ask("nobody", genres=["fresh"])["recommendations"] == ["z-new"]
    shop.publish("movie-catalog", None, "z-new")
    shop.flush()
    shop.wait(lambda: "z-new" not in shop.ask("nobody", n=100)["recommendations"], "the movie to be gone", 15)
    assert shop.ask("nobody", n=100)["catalog_sha256"] != with_it["catalog_sha256"]


# -- repeated ids ---------------------------------------------------------------------------------


def answers_to(shop, request_id):
    return [answer for answer in shop.everything("recommendations") if answer["request_id"] == request_id]


def letters_of(shop, place):
    """Dead letters of the message at this place of the requests."""
    topic = shop.applied.topic("recommendation-requests")
    return [found for found in shop.everything("dead-letters") if found["source"] == {"topic": topic, **place}]


def test_a_repeated_id_by_the_same_partition_is_counted_and_not_answered_again(shop):
    first = shop.ask("u3", partition=2)
    counted = shop.metric("canarec_repeated_requests_total")
    for _ in range(3):
        shop.request("u3", first["request_id"], partition=2)
    at_once = shop.request("u3", partition=3)
    shop.request("u3", at_once, partition=3)
    last = [shop.request("u3", partition=partition) for partition in (2, 3)]
    shop.flush()
    shop.records_of([*last, at_once])
    assert len(answers_to(shop, first["request_id"])) == len(answers_to(shop, at_once)) == 1
    shop.wait(lambda: shop.metric("canarec_repeated_requests_total") == counted + 4, "4 repeats", 10)


def test_a_repeated_id_by_another_partition_is_not_answered_again_once_the_answer_is_a_second_old(shop):
    first = shop.ask("u3", partition=2)
    shop.wait(lambda: shop.ask("u3")["served_at"] > wire.rfc3339(answered_ms(first) + 1_000), "a second", 10)
    shop.request("u3", first["request_id"], partition=0)
    last = shop.request("u3", partition=0)
    shop.flush()
    shop.records_of([last])
    assert len(answers_to(shop, first["request_id"])) == 1


def answered_ms(record):
    event = {"user_id": "u", "movie_id": "m", "minute": 0, "timestamp": record["served_at"]}
    return wire.watch(json.dumps(event).encode(), 2**45, wire.Limits()).timestamp_ms


@pytest.mark.parametrize("change", [{"n": 3}, {"user_id": "u5"}, {"genres": ["Even"]}, {"n": "many"}], ids=str)
def test_a_known_id_with_another_content_is_a_dead_letter_and_nothing_else(shop, change):
    first = shop.ask("u4", partition=1)
    request = {"request_id": first["request_id"], "user_id": "u4", **change}
    place = shop.publish("recommendation-requests", request, partition=1)
    last = shop.request("u4", partition=1)
    shop.flush()
    shop.records_of([last])
    assert len(answers_to(shop, first["request_id"])) == 1
    [letter] = letters_of(shop, place)
    assert letter["reason"] == "conflicting_repeat"
    assert json.loads(letter["payload"]) == request


# -- a change of configuration --------------------------------------------------------------------


def test_a_change_of_configuration_is_in_force_within_5_seconds_and_a_broken_file_changes_nothing(shop):
    before = shop.settings["canary"]
    try:
        digest = shop.configure(canary={**before, "percentage": 100})
        begun = time.monotonic()
        shop.wait(lambda: ask_all(shop) == ({"canary"}, {digest}), "the new split", RELOAD_S)
        assert time.monotonic() - begun < RELOAD_S
        refused = shop.metric("canarec_config_refused_total")
        write_whole(shop.home.config, json.dumps({**shop.settings, "canary": {"percentage": 101}}).encode())
        shop.wait(lambda: shop.metric("canarec_config_refused_total") == refused + 1, "the refusal", 2 * RELOAD_S)
        assert ask_all(shop) == ({"canary"}, {digest})
        write_whole(shop.home.config, b'{"canary": ')
        shop.wait(lambda: shop.metric("canarec_config_refused_total") == refused + 2, "the refusal", 2 * RELOAD_S)
        assert ask_all(shop) == ({"canary"}, {digest})
        assert "canary.percentage" in shop.logs()
    finally:
        digest = shop.configure(canary=before)
    shop.wait(lambda: ask_all(shop) == ({"stable", "canary"}, {digest}), "the old split", 2 * RELOAD_S)
    assert (shop.home.configs / f"{digest}.json").exists()


def ask_all(shop):
    """The variants that ten users meet, and the digests of the configurations that answered them."""
    asked = [shop.request(f"u{user}") for user in range(20, 30)]
    shop.flush()
    records = shop.records_of(asked).values()
    return {record["variant"] for record in records}, {record["config_sha256"] for record in records}


def test_a_version_that_is_not_there_falls_back_and_its_user_stays_in_the_arm(shop):
    before = shop.settings["canary"]
    try:
        digest = shop.configure(canary={**before, "candidate": "v9", "percentage": 100})
        record = shop.wait(lambda: matching(shop.ask("u6"), config_sha256=digest), "the new split", 2 * RELOAD_S)
        assert (record["status"], record["reason"], record["variant"], record["model_version"]) == (
            "fallback",
            "model_failed",
            "canary",
            "v9",
        )
        assert len(record["recommendations"]) == 20
    finally:
        digest = shop.configure(canary=before)
    shop.wait(lambda: matching(shop.ask("u6"), config_sha256=digest), "the old split", 2 * RELOAD_S)


def matching(record, **fields):
    return record if all(record[name] == value for name, value in fields.items()) else None


# -- two workers ----------------------------------------------------------------------------------


def shares(installation):
    """How many request partitions each member of the group has, fewest first; nothing while the group is changing."""
    group = installation.applied.group("requests")
    admin = installation.cluster.admin()  # kept: its futures end with it
    try:
        described = admin.describe_consumer_groups([group])[group].result(10)
    except KafkaException as error:
        if error.args[0].code() not in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS):
            raise
        return []  # the group is only just being made
    if described.state != ConsumerGroupState.STABLE:
        return []
    return sorted(len(member.assignment.topic_partitions) for member in described.members)


def test_two_workers_share_the_partitions_and_one_that_is_killed_or_stopped_loses_and_doubles_nothing(
    installations, audited
):
    with installations() as shop:
        shop.publish_world()
        first, second = shop.start_worker(), shop.start_worker()
        shop.wait(lambda: shares(shop) == [PARTITIONS // 2] * 2, "both workers to share")
        asked = [shop.request(f"u{number % 40}") for number in range(300)]
        shop.flush()
        shop.records_of(asked[:20])  # in the middle of it
        first.kill()
        asked += [shop.request(f"u{number % 40}") for number in range(300)]
        shop.flush()
        shop.records_of(asked)
        shop.wait(lambda: shares(shop) == [PARTITIONS], "the other one to take all")
        begun = time.monotonic()
        second.terminate()
        assert second.wait(10) == 0
        assert time.monotonic() - begun < 5
        late = [shop.request(f"u{number % 40}") for number in range(50)]
        shop.flush()
        shop.start_worker()  # takes a free name of the home again
        shop.records_of(late)
        assert audited(shop) == []
