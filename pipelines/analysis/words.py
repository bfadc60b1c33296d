"""What the figures of an analysis say: in sentences for people, and as points for `dvc plots`. Computes no figure.

Every sentence names what it is a share of; one that could not be formed is left out, and a group too small for a conclusion is
said to be so.
"""

from typing import Any

from pipelines.evaluate import N

Figures = dict[str, Any]

GROUP_NAMES = {
    "all": "everybody",
    "M": "men",
    "F": "women",
    "other": "other gender",
    "unknown": "unknown gender",
}
NUMBERS = {
    "gini": "Gini of lists",
    "coverage": "Coverage",
    "share_of_most_watched_tenth": "Most watched tenth",
    "mean_popularity": "Mean popularity",
    "novelty": "Novelty",
    "genres_per_list": "Genres of a list",
    f"ndcg_at_{N}": f"NDCG@{N}",
    f"recall_at_{N}": f"Recall@{N}",
}


def summary(figures: Figures) -> list[str]:
    """The sentences that stand first on the page."""
    return [sentence for part in (_concentration, _loop, _breadth, _groups, _changes) for sentence in part(figures)]


def _concentration(figures: Figures) -> list[str]:
    stats, watched, window = figures["popularity_stats"], figures["watched"], figures["window"]
    users, said = counted(window["users"], "user"), []
    if stats["top_share_percent"] is not None and _few(figures):
        said.append(
            f"Only {watched['movies']:,} of {stats['n_movies']:,} movies were watched, so the top {_top(stats)} receive everything: "
            f"{counted(window['interactions'], 'interaction')}, by {users}. The most watched movie has "
            f"{percent(figures['top_movies'][0]['of_watched'])} of them."
        )
    elif stats["top_share_percent"] is not None:
        said.append(
            f"The top {_top(stats)} of movies receive {percent(stats['top_share_fraction'])} of all interactions: "
            f"{window['interactions']:,}, by {users}, with {watched['movies']:,} of {counted(stats['n_movies'], 'movie')}."
        )
    if stats["corr_popularity_interactions"] is not None:
        said.append(
            f"What was popular before, by {_source(figures)}, is {_correlated(stats['corr_popularity_interactions'])} "
            f"what is watched (r = {stats['corr_popularity_interactions']:.2f})."
        )
    return said


def _few(figures: Figures) -> bool:
    """Whether no more movies were watched than the top: whatever they are, it has all."""
    stats, movies = figures["popularity_stats"], figures["watched"]["movies"]
    few: bool = 0 < movies <= stats["top_k_fraction"] * stats["n_movies"]
    return few


def _top(stats: Figures) -> str:
    return f"{100 * stats['top_k_fraction']:g} %"


def _source(figures: Figures) -> str:
    return "the catalogue" if figures["popularity_source"] == "catalogue" else figures["popularity_source"]


def _correlated(r: float) -> str:
    if r < 0.1:
        return "no guide to"
    return "a weak guide to" if r < 0.3 else "some guide to" if r < 0.7 else "a good guide to"


def _loop(figures: Figures) -> list[str]:
    watched, recommended = figures["watched"], figures["recommended"]
    before, after = figures["tenths"][0]["watched"], figures["tenths"][0]["recommended"]
    if not recommended["lists"] or watched["gini"]["value"] is None or recommended["gini"]["value"] is None:
        return []
    more = recommended["gini"]["value"] > watched["gini"]["value"]
    compared = (
        f"Recommendations are {'more' if more else 'less'} concentrated than what people watch: the most watched tenth of movies is "
        f"{percent(after)} of {recommended['source']}, and {percent(before)} of what is watched."
    )
    if _few(figures):
        compared = "Whether recommendations are more concentrated than what people watch cannot be told from so few movies: look at a longer window."
    return [
        compared,
        f"{recommended['movies']:,} of {counted(figures['popularity_stats']['n_movies'], 'movie')} "
        f"({percent(recommended['coverage']['value'])}) are in {_any_list(recommended['lists'])}.",
    ]


