"""An event topic is truncated, or made anew, under running workers: answers go on, and go by what the topic holds now."""

import time

import pytest
from confluent_kafka import TopicPartition

from streams import topics
from streams.clients import high_watermarks


def end_places(faulty, name):
    reader = faulty.cluster.consumer()
    try:
        topic = faulty.applied.topic(name)
        return [TopicPartition(topic, number, end) for number, end in high_watermarks(reader, topic, 30).items()]
    finally:
        reader.close()


def ask(faulty, requests, user, **fields):
    request_id = faulty.request(user, **fields)
    faulty.flush()
    return requests.answers_to([request_id])[0]


def test_a_truncated_event_topic(faulty, traffic):
    """Retention does it, or an operator. What was watched from then on counts, also for who starts later."""
    faulty.staff(2)
    with traffic(faulty) as requests:
        requests.flow(1)
        ends = end_places(faulty, "watch-events")
        requests.flow(0.5)
        requests.calm()  # all below these ends has been read: what nobody has read is lost with it
        requests.fault("watch-events truncated", aim_s=2)
        admin = faulty.cluster.admin()
        for deleted in admin.delete_records(ends).values():
            deleted.result(30)
        requests.flow(1)
        requests.calm()
        fresh(faulty, requests, "cut")
        requests.fault("one leaves, one joins", aim_s=2)
        faulty.staff(1)
        faulty.staff(2)
        requests.flow(1)
        requests.calm()
        fresh(faulty, requests, "later")
        requests.finish("watch-events truncated")


def fresh(faulty, requests, who):
    """A new user's watches are in the next answer, by every partition."""
    for number in range(4):
        user = f"{who}-{number}"
        for movie in range(3):
            faulty.see(user, f"m{movie * 2:03}")
        faulty.flush()
        answer = ask(faulty, requests, user, partition=number)
        assert answer["status"] == "ok", answer
        assert not {"m000", "m002", "m004"} & set(answer["recommendations"])


def test_an_event_topic_that_is_made_anew(install, traffic):
    faulty = install()
    faulty.publish_world()
    faulty.see("ghost", "m002")
    faulty.see("turncoat", "m002")
    faulty.flush()
    faulty.staff(2)
    with traffic(faulty, newcomers=False) as requests:
        assert ask(faulty, requests, "ghost")["status"] == "ok"
        before = {m.offset() for m, _ in faulty.all_messages("watch-events")}
        requests.fault("watch-events made anew")
        make_anew(faulty, "watch-events")
        faulty.see("turncoat", "m003")
        faulty.flush()
        forgotten(faulty, requests)
        for partition in range(4):
            answers = [ask(faulty, requests, user, partition=partition, n=5) for user in ("ghost", "turncoat")]
            assert [(a["status"], a.get("reason")) for a in answers] == [("fallback", "unknown_user"), ("ok", None)]
            assert all(int(movie[1:]) % 2 == 1 for movie in answers[1]["recommendations"])
        bad = faulty.publish("watch-events", {"user_id": "turncoat", "minute": 3, "timestamp": time.time()})
        faulty.flush()
        assert bad["offset"] <= max(before)  # an old reader would take it for one that it has read
        faulty.wait(lambda: letters(faulty) == [bad], "the dead letter of a bad event", 30)
        requests.finish("watch-events made anew")


def make_anew(faulty, name):
    topic, admin = faulty.applied.topic(name), faulty.cluster.admin()
    admin.delete_topics([topic])[topic].result(30)

    faulty.wait(lambda: faulty.insist(lambda: topics.ensure(faulty.cluster, faulty.applied)) == [topic], "the topic")


def forgotten(faulty, requests):
    """Waits until every partition's owner knows nothing of the old topic: it looks once a second, and starts again."""

    def by_all():
        asked = [faulty.request("ghost", partition=number) for number in range(4)]
        faulty.flush()
        return {answer.get("reason") for answer in requests.answers_to(asked)} == {"unknown_user"}

    faulty.wait(by_all, "the old events to be forgotten", 40)


def letters(faulty):
    """The places of the watch events that were refused."""
    topic = faulty.applied.topic("watch-events")
    sources = [letter["source"] for _, letter in faulty.all_messages("dead-letters")]
    return [{"partition": s["partition"], "offset": s["offset"]} for s in sources if s["topic"] == topic]


@pytest.mark.usefixtures("full")
def test_the_request_topic_made_anew(install, traffic):
    """Its offsets begin again: what was answered of the old topic says nothing about them."""
    faulty = install()
    faulty.publish_world()
    faulty.staff(2)
    with traffic(faulty) as requests:
        requests.flow(2)
        requests.finish("before the request topic is made anew")
    make_anew(faulty, "recommendation-requests")
    faulty.mark()
    with traffic(faulty) as requests:
        requests.flow(2)
        requests.finish("the request topic made anew")
