"""`canarec api` in front of a real broker and a real worker, asked from outside: lists, refusals, overload, tokens, figures, its end."""

import base64
import json
import re
import signal
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.broker.gateway import PATIENCE_S, Api, running


@pytest.fixture(scope="module")
def api(shop):
    with running(shop) as api:
        yield api


@pytest.fixture(scope="module")
def nobody(installations):
    """Topics, and no worker."""
    with installations() as installation:
        yield installation


def test_a_list_is_ids_with_commas_and_has_its_record(shop, api):
    status, headers, body = api.get("/recommend/u2?n=4")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    record = shop.records_of([headers["X-Request-Id"]])[headers["X-Request-Id"]]
    assert body.decode().split(",") == record["recommendations"]
    assert len(record["recommendations"]) == 4
    assert (headers["X-Status"], headers["X-Variant"], headers["X-Model-Version"]) == (
        "ok",
        record["variant"],
        record["model_version"],
    )


def test_json_is_the_answer_exactly_as_it_came(shop, api):
    _, headers, body = api.get("/recommend/u3", Accept="application/json")
    request_id = headers["X-Request-Id"]
    came = [m.value() for m, a in shop.all_messages("recommendations") if a["request_id"] == request_id]
    assert [body] == came
    assert headers["Content-Type"] == "application/json; charset=utf-8"


def test_a_fallback_is_a_list_too_and_says_so(api):
    status, headers, body = api.get("/recommend/nobody%20known?n=3")
    assert (status, headers["X-Status"], headers["X-Reason"]) == (200, "fallback", "unknown_user")
    assert len(body.split(b",")) == 3


def test_genres_and_seen_movies_are_as_asked_for(shop, api):
    _, _, body = api.get("/recommend/u2?genres=odd&n=5")
    assert all(int(movie[1:]) % 2 for movie in body.decode().split(","))
    everything = api.json("/recommend/u2?n=100&exclude_seen=false&genres=even")[1]["recommendations"]
    unseen = api.json("/recommend/u2?n=100&genres=even")[1]["recommendations"]
    assert len(everything) == len(unseen) + 8


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/recommend/u1?n=0", "bad_n"),
        ("/recommend/u1?n=many", "wrong_type"),
        ("/recommend/u1?m=5", "unknown_parameter"),
        ("/recommend/" + "u" * 257, "bad_id"),
        ("/recommend/a%0Ab", "bad_id"),
        ("/recommend/u1?genres=nonsense", "unknown_genre"),  # the worker's to know
    ],
)
def test_a_bad_request_is_400_with_its_reason(api, path, reason):
    status, _, body = api.get(path)
    assert status == 400
    assert body.decode().startswith(f"{reason}: ")
    assert body.count(b"\n") == 1
    assert api.json(path)[1]["reason"] == reason


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/recommend/u1", 405),
        ("GET", "/recommend/", 404),
        ("HEAD", "/recommend/u1", 405),
    ],
)
def test_what_there_is_not_is_said(api, method, path, status):
    assert api.get(path, method=method)[0] == status


def test_many_at_once_each_get_their_own(shop, api):
    users = [f"u{number % 40}" for number in range(200)]
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda user: api.json(f"/recommend/{user}?n=3"), users))
    assert [(status, answer["user_id"]) for status, answer in found] == [(200, user) for user in users]
    assert len({answer["request_id"] for _, answer in found}) == 200


def test_without_a_worker_it_is_504_after_the_time_limit(nobody):
    with running(nobody, "--timeout", "4") as api:  # in half of it Kafka must have taken the request
        status, headers, body = api.get("/recommend/u1")
        assert (status, headers["Retry-After"]) == (504, "1")
        assert body.startswith(b"no_answer: ")
        assert headers["X-Request-Id"] in {r["request_id"] for r in nobody.everything("recommendation-requests")}


def test_more_than_may_wait_are_turned_away(nobody):
    with running(nobody, "--timeout", "100", "--most-waiting", "2") as api, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(api.get, "/recommend/u1") for _ in range(2)]
        api.wait(lambda: api.metric("canarec_api_waiting") == 2)
        status, headers, body = api.get("/recommend/u1")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert body.startswith(b"overloaded: ")
        begun = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        assert {future.result()[0] for future in waiting} == {503}
        assert api.process.wait(10) == 0
        assert time.monotonic() - begun < 8  # 5 on a machine that has nothing else to do


def test_who_waits_at_the_end_gets_the_answer(installations):
    with installations() as late:
        late.publish_world()
        api = Api(late, "--timeout", "60")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(api.get, "/recommend/u1?n=2")
            api.wait(lambda: api.metric("canarec_api_waiting") == 1)
            (asked,) = late.wait(lambda: late.committed("recommendation-requests"), "the request")
            api.process.send_signal(signal.SIGINT)
            late.publish(
                "recommendations", {"request_id": asked["request_id"], "recommendations": ["m1", "m2"]}, None, 0
            )
            late.flush()
            assert waiting.result()[::2] == (200, b"m1,m2")
        assert api.process.wait(10) == 0


def test_a_token_is_asked_for_by_everything_but_health(shop):
    with running(shop, "--host", "0.0.0.0", token="open sesame") as api:
        for path in ("/", "/page.js", "/events", "/metrics", "/recommend/u1", "/users/u1", "/nothing"):
            status, headers, body = api.get(path)
            assert status == 401, path
            assert headers["WWW-Authenticate"].startswith("Bearer")
            assert b"sesame" not in body
        assert api.get("/recommend/u1", Authorization="Bearer open sesam")[0] == 401
        assert api.get("/recommend/u1", Authorization="Bearer open sesame", Host="example.org")[0] == 200
        password = base64.b64encode(b"anyone:open sesame").decode()
        assert api.get("/", Authorization=f"Basic {password}")[0] == 200
        assert api.get("/health")[0] == 200
        assert "sesame" not in api.log.read_text()


