"""The alert rules by promtool: each fires when it is to, in the words that people read, and stays silent just below."""

import json

import pytest
import yaml

from tests.compose.conftest import COMPOSE

RULES = sorted((COMPOSE / "prometheus" / "rules").glob("*.yml"))
DAY = 1_440  # minutes

# Counters that grow evenly, a step a minute: `all` and of them `bad`.


def answers(bad, of=1_000):
    return {
        'canarec_requests_total{outcome="ok"}': f"0+{of - bad}x2000",
        'canarec_requests_total{outcome="fallback"}': f"0+{bad}x2000",
        'canarec_fallbacks_total{reason="model_failed"}': f"0+{bad}x2000",
        'canarec_fallbacks_total{reason="unknown_user"}': "0+900x2000",  # people's, not ours
    }


def late(bad, of=1_000):
    return {
        'canarec_request_latency_seconds_bucket{le="0.25"}': f"0+{of - bad}x2000",
        'canarec_request_latency_seconds_bucket{le="+Inf"}': f"0+{of}x2000",
        "canarec_request_latency_seconds_count": f"0+{of}x2000",
    }


def http(bad, of=1_000):
    return {
        'canarec_api_requests_total{route="recommend",code="200"}': f"0+{of - bad}x2000",
        'canarec_api_requests_total{route="recommend",code="503"}': f"0+{bad}x2000",
        'canarec_api_requests_total{route="events",code="500"}': "0+900x2000",  # no list was asked for
    }


def lag(requests, events):
    return {
        'canarec_consumer_lag{topic="recommendation-requests",instance="a"}': f"{requests}+0x2000",
        'canarec_consumer_lag{topic="recommendation-requests",instance="b"}': f"{requests}+0x2000",
        'canarec_consumer_lag{topic="watch-events"}': f"{events}+0x2000",
    }


def waits(within_1_s):
    return {
        'canarec_freshness_seconds_bucket{le="1"}': f"0+{within_1_s}x2000",
        'canarec_freshness_seconds_bucket{le="2.5"}': "0+1000x2000",
        'canarec_freshness_seconds_bucket{le="+Inf"}': "0+1000x2000",
    }


def messages(refused, reason="not_json"):
    return {
        f'canarec_dead_letters_total{{topic="watch-events",reason="{reason}"}}': f"0+{refused}x2000",
        'canarec_events_total{topic="watch-events"}': "0+900x2000",
        'canarec_requests_total{outcome="ok"}': "0+100x2000",
    }


def due(since_s, events):
    """Due `since_s` before minute 2,000."""
    return {
        'canarec_retraining_due_timestamp_seconds{model_version="v3"}': f"{2_000 * 60 - since_s}+0x2000",
        'canarec_events_total{topic="rating-events"}': f"0+{events}x2000",
    }


UP = {'up{job="scheduler"}': "1+0x2000", "canarec_worker_ready": "1+0x2000", "canarec_api_ready": "1+0x2000"}

