"""Chances, exploration and the shadow, with a real broker and a worker."""

from models.config import Canary, Exploration
from models.exploration import draw, explores
from models.release.split import chance
from pipelines.replay import replay

USERS = [f"u{number}" for number in range(40)]
EXPLORATION = {"share": 0.5, "slots": 2, "pool": 30}


def in_force(shop, **changes):
    """Waits until answers are made by the changed configuration."""
    wanted = shop.configure(**changes)
    shop.wait(lambda: shop.ask("u1")["config_sha256"] == wanted, "the configuration")
    return wanted


def answers(shop, times=1):
    """The record of each of some requests of all users, asked together."""
    asked = [shop.request(user, n=8) for _ in range(times) for user in USERS]
    shop.flush()
    return list(shop.records_of(asked).values())


def test_explored_lists_are_marked_with_their_chances_and_made_again(shop, audited):
    in_force(shop, exploration=EXPLORATION, canary={**shop.settings["canary"], "percentage": 30})
    exploration, canary = Exploration(**EXPLORATION), Canary(percentage=30)
    records = answers(shop)
    for record in records:
        assert record["variant_probability"] == chance(record["user_id"], record["variant"], canary)
        own = record["status"] == "ok" and record.get("reason") is None
        assert record.get("explored", False) == (own and explores(record["user_id"], exploration))
        if "explored" in record:
            expected = draw(record["request_id"], 8, 8 + exploration.pool, exploration)
            assert record["propensities"] == expected.propensities
        else:
            assert record["propensities"] == [1.0] * len(record["recommendations"])
        assert (record["scoring_ms"] is None) == (record["scored_together"] is None)
    explored = [record for record in records if "explored" in record]
    assert 5 < len(explored) < 35
    for record in explored[:6]:
        replayed = replay(shop.cluster, shop.home.artifacts, record)
        assert (replayed.differences, replayed.movies) == ([], record["recommendations"])
    assert audited(shop) == []


def test_in_the_shadow_the_candidate_scores_and_stable_answers(shop):
    in_force(shop, canary={**shop.settings["canary"], "percentage": 0}, release={"shadow_share": 1})

    def compared():
        records = answers(shop)
        assert {record["model_version"] for record in records} == {"v1"}
        return shop.metric("canarec_shadow_requests_total", outcome="ok") > 20

    shop.wait(compared, "comparisons")
    assert shop.metric("canarec_shadow_requests_total", outcome="error") == 0
    assert shop.metric("canarec_shadow_overlap_count") > 20
    in_force(shop, canary={**shop.settings["canary"], "percentage": 10})

    def told():
        events = [event for event in shop.everything("canary-events") if event["event"] == "shadow"]
        return events[-1] if events else None

    event = shop.wait(told, "what the shadow showed")
    assert (event["to"]["candidate"], event["to"]["percentage"], event["from"]) == ("v2", 0, event["to"])
    found = event["shadow"]
    assert found["requests"] > 20
    assert (found["errors"], found["empty"]) == (0, 0)
    assert 0 < found["overlap"] <= 1
    assert found["scoring_ms"]["stable"]["mean"] > 0
    assert found["scoring_ms"]["canary"]["p99"] > 0
