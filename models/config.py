"""config.json as a frozen, checked value, and its digest. The types below are the JSON Schema (`schema()`).

Reads text, never a file. Unknown keys are refused: a misspelt key that is silently ignored is the worst default.
"""

import hashlib
import itertools
import json
import math
import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from models.errors import BadConfig
from models.topics import TOPICS
from models.wire import Limits

VersionName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="a model version, v1")]
Milliseconds = Annotated[int, Meta(ge=0)]


class Canary(Struct, frozen=True, forbid_unknown_fields=True):
    """Which model answers whom."""

    stable: Annotated[VersionName, Meta(description="the version that answers")] = "v1"
    candidate: Annotated[VersionName | None, Meta(description="the version on trial, or null")] = "v2"
    percentage: Annotated[
        float, Meta(ge=0, le=100, description="share of users (or requests) that the candidate answers, 0 to 100")
    ] = 10
    unit: Annotated[
        Literal["user", "request"], Meta(description="what is split: users (each stays in its arm) or single requests")
    ] = "user"
    salt: Annotated[str, Meta(min_length=1, max_length=64, description="a new salt draws new arms")] = "2026-11"
    forced: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=256)], Literal["stable", "canary"]],
        Meta(
            max_length=1_000,
            description="test users who meet this variant whatever their bucket, while there is a candidate",
        ),
    ] = {}
    paused: Annotated[
        bool, Meta(description="the candidate stays on its step: nothing but people and harm changes the split")
    ] = False
    previous: Annotated[
        VersionName | None,
        Meta(description="the version that was stable before the last promotion: where a rollback goes"),
    ] = None
    rolled_back: Annotated[
        VersionName | None,
        Meta(description="the newest version that was rolled back: neither it nor an older one is offered by itself"),
    ] = None
    passed_over: Annotated[
        VersionName | None,
        Meta(
            description="the same of a version that was rolled back before the last promotion, and is newer than what was promoted"
        ),
    ] = None


class Serving(Struct, frozen=True, forbid_unknown_fields=True):
    """How requests are answered."""

    deadline_ms: Annotated[
        Milliseconds, Meta(description="a request older than this when its turn comes gets a fallback")
    ] = 60_000
    shed_after_ms: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="under overload: a request older than this gets popular movies, at once; null: never"),
    ] = None
    freshness_wait_ms: Annotated[
        int, Meta(ge=0, le=5_000, description="how long an answer waits for the events published before it")
    ] = 2_000
    batch_size: Annotated[int, Meta(ge=1, le=1024, description="requests scored together, at most")] = 256
    repeat_window_hours: Annotated[
        float, Meta(gt=0, le=48, description="how long an answered request_id is remembered")
    ] = 24
    repeat_window_ids: Annotated[
        int, Meta(ge=1_000, le=20_000_000, description="how many answered request_ids are remembered")
    ] = 1_000_000


class Events(Struct, frozen=True, forbid_unknown_fields=True):
    """What an event may hold; the rest are dead letters."""

    rating_min: Annotated[float, Meta(gt=0, le=10, description="lowest rating of the scale")] = 0.5
    rating_max: Annotated[float, Meta(gt=0, le=10, description="highest rating of the scale")] = 10
    minute_max: Annotated[int, Meta(ge=1, le=10_000, description="latest minute of a film")] = 720

    def limits(self) -> Limits:
        return Limits(self.rating_min, self.rating_max, self.minute_max)


class AlsRecipe(Struct, frozen=True, forbid_unknown_fields=True, tag_field="algorithm", tag="als"):
    """Implicit-feedback matrix factorisation (Hu, Koren & Volinsky 2008)."""

    factors: Annotated[int, Meta(ge=1, le=1024, description="dimensions of a user and of a movie")] = 64
    regularization: Annotated[float, Meta(ge=0, description="lambda of the paper")] = 16.0
    alpha: Annotated[float, Meta(gt=0, description="weight of a seen movie against an unseen one")] = 0.6
    iterations: Annotated[int, Meta(ge=1, le=1000, description="alternations")] = 15
    popularity_damping: Annotated[
        float, Meta(ge=0, le=1, description="a movie's score is divided by (its interactions) to this power")
    ] = 0.0
    seed: Annotated[int, Meta(ge=0, lt=2**32, description="start of the factors")] = 0


