"""What goes wrong for one request, in a model, in our own code or for its size, is that request's answer and nobody else's."""

from dataclasses import replace

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from models.recommenders import store

WATCHED = 33  # movies, by nobody else
SMALL = 20_000  # bytes of a message
LONG = "x" * 230


def among_others(faulty, requests, user):
    """The answers to `user` and to others in the same batches, each with what the others were answered before."""
    before = requests.answers_to([faulty.request(f"u{other}", partition=1) for other in range(40)])
    faulty.flush()
    asked = [
        faulty.request(user if number % 10 == 5 else f"u{number % 40}", partition=1, n=20) for number in range(200)
    ]
    faulty.flush()
    answers = requests.answers_to(asked)
    unlucky = answers[5::10]
    others = [(answer, before[number % 40]) for number, answer in enumerate(answers) if number % 10 != 5]
    return unlucky, others


def unharmed(others):
    return all(
        (a["status"], a["recommendations"]) == (b["status"], b["recommendations"]) and a["status"] == "ok"
        for a, b in others
    )


def test_a_model_that_raises_for_one_user(faulty, traffic):
    for number in range(WATCHED):
        faulty.see("unlucky", f"m{number:03}")
    faulty.flush()
    faulty.staff(0)
    odd = faulty.start_odd("model", WATCHED)
    with traffic(faulty) as requests:
        unlucky, others = among_others(faulty, requests, "unlucky")
        requests.finish("the model raises for one user")
    assert unharmed(others)
    assert {(a["status"], a["reason"], len(a["recommendations"])) for a in unlucky} == {
        ("fallback", "model_failed", 20)
    }
    assert not {f"m{number:03}" for number in range(WATCHED)} & {m for a in unlucky for m in a["recommendations"]}
    assert {entry["error"] for entry in faulty.logged("model failed")} == {
        f"ArithmeticError: no user has watched {WATCHED} movies"
    }
    odd.terminate()
    assert odd.wait(10) == 0


@pytest.mark.parametrize("where", ["parse", "records"])
def test_an_unforeseen_error_for_one_user(faulty, traffic, where):
    faulty.staff(0)
    odd = faulty.start_odd(where, "u39x")
    with traffic(faulty) as requests:
        unlucky, others = among_others(faulty, requests, "u39x")
        requests.finish(f"an unforeseen error for one user ({where})")
    assert unharmed(others)
    assert {(a["status"], a["reason"], tuple(a["recommendations"])) for a in unlucky} == {
        ("rejected", "internal_error", ())
    }
    letters = [letter for _, letter in faulty.all_messages("dead-letters") if letter["reason"] == "internal_error"]
    assert sorted(letter["source"]["offset"] for letter in letters) == sorted(a["source"]["offset"] for a in unlucky)
    odd.terminate()
    assert odd.wait(10) == 0


def test_answers_that_are_larger_than_a_message_may_be(install, traffic, long):
    faulty = install(canary={"stable": "wordy", "candidate": None, "percentage": 0})
    wordy(faulty)
    limit(faulty, ("recommendations", "provenance", "canarec-answered"), SMALL)
    requests = traffic(faulty, newcomers=False)
    waiting = [faulty.request(f"u{number % 40}", n=20) for number in range(4_000 if long else 1_500)]
    few = [faulty.request(f"u{n % 40}", n=n) for n in range(60, 101)]  # from small enough to far too large
    waiting += [faulty.request(f"u{number % 40}", n=20) for number in range(200)]
    faulty.flush()
    faulty.staff(1)
    with requests:
        answers = requests.answers_to(waiting)
        sizes = requests.answers_to(few)
        requests.finish(f"{len(waiting)} requests wait, a message may have {SMALL} bytes")
    assert {a["status"] for a in answers} == {"ok"}
    rejected = [a for a in sizes if a["status"] == "rejected"]
    assert {a["reason"] for a in rejected} <= {"answer_too_large"}
    letters = [letter for _, letter in faulty.all_messages("dead-letters")]
    assert sorted((d["source"]["partition"], d["source"]["offset"]) for d in letters) == sorted(
        (a["source"]["partition"], a["source"]["offset"]) for a in rejected
    )
    assert [a["status"] for a in sizes] == ["ok"] * (len(sizes) - len(rejected)) + ["rejected"] * len(rejected)
    assert 15 < len(rejected) < 41


def wordy(faulty):
    """A world of movies with long names."""
    model = store.read(faulty.home.models, "v1")
    movies = tuple(movie + LONG for movie in model.movie_ids)
    metadata = replace(model.metadata, model_version="wordy")
    store.write(faulty.home.models, model.recommender, movies, model.popularity, metadata)
    for user in range(40):
        for place in range(8):
            faulty.see(f"u{user}", movies[(user * 7 + place * 11) % len(movies)])
    faulty.flush()


def limit(faulty, topics, size):
    """The largest message that these topics take."""
    setting = [ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)]
    wanted = [
        ConfigResource(ResourceType.TOPIC, faulty.applied.topic(name), incremental_configs=setting) for name in topics
    ]
    admin = faulty.cluster.admin()  # its futures end with it
    for changed in admin.incremental_alter_configs(wanted).values():
        changed.result(30)