# alert, series, minute, what follows: None, or its summary and labels beside severity
TABLE = [
    ("AnswersFailFast", answers(15), 70, "1.5% of the answers of the last hour are fallbacks of our own making", {}),
    ("AnswersFailFast", answers(14), 70, None, {}),
    ("AnswersFailFast", {}, 70, None, {}),  # nobody asks
    ("AnswersFail", answers(7), 400, "0.7% of the answers of six hours are fallbacks of our own making", {}),
    ("AnswersFail", answers(5), 400, None, {}),
    ("AnswersFailSlowly", answers(4), DAY + 60, "0.4% of the answers of a day are fallbacks of our own making", {}),
    ("AnswersFailSlowly", answers(3 - 0.1), DAY + 60, None, {}),
    ("AnswersLateFast", late(150), 70, "15% of the answers of the last hour took more than 0.25 s", {}),
    ("AnswersLateFast", late(140), 70, None, {}),
    ("AnswersLate", late(70), 400, "7% of the answers of six hours took more than 0.25 s", {}),
    ("AnswersLate", late(50), 400, None, {}),
    ("AnswersLateSlowly", late(40), DAY + 60, "4% of the answers of a day took more than 0.25 s", {}),
    ("AnswersLateSlowly", late(20), DAY + 60, None, {}),
    ("GatewayFailsFast", http(15), 70, "1.5% of the HTTP requests of the last hour got no list", {}),
    ("GatewayFailsFast", http(14), 70, None, {}),
    ("GatewayFails", http(7), 400, "0.7% of the HTTP requests of six hours got no list", {}),
    ("GatewayFails", http(5), 400, None, {}),
    ("NoWorkerAnswers", {}, 3, "no worker answers", {}),
    ("NoWorkerAnswers", {"canarec_worker_ready": "1 0x10"}, 3, "no worker answers", {}),
    ("NoWorkerAnswers", UP, 3, None, {}),
    ("GatewayNotReady", {"canarec_api_ready": "0x10"}, 3, "no gateway takes requests and sees answers", {}),
    ("GatewayNotReady", {}, 3, "no gateway takes requests and sees answers", {}),
    ("GatewayNotReady", UP, 3, None, {}),
    ("SchedulerAway", {}, 12, "no scheduler runs - nothing is retrained, no candidate is judged", {}),
    ("SchedulerAway", UP, 12, None, {}),
    (
        "TargetDown",
        {'up{job="api",instance="a:1"}': "0x10"},
        3,
        "api at a:1 shows no metrics",
        {"job": "api", "instance": "a:1"},
    ),
    ("TargetDown", UP, 3, None, {}),
    ("RequestsWait", lag(501, 0), 4, "1.002k requests wait for a worker", {}),
    ("RequestsWait", lag(500, 99_999), 4, None, {}),
    ("RequestsWait", lag(501, 0), 1, None, {}),  # not yet for two minutes
    ("EventsWait", lag(0, 10_001), 12, "10k messages of watch-events wait to be judged", {"topic": "watch-events"}),
    ("EventsWait", lag(99_999, 10_000), 12, None, {}),
    ("HistoriesBehind", waits(900), 12, "requests wait 2.35s (p99) for the events before them", {}),
    ("HistoriesBehind", waits(990), 12, None, {}),
    (
        "ModelCannotBeLoaded",
        {'canarec_model_load_failures_total{model_version="v9"}': "0+1x30"},
        12,
        "v9 cannot be loaded - its users get popular movies",
        {"model_version": "v9"},
    ),
    ("ModelCannotBeLoaded", {'canarec_model_load_failures_total{model_version="v9"}': "3+0x30"}, 12, None, {}),
    (
        "ConfigurationRefused",
        {"canarec_config_refused_total": "0 0 0 1+0x30"},
        8,
        "a change of config.json was refused, the last good one stays in force",
        {},
    ),
    ("ConfigurationRefused", {"canarec_config_refused_total": "1+0x30"}, 8, None, {}),
    ("ProvenanceBehind", {"canarec_provenance_csv_lag": "10001+0x30"}, 12, "the provenance CSV is behind", {}),
    (
        "ProvenanceBehind",
        {"canarec_provenance_csv_lag": "0x30", "canarec_provenance_csv_looked_timestamp_seconds": "0x30"},
        14,
        "the provenance CSV is behind",
        {},
    ),
    (
        "ProvenanceBehind",
        {"canarec_provenance_csv_lag": "10000+0x30", "canarec_provenance_csv_looked_timestamp_seconds": "0+60x30"},
        14,
        None,
        {},
    ),
    (
        "ProvenanceLost",
        {"canarec_provenance_csv_lost": "7+0x9"},
        2,
        "7 records left the provenance topic before they were in the CSV",
        {},
    ),
    ("ProvenanceLost", {"canarec_provenance_csv_lost": "0x9"}, 2, None, {}),
    (
        "WindowsLate",
        {
            'canarec_windows_late_seconds{window="300",instance="a"}': "2701+0x30",
            'canarec_windows_late_seconds{window="300",instance="b"}': "0x30",
            'canarec_windows_late_seconds{window="3600",instance="a"}': "0x30",
        },
        7,
        "windows of 300 s are not written, for 45m 1s - no alert of fairness or loops can rise",
        {"window": "300"},
    ),
    ("WindowsLate", {'canarec_windows_late_seconds{window="300"}': "2700+0x30"}, 12, None, {}),
    ("WindowsLate", {'canarec_windows_late_seconds{window="300"}': "2701 0x30"}, 7, None, {}),  # written meanwhile
    ("WindowsLate", {'canarec_window_end_timestamp_seconds{window="300"}': "0x30"}, 12, None, {}),  # nobody asks
    ("DeadLetters", messages(20), 30, "1.961% of the messages are refused", {}),
    ("DeadLetters", messages(10), 30, None, {}),
    (
        "InternalErrors",
        messages(1, "internal_error"),
        12,
        "canarec itself failed on messages of watch-events",
        {"topic": "watch-events"},
    ),
    ("InternalErrors", messages(1), 12, None, {}),
    (
        "Unfair",
        {'canarec_fairness_alert{window="300",variant="stable",instance="a"}': "1x9"},
        2,
        "men and women are surely not served alike by stable (windows of 300 s)",
        {"window": "300", "variant": "stable"},
    ),
    ("Unfair", {'canarec_fairness_alert{window="300",variant="stable"}': "0x9"}, 2, None, {}),
    (
        "FeedbackLoop",
        {'canarec_feedback_loop_alert{window="3600",variant="canary"}': "1x9"},
        2,
        "click-through and hit rate of canary have fallen together (windows of 3600 s)",
        {"window": "3600", "variant": "canary"},
    ),
    ("FeedbackLoop", {'canarec_feedback_loop_alert{window="3600",variant="canary"}': "0x9"}, 2, None, {}),
    (
        "CandidateFails",
        {'canarec_canary_verdict{outcome="FAIL",phase="rollback"}': "1x9"},
        3,
        "the candidate fails: rollback",
        {"phase": "rollback"},
    ),
    ("CandidateFails", {'canarec_canary_verdict{outcome="INCONCLUSIVE",phase="hold"}': "1x9"}, 3, None, {}),
    (
        "SplitMismatch",
        {'canarec_canary_sample_ratio_p{model_version="v2"}': "0.0009+0x9"},
        3,
        "v2 meets another share of the users than the split gives (p = 0.0009)",
        {"model_version": "v2"},
    ),
    ("SplitMismatch", {'canarec_canary_sample_ratio_p{model_version="v2"}': "0.001+0x9"}, 3, None, {}),
    (
        "ConfigurationsDiffer",
        {
            'canarec_config_info{config_sha256="a",instance="1"}': "1x9",
            'canarec_config_info{config_sha256="b",instance="2"}': "1x9",
        },
        4,
        "workers answer by 2 different configurations",
        {},
    ),
    (
        "ConfigurationsDiffer",
        {
            'canarec_config_info{config_sha256="a",instance="1"}': "1x9",
            'canarec_config_info{config_sha256="a",instance="2"}': "1x9",
        },
        4,
        None,
        {},
    ),
    (
        "NoVerdict",
        {'canarec_canary_verdict_timestamp_seconds{model_version="v2"}': "0x40"},
        30,
        "the verdict on v2 is 30m 0s old",
        {"model_version": "v2"},
    ),
    ("NoVerdict", {'canarec_canary_verdict_timestamp_seconds{model_version="v2"}': "0+60x40"}, 30, None, {}),
    (
        "RetrainingOverdue",
        due(90_000, 5),
        2_000,
        "a new version has been due for 1d 1h 0m 0s, and there is enough new",
        {},
    ),
    ("RetrainingOverdue", due(80_000, 5), 2_000, None, {}),
    ("RetrainingOverdue", due(90_000, 0.5), 2_000, None, {}),  # nothing to train from
    ("RetrainingFailed", {'canarec_retraining_total{outcome="failed"}': "0 0 1+0x60"}, 20, "a retraining failed", {}),
    ("RetrainingFailed", {'canarec_retraining_total{outcome="finished"}': "0 0 1+0x60"}, 20, None, {}),
    (
        "Drift",
        {'canarec_drift_alert{model_version="v3"}': "1x60"},
        40,
        "people watch other movies than v3 was trained on, and its lists have become worse",
        {"model_version": "v3"},
    ),
    ("Drift", {'canarec_drift_alert{model_version="v3"}': "0x60"}, 40, None, {}),
]