class EaseRecipe(Struct, frozen=True, forbid_unknown_fields=True, tag_field="algorithm", tag="ease"):
    """A linear item-item model in closed form (Steck 2019)."""

    regularization: Annotated[float, Meta(gt=0, description="lambda of the paper")] = 300.0
    movies: Annotated[
        int, Meta(ge=1, le=50_000, description="the most watched movies take part; memory grows with the square")
    ] = 10_000
    neighbours: Annotated[
        int, Meta(ge=1, le=50_000, description="the strongest weights that each movie's score keeps")
    ] = 200


Recipe = AlsRecipe | EaseRecipe


Group = Annotated[str, Meta(pattern="^(M|F|other|unknown)$", description="a gender's group")]


class DataGate(Struct, frozen=True, forbid_unknown_fields=True):
    """What a data set must be like before anything is trained on it."""

    users_min: Annotated[int, Meta(ge=1, description="users, at least")] = 20
    interactions_min: Annotated[int, Meta(ge=1, description="interactions, at least")] = 100
    refused_share_max: Annotated[
        float, Meta(ge=0, le=1, description="share of events that are off the scale, from the future or unreadable")
    ] = 0.05
    duplicates_share_max: Annotated[
        float, Meta(ge=0, le=1, description="share of events that repeat another of the same user, movie and time")
    ] = 0.5
    unknown_movies_share_max: Annotated[
        float, Meta(ge=0, le=1, description="share of interactions with movies that the catalogue does not have")
    ] = 0.2
    user_share_max: Annotated[
        float, Meta(gt=0, le=1, description="share of all interactions that one user may have")
    ] = 0.1
    heavy_users: Annotated[
        Literal["leave_out", "stop"], Meta(description="what becomes of a user above user_share_max, or of the run")
    ] = "leave_out"
    group_share_min: Annotated[
        float,
        Meta(
            ge=0, le=1, description="a gender's share of the interactions, against its share in the last version's data"
        ),
    ] = 0.5


class ModelGate(Struct, frozen=True, forbid_unknown_fields=True):
    """What refuses a new model. Only clear harm does; the canary decides the rest."""

    margin: Annotated[
        float,
        Meta(ge=0, le=1, description="refused where the 95 % interval lies below 1 - margin of the stable's recipe"),
    ] = 0.02
    coverage_margin: Annotated[float, Meta(ge=0, le=1, description="the same for coverage@20")] = 0.02
    gender_gap_margin: Annotated[
        float, Meta(ge=0, le=1, description="refused where the NDCG gap between men and women surely widens by more")
    ] = 0.02


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """How versions are trained, and from what."""

    versions: Annotated[
        dict[VersionName, Recipe],
        Meta(min_length=1, description="recipe of each version, by its name; the first start trains these"),
    ] = field(default_factory=lambda: {"v1": AlsRecipe(), "v2": AlsRecipe(alpha=0.3, popularity_damping=0.3)})
    recipes: Annotated[
        dict[Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")], Recipe],
        Meta(min_length=1, description="every retraining trains and compares these"),
    ] = field(default_factory=lambda: {"als": AlsRecipe(), "als-damped": AlsRecipe(alpha=0.3, popularity_damping=0.3)})
    next: Annotated[
        str, Meta(description="which of the recipes a new version gets, unless `versions` has one of its name")
    ] = "als"
    group_weights: Annotated[
        dict[Group, Annotated[float, Meta(gt=0, le=100)]] | Literal["balanced"] | None,
        Meta(
            description='weights of a gender\'s interactions in training, {"F": 2}; "balanced": men\'s and women\'s weigh the same; null: none'
        ),
    ] = None
    validation: Annotated[
        bool,
        Meta(
            description="also evaluate each recipe on a validation part, which experiments may look at as often as they like"
        ),
    ] = False
    data_gate: DataGate = DataGate()
    model_gate: ModelGate = ModelGate()

    def method(self, recipe: Recipe) -> dict[str, Any]:
        """A recipe with every parameter, as a version's `training_method` has it; group weights only where there are some."""
        found: dict[str, Any] = msgspec.to_builtins(recipe)
        return found | ({"group_weights": self.group_weights} if self.group_weights else {})


class Drift(Struct, frozen=True, forbid_unknown_fields=True):
    """When the world has changed enough to retrain sooner: popularity has shifted, and quality has fallen with it."""

    enabled: Annotated[bool, Meta(description="whether drift may start a retraining")] = True
    psi: Annotated[
        float, Meta(gt=0, description="population stability index over popularity deciles, from which on")
    ] = 0.1
    events: Annotated[
        int, Meta(ge=100, le=100_000, description="interactions that are compared: so many new ones there must be")
    ] = 5_000
    ndcg_drop: Annotated[
        float,
        Meta(gt=0, lt=1, description="fall of the prequential NDCG, as a share; its whole interval must lie below"),
    ] = 0.05
    adwin_delta: Annotated[float, Meta(gt=0, lt=1, description="chance of one false alarm of ADWIN on live hit@10")] = (
        0.002
    )
    cool_down_days: Annotated[float, Meta(ge=0, description="days after a version in which drift starts nothing")] = 1.0


class Retraining(Struct, frozen=True, forbid_unknown_fields=True):
    """When a new version is trained, and how many are kept at hand."""

    days: Annotated[float, Meta(ge=0, le=3_650, description="days after the last version that a new one is due")] = 3.0
    users: Annotated[int, Meta(ge=0, le=10_000_000, description="so many new users make one worth it, or")] = 50
    interactions: Annotated[
        int, Meta(ge=0, le=10_000_000, description="so many new interactions: pairs of user and movie")
    ] = 100
    drift: Drift = Drift()
    on_alert: Annotated[
        bool,
        Meta(
            description="whether a fairness or feedback-loop alert of stable may start one, after drift.cool_down_days"
        ),
    ] = True
    look_every_s: Annotated[float, Meta(gt=0, le=86_400, description="how often the scheduler asks the rule")] = 60.0
    retry_after_s: Annotated[
        float, Meta(gt=0, le=86_400, description="wait after a failed run; doubles with each further one, up to a day")
    ] = 300.0
    versions_at_hand: Annotated[
        int, Meta(ge=3, le=100, description="stable, candidate, previous; older ones go to the remote")
    ] = 3
    remote: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="DVC remote: a folder or any URL that DVC takes; null: artifacts/remote"),
    ] = None