def _any_list(lists: int) -> str:
    return "the one list" if lists == 1 else f"any of the {lists:,} lists"


def _breadth(figures: Figures) -> list[str]:
    found = figures["genre_diversity"]
    if found["mean_genres"] is None:
        return []
    return [
        f"A user has met {found['mean_genres']:.1f} genres on average; one in ten at most {found['p10_genres']:g}, one in ten "
        f"{found['p90_genres']:g} or more."
    ]


def _groups(figures: Figures) -> list[str]:
    rows = {row["group"]: row for row in figures["quality"]["groups"]}
    small = [row for row in rows.values() if row["too_small"] and row["group"] != "all"]
    said = []
    if "M" in rows and "F" in rows and not (rows["M"]["too_small"] or rows["F"]["too_small"]):
        men, women = (rows[group][f"ndcg_at_{N}"] for group in ("M", "F"))
        apart = men["low"] > women["high"] or women["low"] > men["high"]
        better, worse = ("men", "women") if men["value"] >= women["value"] else ("women", "men")
        high, low = max(men["value"], women["value"]), min(men["value"], women["value"])
        said.append(
            f"What {better} will watch is predicted better than what {worse} will (NDCG@{N} {high:.3f} against {low:.3f})."
            if apart
            else f"No difference between men and women is proven in how well they are predicted (NDCG@{N} {men['value']:.3f} and "
            f"{women['value']:.3f}; the intervals overlap)."
        )
    if small:
        names = ", ".join(f"{GROUP_NAMES[row['group']]} ({row['tested']:,})" for row in small)
        said.append(f"Too few tested users to conclude anything about: {names}.")
    return said


def _changes(figures: Figures) -> list[str]:
    """What is proven to have changed from one version to the other: the interval leaves 0 out."""
    if "comparison" not in figures:
        return []
    found = figures["comparison"]
    proven = [
        f"{NUMBERS[row['number']]} {row['first']['value']:.3g} → {row['second']['value']:.3g}"
        for row in found["numbers"]
        if row["group"] == "all" and not row["too_small"] and None not in row["difference"].values()
        if row["difference"]["low"] > 0 or row["difference"]["high"] < 0
    ]
    one, other = found["versions"]
    changed = "; ".join(proven) if proven else "no number is proven to have changed"
    return [f"From {one} to {other}, for the same {counted(found['users'], 'user')}: {changed}.", *found["notes"]]


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, "user"), counted(1_200, "user")
    ('1 user', '1,200 users')
    """
    return f"{number:,} {noun}" + "s" * (number != 1)


def percent(share: float) -> str:
    """
    >>> percent(0.5007), percent(0.0012), percent(0), percent(0.99999)
    ('50.1 %', '0.1 %', '0 %', '100 %')
    """
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def plotted(figures: Figures) -> dict[str, list[Figures]]:
    """The points of the plots in dvc.yaml, by the file's name."""
    both, quality = ("watched", "recommended"), figures["quality"]["groups"]
    curves = zip(*(figures["lorenz"][name] for name in both), strict=False)  # the same movies; none where nothing is
    return {
        "lorenz": [{"share of movies": x, **dict(zip(both, (y, z), strict=True))} for (x, y), (_, z) in curves],
        "tenths": figures["tenths"],
        "groups": [
            {"group and measure": f"{measure}, {row['group']}", "value": row[measure]["value"]}
            for measure in (f"ndcg_at_{N}", f"recall_at_{N}", "rmse")
            for row in quality
        ],
        "popularity": [
            {"group": f"{row['group']}, {name}", "interactions of a movie": row[f"popularity_of_{name}"]["value"]}
            for row in figures["groups"]
            for name in ("histories", "lists")
        ],
        "genres": [
            {"genre": f"{row['genre']}, {name}", "share": row[f"of_{name}"]}
            for row in figures["genres"]
            for name in both
        ],
        "breadth": [{"genres": number, "users": users} for number, users in enumerate(figures["genres_of_users"])],
    }
