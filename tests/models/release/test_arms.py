"""Each arm's figures: known by construction, and nobody counts in an arm who was not drawn into it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Canary
from models.events import Feedback
from models.release.arms import Arm, At, Seen, Served, arms, began

SPLIT = Canary(stable="v1", candidate="v2", percentage=50)
HORIZON = 1_000


def served(number, variant="stable", *, user=None, at=0, status="ok", **fields):
    version = {"stable": "v1", "canary": "v2"}[variant]
    record = {
        "request_id": f"r{number}",
        "user_id": user or f"u{number}",
        "status": status,
        "recommendations": [f"m{number}", "heat+1995"],
        "latency_ms": 10 + number,
        "variant": variant,
        "model_version": version,
        **fields,
    }
    return At(at, Served(**record))


def counted(answers, feedback=(), watches=(), *, canary=SPLIT, genders=None, now=10_000):
    return arms(canary, answers, feedback, watches, genders=genders or {}, horizon_ms=HORIZON, now_ms=now)


def test_arms_are_told_apart():
    found = counted([served(1), served(2), served(2, user="u1"), served(3, "canary")])
    stable, canary = found.of["stable"], found.of["canary"]
    assert (stable.version, stable.requests, len(stable.users)) == ("v1", 3, 2)
    assert (canary.version, canary.requests, canary.users) == ("v2", 1, {"u3"})


def test_a_fallback_is_no_success_and_says_why():
    arm = counted(
        [served(1), served(2, status="fallback", reason="model_failed"), served(3), served(4, status="fallback")]
    ).of["stable"]
    assert arm.success == 0.5
    assert arm.reasons == {"model_failed": 1, "unknown": 1}


def test_what_became_of_answers_counts_in_their_arm():
    answers = [served(1), served(2, "canary"), served(3, "canary", at=5), served(4, "canary", at=9_500)]
    said = [(20, Feedback("r2", None, "m2", 0.5, None)), (30, Feedback("r1", None, None, 0.25, None))]
    seen = [Seen(900, "u2", "heat+1995"), Seen(1_005, "u3", "m3"), Seen(9_600, "u4", "m4")]
    found = counted(answers, said, seen, genders={"u2": "F", "u1": "M"})
    stable, canary = (found.of[variant].figures for variant in ("stable", "canary"))
    assert (stable.ctr, stable.hit_rate, stable.satisfaction["M"].mean) == (0.0, 0.0, 0.25)
    assert canary.ctr == pytest.approx(1 / 3)
    assert canary.hit_rate == 0.5  # u3 watched when the horizon was over; u4's has not passed
    assert canary.satisfaction["F"].mean == 0.5


def test_the_order_in_which_partitions_are_read_does_not_matter():
    answers = [served(number, "canary", user="u", at=100 * number) for number in range(5)]
    seen = [Seen(450, "u", "m3"), Seen(399, "u", "m0")]
    one, other = counted(answers, (), seen), counted(answers[::-1], (), seen[::-1])
    assert one.of["canary"].figures == other.of["canary"].figures
    assert one.of["canary"].figures.hits == 2


def test_forced_users_are_in_no_arm():
    found = counted([served(1, "canary", forced=True), served(2)])
    assert (found.of["canary"].requests, found.of["stable"].requests, found.forced) == (0, 1, 1)


def test_answers_of_versions_that_have_left_are_in_no_arm():
    found = counted([served(1, model_version="v0"), served(2, "canary", model_version="v1"), served(3)])
    assert (found.others, found.of["stable"].requests, found.of["canary"].requests) == (2, 1, 0)


def test_a_rejected_request_is_in_no_arm():
    found = counted([At(0, Served("r", None, "rejected", [], 1, reason="bad_n")), served(2)])
    assert (found.rejected, found.of["stable"].requests) == (1, 1)


def test_without_a_candidate_there_is_one_arm():
    found = counted([served(1), served(2, "canary")], canary=Canary(stable="v1", candidate=None))
    assert set(found.of) == {"stable"}
    assert (found.others, found.in_both) == (1, 0)


def test_in_an_a_a_split_the_variant_tells_the_arms_apart():
    same = Canary(stable="v1", candidate="v1", percentage=50)
    found = counted([served(1), served(2, "canary", model_version="v1")], canary=same)
    assert [found.of[variant].requests for variant in ("stable", "canary")] == [1, 1]


def test_who_met_both_arms_is_counted():
    assert counted([served(1, user="u"), served(2, "canary", user="u"), served(3, "canary")]).in_both == 1


def test_an_arm_without_answers_has_no_figures():
    arm = counted([]).of["canary"]
    assert (arm.requests, arm.success, arm.latency_ms(0.5), arm.figures.ctr, arm.figures.hit_rate) == (
        0,
        None,
        None,
        None,
        None,
    )


@given(st.lists(st.integers(0, 1_000), min_size=1), st.floats(0, 1))
def test_a_quantile_is_a_latency_that_so_many_did_not_exceed(latencies, quantile):
    found = Arm("v1", latencies_ms=latencies).latency_ms(quantile)
    assert found in latencies
    assert sum(one <= found for one in latencies) >= quantile * len(latencies)
    assert sum(one < found for one in latencies) <= max(0, quantile * len(latencies))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], None),
        ([(1, "v1", "v2")], 1),
        ([(1, "v1", "v2"), (5, "v1", "v2")], 1),  # another percentage, another worker
        ([(1, "v1", "v2"), (5, "v1", None), (7, "v1", "v2")], 7),
        ([(1, "v1", "v2"), (5, "v2", None)], None),
    ],
)
def test_a_trial_began_when_these_versions_came_into_force(told, expected):
    assert began(told, SPLIT) == expected
