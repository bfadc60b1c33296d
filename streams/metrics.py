"""All instruments, in one place. Labels are bounded: never a user, a movie or a request id."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SHORT = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

REQUESTS = Counter(
    "canarec_requests", "Requests by outcome: ok, fallback or rejected", ("model_version", "variant", "outcome")
)
FALLBACKS = Counter("canarec_fallbacks", "Answers that no model made, by why", ("model_version", "variant", "reason"))
REPEATED = Counter("canarec_repeated_requests", "Requests whose id had been answered before")
LATENCY = Histogram(
    "canarec_request_latency_seconds",
    "From the broker's time of a request to its answer's commit",
    ("variant",),
    buckets=_LATENCY,
)
SCORING = Histogram("canarec_scoring_seconds", "Fold-in and top n of one batch", buckets=_SHORT)
BATCH = Histogram("canarec_batch_requests", "Requests in one batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
FRESHNESS = Histogram("canarec_freshness_seconds", "Wait of a batch for the events published before it", buckets=_SHORT)
SHADOW = Counter(
    "canarec_shadow_requests",
    "Requests that the candidate was to score beside stable: ok, error, empty or dropped",
    ("outcome",),
)
SHADOW_OVERLAP = Histogram(
    "canarec_shadow_overlap",
    "Share of a list that both versions name",
    buckets=(0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1),
)
SHADOW_SCORING = Histogram(
    "canarec_shadow_scoring_seconds",
    "Time to score a request of the comparison, its share of those that were scored together",
    ("variant",),
    buckets=(0.0001, 0.00025, *_SHORT[:9]),
)
CANARY_PERCENTAGE = Gauge("canarec_canary_percentage", "Share that the candidate answers, 0 to 100")
MODEL_INFO = Gauge("canarec_model_info", "1 for each model in memory", ("model_version", "model_id", "role", "sha256"))
MODEL_LOAD = Histogram(
    "canarec_model_load_seconds",
    "Reading, checking and warming up a model",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
MODEL_LOAD_FAILURES = Counter("canarec_model_load_failures", "Models that could not be loaded", ("model_version",))
CONFIG_INFO = Gauge("canarec_config_info", "1 for the configuration in force", ("config_sha256",))
CONFIG_REFUSED = Counter("canarec_config_refused", "Changes of config.json that were refused")
DEAD_LETTERS = Counter("canarec_dead_letters", "Messages refused", ("topic", "reason"))
LAG = Gauge(
    "canarec_consumer_lag",
    "Messages between the group's position and the topic's end, in this worker's partitions",
    ("topic",),
)
EVENTS = Counter("canarec_events", "Events applied to the histories", ("topic",))
USERS = Gauge("canarec_history_users", "Users with a history")
INTERACTIONS = Gauge("canarec_history_interactions", "Interactions in all histories")
SNAPSHOTS = Counter("canarec_snapshots", "Snapshots of the histories", ("outcome",))
CTR = Gauge("canarec_ctr", "Answers with a selection / answers shown, of this worker's answers", ("variant",))
HIT_RATE = Gauge(
    "canarec_hit_rate",
    "Answers followed within the horizon by a watch of a listed movie / answers past it",
    ("variant",),
)
SATISFACTION = Gauge("canarec_satisfaction", "Mean satisfaction, 0 to 1", ("group", "variant"))
SATISFACTION_USERS = Gauge("canarec_satisfaction_users", "Users who reported their satisfaction", ("group", "variant"))
SATISFACTION_RATIO = Gauge("canarec_satisfaction_ratio", "Mean satisfaction of M / mean of F", ("variant",))
_WINDOW = ("window", "variant")  # the length in seconds; figures of the newest that closed (docs/metrics.md)
WINDOW_END = Gauge("canarec_window_end_timestamp_seconds", "When the window ended, in seconds since 1970", _WINDOW)
WINDOWS_LATE = Gauge(
    "canarec_windows_late_seconds",
    "For how long the oldest window with answers of this worker could have been written, and is not",
    ("window",),
)
WINDOW_REQUESTS = Gauge("canarec_window_requests", "Answers in the window", _WINDOW)
WINDOW_CTR = Gauge("canarec_window_ctr", "Answers with a selection / answers shown in the window", _WINDOW)
WINDOW_HIT_RATE = Gauge(
    "canarec_window_hit_rate",
    "Answers followed within the horizon by a watch of a listed movie / answers whose horizon passed in the window",
    _WINDOW,
)
WINDOW_COVERAGE = Gauge("canarec_window_coverage", "Share of the catalogue that was shown in the window", _WINDOW)
WINDOW_GINI = Gauge("canarec_window_exposure_gini", "How unevenly the catalogue was shown, 0 to 1", _WINDOW)
WINDOW_POPULARITY = Gauge("canarec_window_mean_popularity", "Mean popularity of the movies in lists", _WINDOW)
WINDOW_GENRES = Gauge("canarec_window_genres_per_list", "Different genres in a list, on average", _WINDOW)
WINDOW_RATIO = Gauge(
    "canarec_window_satisfaction_ratio",
    "Mean satisfaction of M / mean of F in the window: value, and both ends of its 95 % interval",
    (*_WINDOW, "side"),
)
FAIRNESS_ALERT = Gauge("canarec_fairness_alert", "1 where men and women were surely not served alike", _WINDOW)
LOOP_ALERT = Gauge(
    "canarec_feedback_loop_alert", "1 where click-through and hit rate have surely fallen together", _WINDOW
)
FEEDBACK_IGNORED = Counter("canarec_feedback_ignored", "Feedbacks of which something does not count", ("reason",))
UNKNOWN_MOVIES = Counter("canarec_unknown_movies", "Events that name a movie the catalogue does not have", ("topic",))
WATCHES_OLD = Counter(
    "canarec_watches_old", "Watches that came within the horizon of an answer and are older than it by their own time"
)
MOVIELOG_LINES = Counter("canarec_movielog_lines", "Lines of a movie service by what they tell", ("kind",))
READY = Gauge("canarec_worker_ready", "1 once the worker has caught up and answers")
RETRAINING = Counter("canarec_retraining", "Trainings that the scheduler ran, by outcome", ("outcome",))
NEWEST_VERSION_AGE = Gauge(
    "canarec_newest_version_age_seconds", "Time since the last run's version", ("model_version",)
)
RETRAINING_DUE = Gauge(
    "canarec_retraining_due_timestamp_seconds",
    "When the rule of time asks next, in seconds since 1970",
    ("model_version",),
)
DRIFT_PSI = Gauge(
    "canarec_drift_psi", "How far popularity has moved from the data of the last version", ("model_version",)
)
DRIFT_ALERT = Gauge("canarec_drift_alert", "1 where popularity has shifted and quality fallen", ("model_version",))
OF_RETRAINING = (RETRAINING, NEWEST_VERSION_AGE, RETRAINING_DUE, DRIFT_PSI, DRIFT_ALERT)
PROVENANCE_LAG = Gauge("canarec_provenance_csv_lag", "Offsets of the provenance topic that are not in the CSV yet")
PROVENANCE_LOST = Gauge(
    "canarec_provenance_csv_lost", "Offsets that the provenance topic dropped before they were in the CSV"
)
PROVENANCE_REFUSED = Gauge(
    "canarec_provenance_csv_refused", "Messages of the provenance topic that are no records, since the writer's start"
)
PROVENANCE_LOOKED = Gauge(
    "canarec_provenance_csv_looked_timestamp_seconds", "When the writer of the CSV looked last, in seconds since 1970"
)
CANARY_VERDICT = Gauge("canarec_canary_verdict", "1 for the verdict on the candidate", ("outcome", "phase"))
CANARY_VERDICT_AT = Gauge(
    "canarec_canary_verdict_timestamp_seconds",
    "The moment up to which the verdict's figures go, in seconds since 1970",
    ("model_version",),
)
CANARY_BOUND = Gauge(
    "canarec_canary_bound",
    "Candidate less stable: difference so far, lower and upper bound of the true one",
    ("metric", "side"),
)
CANARY_MARGIN = Gauge("canarec_canary_margin", "By how much the candidate may be worse", ("metric",))
CANARY_USERS = Gauge("canarec_canary_users", "Users who are one observation each", ("metric", "variant"))
CANARY_MORE_USERS = Gauge(
    "canarec_canary_more_users", "Users of the candidate that the metric needs to decide, an estimate", ("metric",)
)
CANARY_RATIO_P = Gauge(
    "canarec_canary_sample_ratio_p",
    "Chance of so uneven arms under the configured split; below release.srm_alpha it is broken",
    ("model_version",),
)
OF_VERDICTS = (
    *(CANARY_VERDICT, CANARY_VERDICT_AT, CANARY_BOUND, CANARY_MARGIN, CANARY_USERS, CANARY_MORE_USERS),
    CANARY_RATIO_P,
)

# Of `canarec api`, in a registry of their own: they would read 0 at a worker.
API = CollectorRegistry()
API_REQUESTS = Counter(
    "canarec_api_requests", "HTTP requests by route and status code", ("route", "code"), registry=API
)
API_LATENCY = Histogram(
    "canarec_api_request_seconds",
    "From an HTTP request for a list to its answer, those that got one",
    buckets=_LATENCY,
    registry=API,
)
API_WAITING = Gauge("canarec_api_waiting", "HTTP requests that wait for their answers", registry=API)
API_PAGES = Gauge("canarec_api_pages", "Live pages that are open", registry=API)
API_READY = Gauge("canarec_api_ready", "1 while requests go out and answers are seen", registry=API)