class Metrics(Struct, frozen=True, forbid_unknown_fields=True):
    """How outcomes are measured."""

    horizon_s: Annotated[
        int,
        Meta(ge=1, le=90 * 86_400, description="an answer is a hit if a listed movie is watched within these seconds"),
    ] = 1_800
    windows_s: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=86_400)], ...],
        Meta(
            min_length=1,
            max_length=4,
            description="lengths of the windows of feedback-loop-metrics and fairness-metrics, the shortest first",
        ),
    ] = (300, 3_600)
    lateness_s: Annotated[
        float,
        Meta(ge=0, le=86_400, description="a window closes so long after its end: feedback until then counts in it"),
    ] = 60.0
    ratio_min: Annotated[
        float,
        Meta(gt=0, lt=1, description="satisfaction of men / of women below which fairness is an alert, if surely so"),
    ] = 0.85
    ratio_max: Annotated[float, Meta(gt=1, description="and above which")] = 1.15
    group_users_min: Annotated[
        int, Meta(ge=2, description="users of a gender who said how satisfied they are, before the ratio is judged")
    ] = 100
    fall: Annotated[
        float,
        Meta(
            ge=0,
            lt=1,
            description="CTR and hit rate that have both surely fallen by more than this share are an alert: the sign of a feedback loop",
        ),
    ] = 0.1
    fall_windows: Annotated[
        int, Meta(ge=1, le=1_000, description="compared with so many windows of the same length before")
    ] = 12


Margin = Annotated[float, Meta(gt=0, lt=1)]


