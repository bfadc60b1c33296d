"""The three dashboards, as code: run it, and it writes dashboards/*.json beside it, which Grafana is provisioned with.

    python compose/grafana/dashboards.py

A panel is a title, what it says, its queries and its unit; where it stands follows from its place in the list. tests/broker/test_monitoring.py
runs every query against a Prometheus that scrapes a running system.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
WIDTH = 24  # Grafana's grid
GREEN, YELLOW, RED = "green", "#EAB839", "red"
SPLIT = "max(changes(canarec_canary_percentage[1m])) > 0"
RATE = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """`queries`: the legend of each, then PromQL. `steps`: colours from a value on, the first one's is None."""

    title: str
    says: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    steps: tuple[tuple[float | None, str], ...] = ()
    low: float | None = None
    high: float | None = None
    mappings: dict[str, tuple[str, str]] = field(default_factory=dict)
    dashed: str = ""  # series whose legend matches are thin and dashed: bounds and thresholds


def panel(made: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """As Grafana has it."""
    defaults: dict[str, Any] = {"unit": made.unit, "color": {"mode": "palette-classic"}, "custom": {}}
    if made.low is not None:
        defaults["min"] = made.low
    if made.high is not None:
        defaults["max"] = made.high
    if made.steps:
        steps = [{"color": color, "value": value} for value, color in made.steps]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    if made.mappings:
        options = {
            value: {"text": text, "color": color, "index": i}
            for i, (value, (text, color)) in enumerate(made.mappings.items())
        }
        defaults["mappings"] = [{"type": "value", "options": options}]
    options_: dict[str, Any] = {}
    if made.kind == "stat":
        defaults["color"] = {"mode": "thresholds"}
        options_ = {
            "colorMode": "background" if made.steps or made.mappings else "none",
            "graphMode": "none",
            "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    elif made.kind == "timeseries":
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": 600_000}
        if made.steps:
            defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
        options_ = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif made.kind == "state-timeline":
        defaults["color"] = {"mode": "thresholds"}
        options_ = {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8}
    overrides = []
    if made.dashed:
        line = [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 6]}},
            {"id": "custom.fillOpacity", "value": 0},
        ]
        overrides.append({"matcher": {"id": "byRegexp", "options": made.dashed}, "properties": line})
    return {
        "id": number,
        "type": made.kind,
        "title": made.title,
        "description": made.says,
        "datasource": PROMETHEUS,
        "gridPos": {"x": x, "y": y, "w": made.width, "h": made.height},
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": options_,
        "targets": [
            {
                "refId": chr(65 + i),
                "datasource": PROMETHEUS,
                "expr": query,
                "legendFormat": legend,
                "instant": False,
                "range": True,
            }
            for i, (legend, query) in enumerate(made.queries.items())
        ],
    }