def test_promtool_finds_nothing_wrong_with_the_rules(promtool):
    told = promtool("check", "rules", *RULES)
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count("SUCCESS") == len(RULES)


def test_promtool_finds_nothing_wrong_with_the_configuration(promtool, tmp_path):
    text = (COMPOSE / "prometheus" / "prometheus.yml").read_text()
    (tmp_path / "token").write_text("secret")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/api-token", str(tmp_path / "token")))
    (tmp_path / "rules").symlink_to(COMPOSE / "prometheus" / "rules")
    told = promtool("check", "config", tmp_path / "prometheus.yml")
    assert told.returncode == 0, told.stdout + told.stderr


def test_every_alert_fires_and_is_silent_in_the_table(alerts):
    fired = {name for name, *_, summary, _ in TABLE if summary is not None}
    silent = {name for name, *_, summary, _ in TABLE if summary is None}
    assert fired == silent == alerts.keys()


def groups_of(alert, objective):
    """The group of an alert, and that of the shares it is about: promtool takes minutes to compute all of a day's."""
    return [
        group
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        if group["name"] == f"slo-{objective}" or any(rule.get("alert") == alert for rule in group["rules"])
    ]


@pytest.mark.parametrize(
    ("alert", "series", "minute", "summary", "labels"),
    [pytest.param(*row, id=f"{row[0]}-{'fires' if row[3] else 'silent'}-{i}") for i, row in enumerate(TABLE)],
)
def test_an_alert(promtool, alerts, tmp_path, alert, series, minute, summary, labels):
    rule = alerts[alert]
    expected = {
        "exp_labels": {**rule["labels"], **labels},
        "exp_annotations": {"summary": summary, "runbook": rule["annotations"]["runbook"]},
    }
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": groups_of(alert, rule["labels"].get("objective"))}))
    case = {
        "rule_files": [str(tmp_path / "rules.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": [expected] if summary else []}
                ],
            }
        ],
    }
    (tmp_path / "case.yml").write_text(json.dumps(case))
    told = promtool("test", "rules", tmp_path / "case.yml")
    assert told.returncode == 0, told.stdout + told.stderr