def test_without_a_token_only_this_machine_s_own_names_and_pages_are_answered(api):
    assert api.get("/recommend/u1", Host="localhost:8082")[0] == 200
    assert api.get("/recommend/u1", Host="evil.example")[0] == 403
    assert api.get("/recommend/u1", Sec_Fetch_Site="cross-site")[0] == 403
    assert api.get("/recommend/u1", Sec_Fetch_Site="same-origin")[0] == 200


def test_the_page_and_its_files_may_load_nothing_from_elsewhere(api):
    for path in ("/", "/page.css", "/page.js", "/icon.svg"):
        status, headers, body = api.get(path)
        assert (status, bool(body)) == (200, True)
        assert headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_figures_name_routes_and_codes_only(api):
    before = api.metric('canarec_api_requests_total{code="200",route="recommend"}')
    lists = api.metric("canarec_api_request_seconds_count")
    api.get("/recommend/u5")
    assert api.metric('canarec_api_requests_total{code="200",route="recommend"}') == before + 1
    assert api.metric("canarec_api_request_seconds_count") == lists + 1
    assert api.metric("canarec_api_ready") == 1
    page = api.get("/metrics")[2].decode()
    assert not re.search(r"u5|python_info", page)
    assert all(line.startswith(("#", "canarec_api_")) for line in page.splitlines())


def test_the_page_is_told_what_the_topics_say_and_what_changes(shop, api):
    parts = {}
    for name, part in api.events():
        parts[name] = part
        if len(parts) == 7:
            break
    assert set(parts) == {"split", "arms", "verdict", "parity", "answers", "trainings", "releases"}
    split = api.told("split", lambda part: part is not None)
    assert (split["stable"], split["candidate"], split["percentage"]) == ("v1", "v2", 50)
    before = {name: arm["requests"] for name, arm in parts["arms"]["of"].items()}
    status, answer = api.json("/recommend/u6?n=2")
    assert status == 200

    def counted(part):
        return part["of"][answer["variant"]]["requests"] > before.get(answer["variant"], 0)

    api.told("arms", counted)
    shown = api.told("answers", lambda part: any(each["request_id"] == answer["request_id"] for each in part))
    (mine,) = [each for each in shown if each["request_id"] == answer["request_id"]]
    assert [movie["title"] for movie in mine["movies"]] == [movie.upper() for movie in answer["recommendations"]]
    assert mine["why"] == "made for this user, from what they watched and rated"
    shop.publish(
        "retraining-events",
        {
            "event": "skipped",
            "timestamp": "2026-11-27T08:00:00Z",
            "rule": "time",
            "reason": "skipped: too little",
            "counts": {"users": 1, "interactions": 2},
            "thresholds": dict.fromkeys(
                ("days", "users", "interactions", "psi", "psi_events", "ndcg_drop", "cool_down_days"), 1
            ),
        },
    )
    shop.flush()
    assert api.told("trainings", bool)[0]["reason"] == "skipped: too little"


def test_a_user_s_last_answers_are_found(api):
    answer = api.json("/recommend/u7?n=1")[1]
    found = api.wait(
        lambda: [a for a in api.json("/users/u7")[1]["answers"] if a["request_id"] == answer["request_id"]]
    )
    assert [movie["id"] for movie in found[0]["movies"]] == answer["recommendations"]
    assert api.json("/users/" + urllib.parse.quote("no/body", safe=""))[1] == {"answers": []}


def test_a_record_is_found_explained_and_replayed(shop, api):
    answer = api.json("/recommend/u8?n=3")[1]
    request_id = answer["request_id"]
    shop.records_of([request_id])  # it may be seen a moment after the answer
    status, told = api.json(f"/requests/{request_id}")
    assert status == 200
    assert told["record"]["recommendations"] == answer["recommendations"]
    assert told["titles"][answer["recommendations"][0]] == answer["recommendations"][0].upper()
    assert set(api.json(f"/requests/{request_id}/why")[1]["because"]) == set(answer["recommendations"])
    replayed = json.loads(api.get(f"/requests/{request_id}/replay", method="POST")[2])
    assert (replayed["same"], replayed["recommendations"]) == (True, answer["recommendations"])


@pytest.mark.parametrize("request_id", ["none", "--help", "-h"])
def test_a_record_that_there_is_not_is_404(api, request_id):
    status, told = api.json(f"/requests/{request_id}")
    assert (status, told["reason"]) == (404, "not_found")


def test_a_closed_page_is_forgotten(api):
    stream = api.events()
    next(stream)
    api.wait(lambda: api.metric("canarec_api_pages") >= 1)
    stream.close()
    api.wait(lambda: api.metric("canarec_api_pages") == 0)


def test_it_ends_at_once_while_a_page_is_open(shop):
    api = Api(shop)
    opened, done = threading.Event(), threading.Event()

    def look():
        for _ in api.events():
            opened.set()
        done.set()

    threading.Thread(target=look, daemon=True).start()
    assert opened.wait(PATIENCE_S)
    api.process.send_signal(signal.SIGTERM)
    assert api.process.wait(5) == 0
    assert done.wait(5)