def dashboard(uid: str, title: str, says: str, panels: list[Panel], *, window: bool = False) -> dict[str, Any]:
    """Panels from left to right, a new line where the next one does not fit."""
    placed, x, y, tallest = [], 0, 0, 0
    for number, made in enumerate(panels, 1):
        if x + made.width > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        placed.append(panel(made, number, x, y))
        x, tallest = x + made.width, max(tallest, made.height)
    variables = []
    if window:
        query = "label_values(canarec_window_requests, window)"
        variables.append(
            {
                "name": "window",
                "label": "window, seconds",
                "type": "query",
                "datasource": PROMETHEUS,
                "query": {"query": query, "refId": "window"},
                "definition": query,
                "refresh": 2,
                "sort": 3,
                "includeAll": False,
                "multi": False,
            }
        )
    split = {
        "name": "split",
        "datasource": PROMETHEUS,
        "enable": True,
        "iconColor": "purple",
        "expr": SPLIT,
        "step": "30s",
        "titleFormat": "the split was changed",
        "textFormat": "changes of canarec_canary_percentage",
        "useValueForTime": False,
    }
    others = {
        "type": "dashboards",
        "title": "canarec",
        "tags": ["canarec"],
        "asDropdown": False,
        "keepTime": True,
        "includeVars": False,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
    return {
        "uid": uid,
        "title": title,
        "description": says,
        "tags": ["canarec"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [others],
        "annotations": {"list": [split]},
        "templating": {"list": variables},
        "panels": placed,
    }


def p(quantile: float, histogram: str, by: str = "") -> str:
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({groups}) (rate({histogram}_bucket[{RATE}])))"


OWN = 'reason=~"model_failed|history_behind|deadline_passed|overloaded"'

SERVICE = [
    Panel(
        "Workers that answer",
        "Those that have caught up. None for a minute is the alert NoWorkerAnswers.",
        {"": "sum(canarec_worker_ready) or vector(0)"},
        kind="stat",
        width=4,
        height=4,
        steps=((None, RED), (1, GREEN)),
    ),
    Panel(
        "Gateways that are ready",
        "Those that send requests and see answers.",
        {"": "sum(canarec_api_ready) or vector(0)"},
        kind="stat",
        width=4,
        height=4,
        steps=((None, RED), (1, GREEN)),
    ),
    Panel(
        "Answers a second",
        "By topic and by HTTP alike.",
        {"": "sum(rate(canarec_requests_total[1m]))"},
        unit="reqps",
        kind="stat",
        width=4,
        height=4,
    ),
    Panel(
        "Later than 0.25 s",
        "Share of the answers of an hour; the objective is 1 %.",
        {"": "canarec:latency_bad:ratio_rate1h"},
        unit="percentunit",
        kind="stat",
        width=4,
        height=4,
        steps=((None, GREEN), (0.01, YELLOW), (0.144, RED)),
    ),
    Panel(
        "Fallbacks of our own making",
        "Share of the answers of an hour: model failed, history behind, too late. A user whom nobody knows is none. The objective is 0.1 %.",
        {"": "canarec:answers_bad:ratio_rate1h"},
        unit="percentunit",
        kind="stat",
        width=4,
        height=4,
        steps=((None, GREEN), (0.001, YELLOW), (0.0144, RED)),
    ),
    Panel(
        "Requests that wait",
        "For a worker, now.",
        {"": 'sum(canarec_consumer_lag{topic=~".*recommendation-requests"})'},
        kind="stat",
        width=4,
        height=4,
        steps=((None, GREEN), (100, YELLOW), (1000, RED)),
    ),
    Panel(
        "Answers",
        "ok: by a model. fallback: popular movies, for a reason. rejected: the request was wrong.",
        {"{{outcome}}": f"sum by (outcome) (rate(canarec_requests_total[{RATE}]))"},
        unit="reqps",
    ),
    Panel(
        "Fallbacks by reason",
        "unknown_user and no_history are people's; the others are ours (docs/operating.md, Reasons of answers).",
        {"{{reason}}": f"sum by (reason) (rate(canarec_fallbacks_total[{RATE}]))"},
        unit="reqps",
    ),
    Panel(
        "HTTP by status",
        "Of the gateway's requests for a list.",
        {"{{code}}": f'sum by (code) (rate(canarec_api_requests_total{{route="recommend"}}[{RATE}]))'},
        unit="reqps",
    ),
    Panel(
        "Latency",
        "From the broker's time of a request to its answer's commit.",
        {f"p{round(100 * q)}": p(q, "canarec_request_latency_seconds") for q in (0.5, 0.95, 0.99)},
        unit="s",
        low=0,
        steps=((None, "transparent"), (0.25, RED)),
    ),
    Panel(
        "Latency over HTTP",
        "From an HTTP request to its answer, those that got one.",
        {f"p{round(100 * q)}": p(q, "canarec_api_request_seconds") for q in (0.5, 0.95, 0.99)},
        unit="s",
        low=0,
        steps=((None, "transparent"), (0.15, RED)),
    ),
    Panel(
        "Scoring a batch",
        "Split, fold-in, best n, fallbacks; and how many requests were scored together.",
        {"p50": p(0.5, "canarec_scoring_seconds"), "p99": p(0.99, "canarec_scoring_seconds")},
        unit="s",
        low=0,
    ),
    Panel(
        "Lag",
        "Messages between the workers and the end of each topic, from canarec itself. Transaction markers count, so some stay.",
        {"{{topic}}": "sum by (topic) (canarec_consumer_lag)"},
        low=0,
    ),
    Panel(
        "Freshness",
        "How long a batch waited for the events that were published before it.",
        {"p50": p(0.5, "canarec_freshness_seconds"), "p99": p(0.99, "canarec_freshness_seconds")},
        unit="s",
        low=0,
        steps=((None, "transparent"), (1, RED)),
    ),
    Panel(
        "Events",
        "Good ones, as they were judged.",
        {"{{topic}}": f"sum by (topic) (rate(canarec_events_total[{RATE}]))"},
        unit="ops",
    ),
    Panel(
        "Burn of the error budgets",
        "1: the budget of 30 days is used up in 30 days. 14.4 over an hour wakes somebody.",
        {
            "answers": "canarec:answers_bad:ratio_rate1h / 0.001",
            "in time": "canarec:latency_bad:ratio_rate1h / 0.01",
            "gateway": "canarec:gateway_bad:ratio_rate1h / 0.001",
        },
        low=0,
        steps=((None, "transparent"), (1, YELLOW), (14.4, RED)),
    ),
    Panel(
        "Provenance CSV",
        "Records that are not in the CSV yet, and the age of its writer's last look.",
        {
            "lag": "max(canarec_provenance_csv_lag)",
            "seconds since the last look": "time() - max(canarec_provenance_csv_looked_timestamp_seconds)",
        },
        low=0,
    ),
    Panel(
        "Requests in one batch",
        "More of them wait together where there is more to do.",
        {"mean": f"sum(rate(canarec_batch_requests_sum[{RATE}])) / sum(rate(canarec_batch_requests_count[{RATE}]))"},
        low=0,
    ),
    Panel(
        "Histories",
        "Users with a history, and pairs of user and movie: the same in each worker.",
        {"users": "max(canarec_history_users)", "interactions": "max(canarec_history_interactions)"},
    ),
    Panel(
        "Memory",
        "Of each worker's process that answers. Its standby and writers are beside it.",
        {"{{job}} {{instance}}": 'process_resident_memory_bytes{job="worker"}'},
        unit="bytes",
        low=0,
    ),
    Panel(
        "What is scraped",
        "Whether Prometheus gets the metrics of each process.",
        {"{{job}} {{instance}}": "up"},
        kind="state-timeline",
        steps=((None, RED), (1, GREEN)),
        mappings={"0": ("down", RED), "1": ("up", GREEN)},
    ),
]

BOUNDS = [
    Panel(
        f"{metric}: candidate less stable",
        "The difference so far, the bounds of the true one, and the margin. Below −margin with its upper bound: worse. Above it with the lower one: not worse.",
        {
            "{{side}}": f'max by (side) (canarec_canary_bound{{metric="{metric}"}})',
            "−margin": f'-max(canarec_canary_margin{{metric="{metric}"}})',
        },
        unit="percentunit",
        width=6,
        dashed="lower|upper|−margin",
    )
    for metric in ("success", "ctr", "hit_rate", "satisfaction")
]

CANARY = [
    Panel(
        "Share of the candidate",
        "What is configured, 0 to 100.",
        {"": "max(canarec_canary_percentage)"},
        unit="percent",
        kind="stat",
        width=4,
        height=4,
    ),
    Panel(
        "Verdict",
        "PASS: in no metric worse by more than its margin. FAIL: worse, or failing. INCONCLUSIVE: not known yet, or not to be trusted. docs/canary.md.",
        {"{{outcome}}: {{phase}}": "max by (outcome, phase) (canarec_canary_verdict)"},
        kind="stat",
        width=8,
        height=4,
    ),
    Panel(
        "Age of the verdict",
        "Since the moment up to which its figures go.",
        {"{{model_version}}": "time() - max by (model_version) (canarec_canary_verdict_timestamp_seconds)"},
        unit="s",
        kind="stat",
        width=4,
        height=4,
        steps=((None, GREEN), (900, RED)),
    ),
    Panel(
        "Is the split as configured?",
        "The chance of arms as uneven as these. Below 0.001 the split is broken, and no verdict may follow.",
        {"p": "max by (model_version) (canarec_canary_sample_ratio_p)"},
        unit="sci",
        kind="stat",
        width=4,
        height=4,
        steps=((None, RED), (0.001, GREEN)),
    ),
    Panel(
        "Configurations in force",
        "More than one: a worker has another config.json.",
        {"": "count(count by (config_sha256) (canarec_config_info))"},
        kind="stat",
        width=4,
        height=4,
        steps=((None, GREEN), (2, RED)),
    ),
    Panel(
        "Requests",
        "By version and variant.",
        {"{{variant}} {{model_version}}": f"sum by (variant, model_version) (rate(canarec_requests_total[{RATE}]))"},
        unit="reqps",
    ),
    Panel(
        "Success",
        "Share of the answers that a model made.",
        {
            "{{variant}} {{model_version}}": f'sum by (variant, model_version) (rate(canarec_requests_total{{outcome="ok"}}[{RATE}]))'
            f' / sum by (variant, model_version) (rate(canarec_requests_total{{variant!="none"}}[{RATE}]))'
        },
        unit="percentunit",
        high=1,
    ),
    Panel(
        "Failure",
        "Answers that no model made, by why.",
        {"{{variant}} {{reason}}": f"sum by (variant, reason) (rate(canarec_fallbacks_total[{RATE}]))"},
        unit="reqps",
    ),
    Panel(
        "Click-through",
        "Answers with a selection / answers shown, of each worker's newest answers. No verdict: without bounds.",
        {"{{variant}}": "avg by (variant) (canarec_ctr)"},
        unit="percentunit",
        low=0,
        width=6,
    ),
    Panel(
        "Hit rate",
        "Answers followed within the horizon by a watch of a listed movie / answers past it.",
        {"{{variant}}": "avg by (variant) (canarec_hit_rate)"},
        unit="percentunit",
        low=0,
        width=6,
    ),
    Panel(
        "Satisfaction",
        "Mean of what was reported, 0 to 1.",
        {"{{variant}} {{group}}": "avg by (variant, group) (canarec_satisfaction)"},
        unit="percentunit",
        low=0,
        high=1,
        width=6,
    ),
    Panel(
        "Latency, p99",
        "From the broker's time of a request to its answer's commit.",
        {"{{variant}}": p(0.99, "canarec_request_latency_seconds", "variant")},
        unit="s",
        low=0,
        width=6,
    ),
    *BOUNDS,
    Panel(
        "Users",
        "Who are one observation each: stable and candidate.",
        {"{{metric}} {{variant}}": "max by (metric, variant) (canarec_canary_users)"},
        low=0,
    ),
    Panel(
        "Still to come",
        "Users of the candidate that the metric needs to decide, an estimate.",
        {"{{metric}}": "max by (metric) (canarec_canary_more_users)"},
        low=0,
    ),
    Panel(
        "Share over time",
        "Changes are also marked on every dashboard.",
        {"configured": "max(canarec_canary_percentage)"},
        unit="percent",
        low=0,
        high=100,
    ),
    Panel(
        "In the shadow: requests",
        "That the candidate was to score beside stable, while its share is 0.",
        {"{{outcome}}": "sum by (outcome) (increase(canarec_shadow_requests_total[1h]))"},
    ),
    Panel(
        "In the shadow: overlap",
        "Of a list, the share that both versions name; the mean of an hour.",
        {"overlap": "sum(rate(canarec_shadow_overlap_sum[1h])) / sum(rate(canarec_shadow_overlap_count[1h]))"},
        unit="percentunit",
        low=0,
        high=1,
    ),
    Panel(
        "In the shadow: scoring, p99",
        "Of one request, with fold-in; of an hour.",
        {
            "{{variant}}": "histogram_quantile(0.99, sum by (le, variant) (rate(canarec_shadow_scoring_seconds_bucket[1h])))"
        },
        unit="s",
        low=0,
    ),
    Panel(
        "Models in memory",
        "Of each worker: who serves, what served before, what is newest.",
        {"{{role}} {{model_version}} ({{model_id}})": "sum by (role, model_version, model_id) (canarec_model_info)"},
        kind="state-timeline",
        width=12,
    ),
    Panel(
        "Models that could not be loaded",
        "Each try counts.",
        {"{{model_version}}": "sum by (model_version) (increase(canarec_model_load_failures_total[10m]))"},
        width=6,
    ),
    Panel(
        "Loading a model",
        "Read, checked and warmed up, beside the answers.",
        {"p50": "histogram_quantile(0.5, sum by (le) (rate(canarec_model_load_seconds_bucket[1h])))"},
        unit="s",
        low=0,
        width=6,
    ),
]

OF = '{window=~"$window"}'


def window(metric: str) -> dict[str, str]:
    return {"{{variant}}": f"max by (variant) (canarec_window_{metric}{OF})"}


LOOPS = [
    Panel(
        "Satisfaction of men / of women, in windows",
        "With its 95 % interval. Below 0.85 or above 1.15, surely so, is the alert Unfair. docs/metrics.md.",
        {
            "{{variant}}": 'max by (variant) (canarec_window_satisfaction_ratio{window=~"$window",side="value"})',
            "{{variant}} {{side}}": 'max by (variant, side) (canarec_window_satisfaction_ratio{window=~"$window",side!="value"})',
            "least": "vector(0.85)",
            "most": "vector(1.15)",
        },
        width=12,
        height=8,
        dashed="low|high|least|most",
    ),
    Panel(
        "The same, live",
        "Of each worker's newest answers, without an interval.",
        {
            "{{variant}}": "avg by (variant) (canarec_satisfaction_ratio)",
            "least": "vector(0.85)",
            "most": "vector(1.15)",
        },
        width=6,
        height=8,
        dashed="least|most",
    ),
    Panel(
        "Alerts of windows",
        "fairness: men and women were surely not served alike. loop: click-through and hit rate have surely fallen together.",
        {
            "fairness {{variant}}": f"max by (variant) (canarec_fairness_alert{OF})",
            "loop {{variant}}": f"max by (variant) (canarec_feedback_loop_alert{OF})",
        },
        kind="state-timeline",
        width=6,
        height=8,
        steps=((None, GREEN), (1, RED)),
        mappings={"0": ("ok", GREEN), "1": ("alert", RED)},
    ),
    Panel(
        "Click-through",
        "Answers with a selection / answers shown in the window.",
        window("ctr"),
        unit="percentunit",
        low=0,
        width=6,
    ),
    Panel(
        "Hit rate",
        "Answers followed within the horizon by a watch of a listed movie / answers whose horizon passed in the window.",
        window("hit_rate"),
        unit="percentunit",
        low=0,
        width=6,
    ),
    Panel("Answers", "In the window.", window("requests"), low=0, width=6),
    Panel(
        "Late windows",
        "late: how long the oldest window with answers could have been written, and is not. age: since the newest one's end, also while nobody asks.",
        {
            "late": f"max(canarec_windows_late_seconds{OF})",
            "age": f"time() - max(canarec_window_end_timestamp_seconds{OF})",
        },
        unit="s",
        low=0,
        width=6,
        dashed="age",
    ),
    Panel(
        "Gini of exposure",
        "How unevenly the catalogue was shown: 0 alike, 1 one movie.",
        window("exposure_gini"),
        low=0,
        high=1,
        width=6,
    ),
    Panel(
        "Coverage",
        "Share of the catalogue that was shown in the window.",
        window("coverage"),
        unit="percentunit",
        low=0,
        width=6,
    ),
    Panel("Mean popularity", "Of the movies in lists.", window("mean_popularity"), width=6),
    Panel("Genres in a list", "Different ones, on average.", window("genres_per_list"), low=0, width=6),
    Panel(
        "Satisfaction by group",
        "Mean of what was reported; both variants, live.",
        {"{{group}} {{variant}}": "avg by (group, variant) (canarec_satisfaction)"},
        unit="percentunit",
        low=0,
        high=1,
        width=6,
    ),
    Panel(
        "Dead letters",
        "Messages that were refused, by topic and reason (docs/operating.md, Dead letters).",
        {"{{topic}} {{reason}}": f"sum by (topic, reason) (rate(canarec_dead_letters_total[{RATE}]))"},
        unit="ops",
        low=0,
        width=6,
    ),
    Panel(
        "Feedback that does not count",
        "It names another user than was answered, selects a movie that was not listed, or is on no answer (docs/metrics.md).",
        {"{{reason}}": f"sum by (reason) (rate(canarec_feedback_ignored_total[{RATE}]))"},
        unit="ops",
        low=0,
        width=6,
    ),
    Panel(
        "Movies that nobody knows",
        "Events that name a movie which the catalogue does not have.",
        {"{{topic}}": f"sum by (topic) (rate(canarec_unknown_movies_total[{RATE}]))"},
        unit="ops",
        low=0,
        width=6,
    ),
    Panel(
        "Trainings",
        "Of the last day, by how they ended; refused: a gate found the version unfit.",
        {"{{outcome}}": "sum by (outcome) (increase(canarec_retraining_total[1d]))"},
        kind="stat",
        width=6,
    ),
    Panel(
        "Age of the newest version",
        "Published or refused.",
        {"{{model_version}}": "max by (model_version) (canarec_newest_version_age_seconds)"},
        unit="s",
        width=6,
    ),
    Panel(
        "Until the next one is due",
        "By the rule of time; below 0 it has been due, and waits for enough that is new.",
        {"{{model_version}}": "max by (model_version) (canarec_retraining_due_timestamp_seconds) - time()"},
        unit="s",
        width=6,
        steps=((None, RED), (0, "transparent")),
    ),
    Panel(
        "Drift",
        "How far popularity has moved from the newest version's data (PSI): 0.1 is a shift, 0.25 a large one.",
        {"{{model_version}}": "max by (model_version) (canarec_drift_psi)"},
        low=0,
        width=6,
        steps=((None, "transparent"), (0.1, YELLOW), (0.25, RED)),
    ),
]

DASHBOARDS = {
    "service.json": dashboard(
        "canarec-service", "canarec: service", "Is it there, is it fast, is it right, is it behind?", SERVICE
    ),
    "canary.json": dashboard("canarec-canary", "canarec: canary", "The candidate against the stable version.", CANARY),
    "loops.json": dashboard(
        "canarec-loops",
        "canarec: loops and fairness",
        "What becomes of answers, and who is served how.",
        LOOPS,
        window=True,
    ),
}


def text(name: str) -> str:
    """A dashboard's file."""
    return json.dumps(DASHBOARDS[name], indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (HERE / name).write_text(text(name))