class Margins(Struct, frozen=True, forbid_unknown_fields=True):
    """By how much a candidate may be worse, in each metric; null: the metric decides nothing."""

    success: Annotated[Margin | None, Meta(description="share of answers that the model made")] = 0.01
    ctr: Annotated[Margin | None, Meta(description="share of answers with a selection; 0.05 is 5 points")] = 0.05
    hit_rate: Annotated[Margin | None, Meta(description="share of answers followed by a watch of a listed movie")] = (
        0.05
    )
    satisfaction: Annotated[Margin | None, Meta(description="mean of what users report, 0 to 1")] = 0.05


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    """How a candidate becomes the stable version, or does not."""

    automation: Annotated[
        Literal["off", "advise", "act"],
        Meta(description="off: no verdicts; advise: verdicts, people act; act: verdicts change the split"),
    ] = "advise"
    steps: Annotated[
        tuple[Annotated[float, Meta(ge=0, le=100)], ...],
        Meta(
            min_length=1,
            description="percentages that a candidate goes through; 0 is shadow: it scores, stable answers",
        ),
    ] = (0, 1, 5, 10, 25, 50, 100)
    hold_s: Annotated[float, Meta(ge=0, description="a candidate stays on a step so long, at least")] = 3_600.0
    margins: Margins = Margins()
    alpha: Annotated[
        float,
        Meta(gt=0, lt=0.5, description="chance that a candidate at a margin passes, or an equal one is rolled back"),
    ] = 0.05
    decides_from: Annotated[
        float, Meta(ge=0, le=100, description="percentage from which quality decides; before, errors, latency and time")
    ] = 10
    users_min: Annotated[int, Meta(ge=100, description="users an arm before quality decides, at least")] = 500
    group_users_min: Annotated[
        int, Meta(ge=50, description="users of a gender an arm before harm to it is looked for")
    ] = 100
    requests_min: Annotated[int, Meta(ge=1, description="requests of the candidate before a step goes on")] = 200
    scoring_p99_ratio_max: Annotated[
        float, Meta(gt=0, description="p99 of the candidate's scoring time, over the stable version's")
    ] = 1.2
    scorings_min: Annotated[int, Meta(ge=100, description="scorings an arm before their p99 is compared")] = 1_000
    error_margin: Annotated[
        float, Meta(ge=0, lt=1, description="by how much its share of failed requests may be larger; beyond, it is out")
    ] = 0.02
    error_alpha: Annotated[float, Meta(gt=0, lt=0.5, description="chance that a sound candidate is out for errors")] = (
        0.0001
    )
    failing_users_min: Annotated[int, Meta(ge=1, description="different users who meet errors before it is out")] = 3
    crashes_max: Annotated[int, Meta(ge=0, description="crashes that a candidate may cause")] = 0
    srm_alpha: Annotated[
        float, Meta(gt=0, lt=0.5, description="chance that a right split is called broken (sample ratio mismatch)")
    ] = 0.001
    look_every_s: Annotated[float, Meta(gt=0, le=3_600, description="how often the scheduler computes the verdict")] = (
        10.0
    )
    shadow_share: Annotated[
        float,
        Meta(ge=0, le=1, description="in the shadow: share of the requests that the candidate scores beside stable"),
    ] = 0.1


class Exposure(Struct, frozen=True, forbid_unknown_fields=True):
    """A least share of each list for movies that lists show too rarely, by exact re-ranking (docs/fairness.md)."""

    share: Annotated[
        float,
        Meta(ge=0, le=1, description="of the places of each list, rounded down, at least; 0: lists are the model's"),
    ] = 0.0
    protect: Annotated[
        Literal["movies", "genres", "own_genres"],
        Meta(
            description="what the places are for: movies outside the popularity head; movies of rare genres; movies of the genres "
            "that the user watches more than others do"
        ),
    ] = "movies"
    head_fraction: Annotated[
        float,
        Meta(
            gt=0, lt=1, description="the most watched movies (genres) with this share of all interactions are the head"
        ),
    ] = 0.5
    genres: Annotated[
        tuple[str, ...] | None, Meta(description="with protect genres: these; null: those outside the head")
    ] = None
    every_prefix: Annotated[
        bool, Meta(description="the share holds for the first 1, 2, 3 … places of a list, too, not just for the whole")
    ] = False


class Exploration(Struct, frozen=True, forbid_unknown_fields=True):
    """Users whose lists have randomised slots, so that other policies can be judged from the log (docs/provenance.md)."""

    share: Annotated[float, Meta(ge=0, le=1, description="share of the users who explore, 0 to 1")] = 0.0
    slots: Annotated[int, Meta(ge=1, le=10, description="randomised places in each of their lists")] = 1
    pool: Annotated[
        int, Meta(ge=1, le=1_000, description="what is drawn from: so many movies behind the end of the model's list")
    ] = 100
    salt: Annotated[
        str, Meta(min_length=1, max_length=64, description="a new salt draws other users and other movies")
    ] = "2026-11"


