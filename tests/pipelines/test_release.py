"""The scheduler's job for the canary: what it writes down, what it changes, and what it does while Kafka takes nothing."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from models.config import Applied, Canary, Config, Margins, Release, canonical
from models.errors import CanarecError
from models.release.chain import Chain
from models.release.evidence import ArmEvidence, Evidence, Moments
from models.release.rollout import NotNow
from models.release.story import Story
from pipelines.release import TOLD_EVERY_S, WHO, Releasing
from pipelines.trial import Ledger, Seen

NOW = datetime(2026, 11, 27, 8, tzinfo=UTC)
TRIAL = Canary(stable="v1", candidate="v2", percentage=10)


def arm(n, mean, **more):
    """So many users with this rate in every metric, half men and half women."""
    hits = round(n * mean / 2)
    half = Moments(n // 2, hits * 10_000, hits * 100_000_000)
    users = {metric: {"M": half, "F": half} for metric in ("success", "ctr", "hit_rate", "satisfaction")}
    known = {"requests": 5 * n, "scorings": 5_000, "scoring_p99_ms": 1.0, **more}
    return ArmEvidence(users, **known)


def evidence(stable=0.3, canary=0.3, n=6_000, percentage=10.0, **more):
    return Evidence("v1", "v2", percentage, 4_000.0, arm(n, stable), arm(n, canary, **more))


class Home:
    """`Surroundings`, and what a home and Kafka would hold."""

    def __init__(self, canary=TRIAL, **release):
        self.canary, self.release = (
            canary,
            Release(**{"automation": "act", "margins": Margins(success=0.05), **release}),
        )
        self.records, self.changes, self.shown, self.waiting = [], [], [], None
        self.refuses = None
        self.following = Looks(self)

    def load(self):
        return Applied(Config(canary=self.canary, release=self.release), "", "c")

    def change(self, move, name, why):
        if self.refuses is not None:
            raise self.refuses
        self.canary = move(self.canary)
        self.changes.append((name, why))

    def keep(self, record):
        self.records.append(record)

    def home(self):
        return "h1"

    def last(self):
        return self.records[-1]["sha256"] if self.records else None

    def tell(self, applied):
        if self.waiting is None:
            for record in self.records[self.following.ledger.chain.records :]:
                told, _ = self.following.ledger.chain.add(canonical(record).encode())
                self.following.ledger.story.add(told, 0)
        return self.waiting

    def show(self, judged):
        self.shown.append(judged and judged.verdict.phase)


class Looks:
    """What a look at the topics finds: `found`, whatever Kafka holds."""

    def __init__(self, home):
        self.found, self._home = evidence(), home
        self.ledger = Ledger.__new__(Ledger)
        self.ledger.chain, self.ledger.story = Chain(), Story()
        self.in_force = True

    def look(self, applied, now_ms):
        found = msgspec.structs.replace(self.found, percentage=applied.config.canary.percentage)
        return Seen(found, 0, now_ms, {"provenance": {"0": 7}}, self.in_force)


def turn(home, after_s=0.0):
    return Releasing(home.following, home).turn(NOW + timedelta(seconds=after_s))


def reasons(home):
    return [record["verdict"]["reason"] for record in home.records]


def test_a_worse_candidate_is_rolled_back_and_the_record_says_why():
    home = Home()
    home.following.found = evidence(canary=0.2)
    assert turn(home) == home.release.look_every_s
    ((name, why),) = home.changes
    assert (name, home.canary.candidate, home.canary.rolled_back) == ("rolled_back", None, "v2")
    (record,) = home.records
    assert (record["who"], record["event"], record["verdict"]["message"]) == (WHO, "verdict", why)
    assert record["verdict"]["phase"] == "rollback"
    assert record["offsets"] == {"provenance": {"0": 7}}


def test_a_sound_one_goes_step_by_step_and_is_promoted():
    home = Home()
    for _ in range(4):
        turn(home)
    assert [name for name, _ in home.changes] == ["set", "set", "set", "promoted"]
    assert home.canary.stable == "v2"
    assert reasons(home) == ["not_worse"] * 4
    assert [record["evidence"]["percentage"] for record in home.records] == [10, 25, 50, 100]
    chain = Chain()
    assert [chain.add(canonical(record).encode())[1] for record in home.records] == [[]] * 4


def test_a_step_that_no_worker_has_begun_is_not_left():
    home = Home()
    home.following.in_force = False
    turn(home)
    assert home.changes == []


@pytest.mark.parametrize("automation", ["off", "advise"])
def test_without_leave_to_act_nothing_is_changed(automation):
    home = Home(automation=automation)
    home.following.found = evidence(canary=0.2)
    turn(home)
    assert home.changes == []
    assert reasons(home) == ([] if automation == "off" else ["worse"])


def test_without_a_candidate_there_is_no_verdict():
    home = Home(Canary(candidate=None))
    turn(home)
    assert (home.records, home.shown) == ([], [None])


def test_a_verdict_is_written_once_until_it_is_another_or_its_figures_are_old():
    home = Home(automation="advise")
    home.following.found = evidence(n=600)
    turn(home)
    turn(home, 10)
    home.following.found = evidence(n=602)
    turn(home, 20)  # other figures, the same verdict
    assert len(home.records) == 1
    turn(home, TOLD_EVERY_S + 20)
    turn(home, TOLD_EVERY_S + 30)
    assert len(home.records) == 2
    home.following.found = evidence(canary=0.1)
    turn(home, TOLD_EVERY_S + 40)
    assert reasons(home) == ["undecided", "undecided", "worse"]


def test_time_alone_is_no_news():
    home = Home(automation="advise")
    turn(home)
    home.following.found = msgspec.structs.replace(home.following.found, held_s=9_999.0)
    turn(home, 2 * TOLD_EVERY_S)
    assert len(home.records) == 1


def test_paused_it_stays_and_harm_still_ends_it():
    home = Home(msgspec.structs.replace(TRIAL, paused=True))
    turn(home)
    assert home.changes == []
    home.following.found = evidence(canary=0.2)
    turn(home)
    assert [name for name, _ in home.changes] == ["rolled_back"]


def test_what_cannot_be_changed_is_an_error_and_written_down_once():
    home = Home()
    home.following.found = evidence(canary=0.2)
    home.refuses = NotNow("changed meanwhile")
    job = Releasing(home.following, home)
    for _ in range(3):
        with pytest.raises(NotNow):
            job.turn(NOW)
    assert len(home.records) == 1
    home.refuses = None
    job.turn(NOW)
    assert home.canary.candidate is None


def test_while_kafka_takes_nothing_no_further_verdict_is_written():
    home = Home()
    home.waiting = "no Kafka broker answers"
    with pytest.raises(CanarecError, match="no Kafka broker answers"):
        turn(home)
    assert (home.records, home.changes) == ([], [])


def test_harm_is_ended_also_if_kafka_goes_away_in_between():
    home = Home()
    home.following.found = evidence(canary=0.2)
    look = home.following.look

    def lost(applied, now_ms):
        found = look(applied, now_ms)
        home.waiting = "no Kafka broker answers"
        return found

    home.following.look = lost
    with pytest.raises(CanarecError):
        turn(home)
    assert (home.canary.candidate, len(home.records)) == (None, 1)


def test_a_record_that_the_topic_has_lost_is_named_all_the_same():
    home = Home()
    turn(home)
    lost = home.records[-1]["sha256"]
    home.following.ledger.chain, home.following.ledger.story = Chain(), Story()
    job = Releasing(home.following, home)
    home.tell = lambda applied: None
    job.turn(NOW)
    assert home.records[-1]["previous"] == lost


def test_a_verdict_of_another_home_is_not_its_own_word():
    home = Home(automation="advise")
    home.following.found = evidence(n=600)
    turn(home)
    other = {**home.records[0], "home": "h2"}
    home.following.ledger.story.add(other, 0)
    turn(home, 10)
    assert len(home.records) == 1
    home.following.ledger.story.run("v1", "v2").verdicts.pop("h1")
    turn(home, 20)
    assert [record["home"] for record in home.records] == ["h1", "h1"]


def test_a_look_is_shown():
    home = Home(automation="advise")
    turn(home)
    assert home.shown == ["advance"]


def test_a_reason_to_go_on_is_told_before_the_split_changes():
    home = Home()
    order = []
    tell, change = home.tell, home.change
    home.tell = lambda applied: order.append(f"told {len(home.records)}") or tell(applied)
    home.change = lambda *todo: order.append("changed") or change(*todo)
    turn(home)
    assert order == ["told 0", "told 1", "changed", "told 1"]