class TasteDrift(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of everybody's taste in the middle of a run."""

    kind: Annotated[
        Literal["none", "abrupt", "gradual"], Meta(description="all at once, little by little, or not at all")
    ] = "none"
    after_s: Annotated[float, Meta(ge=0, le=1e9, description="seconds after the start at which it begins")] = 60.0
    over_s: Annotated[float, Meta(gt=0, le=1e9, description="seconds that a gradual one takes")] = 120.0
    size: Annotated[
        float, Meta(ge=0, le=10, description="how far weights of genres move, in standard deviations between users")
    ] = 2.0


class Bursts(Struct, frozen=True, forbid_unknown_fields=True):
    """Short times of many more requests."""

    times: Annotated[float, Meta(ge=1, le=1_000, description="the rate in a burst, as a multiple; 1: no bursts")] = 1.0
    every_s: Annotated[float, Meta(gt=0, le=86_400, description="a burst ends so often")] = 60.0
    lasting_s: Annotated[float, Meta(gt=0, le=86_400, description="seconds that each lasts")] = 5.0


class Simulator(Struct, frozen=True, forbid_unknown_fields=True):
    """Synthetic users (docs/simulator.md)."""

    seed: Annotated[int, Meta(ge=0, lt=2**32, description="the same seed makes the same users")] = 2026
    rate: Annotated[float, Meta(gt=0, le=10_000, description="requests a second")] = 20
    newcomers: Annotated[
        float, Meta(ge=0, le=1, description="share of the requests that are users' whom nobody knows yet")
    ] = 0.05
    bots: Annotated[
        float,
        Meta(ge=0, le=1, description="share of the requests that are bots': they take and praise whatever is first"),
    ] = 0.0
    patience: Annotated[
        float, Meta(ge=0, le=10, description="position bias: place k is looked at with chance k^-patience")
    ] = 0.8
    fame: Annotated[
        float, Meta(ge=0, le=10, description="how much more the most popular movie attracts than a middling one")
    ] = 0.3
    tilt: Annotated[
        float, Meta(ge=0, le=10, description="how far the tastes of men and women lie apart; 0: not at all")
    ] = 0.6
    gap: Annotated[
        float,
        Meta(ge=-1, le=1, description="mean satisfaction of women less that of men, with the same list and taste"),
    ] = 0.0
    night: Annotated[
        float, Meta(ge=0, le=1, description="share of the requests that are missing at midnight; 0: no day and night")
    ] = 0.0
    day_s: Annotated[
        float, Meta(gt=0, le=1e6, description="seconds from one noon to the next; the first is at the start")
    ] = 86_400.0
    drift: TasteDrift = TasteDrift()
    bursts: Bursts = Bursts()
    movielog: Annotated[
        bool,
        Meta(description="watches, ratings and answers are raw lines to `movielog`, as a movie service writes them"),
    ] = False
    damage: Annotated[
        float, Meta(ge=0, le=1, description="share of these lines that have one stray character anywhere")
    ] = 0.001


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of config.json."""

    schema_file: Annotated[str, Meta(description="where editors find this schema")] = field(
        name="$schema", default="./config.schema.json"
    )
    canary: Canary = Canary()
    topics: Annotated[
        dict[str, Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,249}$")]],
        Meta(description='another name for a topic of the contract: {"watch-events": "prod.watch"}'),
    ] = {}
    group_prefix: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._-]{1,64}$",
            description="consumer groups and transactional ids begin with it: two installations on one cluster need two",
        ),
    ] = "canarec"
    kafka: Annotated[
        dict[str, str | int | float | bool],
        Meta(description="any librdkafka property; reaches every client. Not part of config_sha256"),
    ] = {}
    serving: Serving = Serving()
    events: Events = Events()
    training: Training = field(default_factory=Training)
    metrics: Metrics = Metrics()
    retraining: Retraining = Retraining()
    release: Release = Release()
    exposure: Exposure = Exposure()
    exploration: Exploration = Exploration()
    simulator: Simulator = Simulator()


class Applied(Struct, frozen=True):
    """A checked configuration and what names it: `text` is canonical JSON without `kafka`, `sha256` its digest."""

    config: Config
    text: str
    sha256: str

    def topic(self, name: str) -> str:
        """The name that a topic of the contract goes by here."""
        return self.config.topics.get(name, TOPICS[name].name)

    def group(self, name: str) -> str:
        """The consumer group that goes by this name here."""
        return f"{self.config.group_prefix}-{name}"


def parse(text: str | bytes) -> Applied:
    """A configuration from its JSON text, or BadConfig with the path of the key that is wrong."""
    try:
        raw = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        json.dumps(raw, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise BadConfig("", f"not JSON: {error}") from None
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise _refusal(raw, str(error)) from None
    _check_together(config)
    shared = {key: value for key, value in raw.items() if key != "kafka"}
    text = canonical(shared)
    return Applied(config, text, hashlib.sha256(text.encode()).hexdigest())


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values have equal text.

    >>> canonical({"b": 1, "a": [True]})
    '{"a":[true],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def defaults() -> dict[str, Any]:
    """A config.json with every key and its default."""
    defaults: dict[str, Any] = json.loads(msgspec.json.encode(Config()))
    return {"$schema": "./config.schema.json", **{k: v for k, v in defaults.items() if k != "$schema"}}


def schema() -> dict[str, Any]:
    """The JSON Schema of config.json."""
    made: dict[str, Any] = json.loads(msgspec.json.encode(msgspec.json.schema(Config)))  # tuples are lists in a file
    for definition in made["$defs"].values():
        if tag := definition["properties"].get("algorithm"):  # msgspec's own: a tag cannot be described
            tag.setdefault("description", "the learning algorithm")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits)


_AT = re.compile(r"(?P<message>.*) - at `(?P<key>key` in `)?\$(?P<path>.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


def _refusal(raw: Any, error: str) -> BadConfig:
    """msgspec's error with the whole path: it writes `[...]` for a free name, and an unknown key only into its message."""
    at = _AT.fullmatch(error)
    message = error
    steps: list[str] = []
    if at:
        message, path = at["message"], at["path"] + ("[...]" if at["key"] else "")
        for step in re.findall(r"\[\.\.\.\]|[^.\[]+", path):
            steps.append(step if step != "[...]" else _guilty(raw, steps, error))
    if unknown := _UNKNOWN.fullmatch(message):
        steps.append(unknown[1])
    return BadConfig(".".join(steps), message)


def _guilty(raw: dict[str, Any], steps: list[str], error: str) -> str:
    """The free name under `steps` that is refused with this error also where it stands alone."""
    names = raw
    for step in steps:
        names = names[step]
    for name, value in names.items():
        alone: Any = {name: value}
        for step in reversed(steps):
            alone = {step: alone}
        try:
            msgspec.convert(alone, Config)
        except msgspec.ValidationError as found:
            if str(found) == error:
                return name
    return "[...]"


def _check_together(config: Config) -> None:
    for name in config.topics:
        if name not in TOPICS:
            raise BadConfig(f"topics.{name}", f"no topic of canarec; expected one of {', '.join(TOPICS)}")
    used = [config.topics.get(name, name) for name in TOPICS]
    for name, other in config.topics.items():
        if used.count(other) > 1:
            raise BadConfig(f"topics.{name}", f"{other} is the name of another topic too")
    if config.events.rating_min >= config.events.rating_max:
        raise BadConfig("events.rating_min", f"{config.events.rating_min:g} is not below rating_max")
    windows = config.metrics.windows_s
    if any(later <= earlier for earlier, later in itertools.pairwise(windows)):
        raise BadConfig("metrics.windows_s", f"{list(windows)}: each length must be above the one before")
    steps = config.release.steps
    if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        raise BadConfig("release.steps", f"{list(steps)}: each step must be above the one before")
    if all(getattr(config.release.margins, name) is None for name in Margins.__struct_fields__):
        raise BadConfig("release.margins", "every metric is null: nothing could decide")
    if config.simulator.bursts.lasting_s > config.simulator.bursts.every_s:
        raise BadConfig("simulator.bursts.lasting_s", f"{config.simulator.bursts.lasting_s:g} is above every_s")
    if config.exposure.genres is not None and config.exposure.protect != "genres":
        raise BadConfig("exposure.genres", f"there are some, but exposure.protect is {config.exposure.protect!r}")
    if config.training.next not in config.training.recipes:
        raise BadConfig(
            "training.next",
            f"{config.training.next!r} is none of training.recipes: {', '.join(config.training.recipes)}",
        )
