"""The page of an analysis: one HTML file that needs no network and no script. Says and draws figures; computes none.

Everything that is not markup here is escaped: titles, genres and ids come from outside.
"""

from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from pipelines import chart
from pipelines.analysis.markup import (
    day,
    group,
    interval,
    mark,
    one_digit,
    plain,
    section,
    table,
    three_digits,
    two_digits,
    value,
    whole,
)
from pipelines.analysis.words import GROUP_NAMES, NUMBERS, counted, percent, summary
from pipelines.chart import Line, Mark
from pipelines.evaluate import N

Figures = dict[str, Any]

NAMES = ("watched", "recommended")


def page(figures: Figures) -> str:
    """latest.html."""
    title = "Feedback loops and fairness"
    parts = [_head(figures, title), _summary(figures)]
    if "comparison" in figures:
        parts.append(_comparison(figures["comparison"]))
    parts += [_concentration(figures), _tenths(figures), _groups(figures), _quality(figures), _breadth(figures)]
    parts += [_genres(figures), _movies(figures), _about(figures)]
    style = files("pipelines.analysis").joinpath("page.css").read_text()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}: {escape(figures['source'])}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(figures: Figures, title: str) -> str:
    window = figures["window"]
    begin, end = window["since"] or window["first"], window["until"] or window["last"]
    return (
        f"<header>\n<h1>{escape(title)}</h1>\n<p>{counted(window['interactions'], 'interaction')} of {counted(window['users'], 'user')} in "
        f"{escape(figures['source'])}, {day(begin)[:10]} to {day(end)[:10]}. Made {day(figures.get('made_at'))} by "
        f"<code>canarec analyze</code>.</p>\n</header>\n<main>"
    )


def _summary(figures: Figures) -> str:
    items = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in summary(figures))
    return f'<section aria-labelledby="summary">\n<h2 id="summary">In short</h2>\n<ul class="summary">\n{items}\n</ul>\n</section>'


def _concentration(figures: Figures) -> str:
    curves = {name: curve for name, curve in figures["lorenz"].items() if curve}
    rows = [
        [label, *(value(figures[name][key], show) for name in NAMES)]
        for label, key, show in (
            ("Gini (0: every movie alike, 1: one has all)", "gini", three_digits),
            ("Movies that occur", "movies", whole),
            ("Movies that never occur", "never", whole),
            ("Coverage of the catalogue", "coverage", percent),
            ("Share of the top 10 %", "top_share_percent", lambda value: percent(value / 100)),
            ("Mean popularity (interactions of a movie)", "mean_popularity", one_digit),
            ("Novelty, bits", "novelty", two_digits),
            ("Genres of a list (of a user's history)", "genres_per_list", one_digit),
        )
    ]
    drawing = ""
    if curves:
        lines = [Line("every movie alike", (0.0, 100.0), (0.0, 100.0))]
        lines = [
            *(Line(name, [100 * x for x, _ in curve], [100 * y for _, y in curve]) for name, curve in curves.items()),
            *lines,
        ]
        drawing = chart.lines_chart(
            "Lorenz curves",
            "Share of all interactions, and of all recommendations, that the least popular movies have. "
            + " ".join(
                f"Of what is {name}, the less popular half of the movies has {percent(_at(curve, 0.5))}, all but the most "
                f"popular tenth {percent(_at(curve, 0.9))}."
                for name, curve in curves.items()
            ),
            lines,
            x_label="movies of the catalogue, least popular first",
            x=chart.percent,
        )
    return section(
        "concentration",
        "How concentrated",
        drawing,
        "Lorenz curves over the whole catalogue, movies that nobody watched included. The further a line hangs below the straight "
        f"one, the fewer movies get it all. “Recommended” is {escape(figures['recommended']['source'])}.",
        table(("", *NAMES), rows),
    )


def _tenths(figures: Figures) -> str:
    rows = figures["tenths"]
    drawing = chart.bar_chart(
        "Share of each tenth of the catalogue",
        "; ".join(
            f"tenth {row['tenth']}: {percent(row['watched'])} watched, {percent(row['recommended'])} recommended"
            for row in rows
        ),
        [str(row["tenth"]) for row in rows],
        [(name, [100 * row[name] for row in rows]) for name in NAMES],
        x_label="tenth of the movies, most watched first",
    )
    return section(
        "tenths",
        "What is shown against what is watched",
        drawing,
        "The catalogue in ten parts with as many movies each, ordered by how often they are watched. Where the second bar is higher, "
        "recommendations give these movies more than people do: the start of a feedback loop.",
        table(
            ("Tenth", "Movies", "Watched", "Recommended"),
            [[str(row["tenth"]), whole(row["movies"]), *(percent(row[name]) for name in NAMES)] for row in rows],
        ),
    )


def _groups(figures: Figures) -> str:
    rows = figures["groups"]
    drawing = chart.dot_chart(
        "Popularity of histories and of lists",
        "; ".join(
            f"{GROUP_NAMES[row['group']]}: {plain(row['popularity_of_histories'], one_digit)} in histories, "
            f"{plain(row['popularity_of_lists'], one_digit)} in lists"
            for row in rows
        ),
        ("histories", "lists"),
        [(group(row), [mark(row["popularity_of_histories"]), mark(row["popularity_of_lists"])]) for row in rows],
        x_label="interactions of a movie, mean",
    )
    return section(
        "groups",
        "Popular movies, by group",
        drawing,
        "How often the movies in a user's history, and in the lists for that user, are watched by everybody; mean over the users of a "
        "group, with 95 % intervals. Where lists lie to the right of histories, they pull users to what is popular.",
        table(
            ("Group", "Users", "Histories", "Lists", "Lists / histories"),
            [
                [
                    group(row),
                    whole(row["n_users"]),
                    interval(row["popularity_of_histories"], one_digit),
                    interval(row["popularity_of_lists"], one_digit),
                    value(row["ratio"], two_digits),
                ]
                for row in rows
            ],
        ),
    )


def _quality(figures: Figures) -> str:
    rows, fairness = figures["quality"]["groups"], {row["group"]: row for row in figures["fairness"]}
    ndcg, recall = f"ndcg_at_{N}", f"recall_at_{N}"
    drawing = chart.dot_chart(
        "Quality of prediction by group",
        "; ".join(
            f"{GROUP_NAMES[row['group']]}: NDCG@{N} {plain(row[ndcg], three_digits)}, Recall@{N} {plain(row[recall], three_digits)}"
            for row in rows
        ),
        (f"NDCG@{N}", f"Recall@{N}"),
        [(group(row), [mark(row[ndcg]), mark(row[recall])]) for row in rows],
    )
    return section(
        "quality",
        "Who is predicted how well",
        drawing,
        f"Lists of recipe <code>{escape(figures['quality']['recipe'])}</code>: {escape(figures['quality']['method'])}; 95 % intervals "
        "over users. RMSE, in stars, is of a rating predicted from the movie's and the user's mean. Of a group with fewer than 100 tested "
        "users nothing should be concluded.",
        table(
            ("Group", "Users", "Tested", "Interactions", "Mean rating", f"NDCG@{N}", f"Recall@{N}", "RMSE"),
            [
                [
                    group(row),
                    whole(row["n_users"]),
                    whole(row["tested"]),
                    value(fairness.get(row["group"], {}).get("n_interactions"), whole),
                    value(fairness.get(row["group"], {}).get("mean_rating"), two_digits),
                    *(interval(row[name], three_digits) for name in (ndcg, recall, "rmse")),
                ]
                for row in rows
            ],
        ),
    )


def _breadth(figures: Figures) -> str:
    users, found = figures["genres_of_users"], figures["genre_diversity"]
    drawing = chart.bar_chart(
        "Genres a user has met",
        "; ".join(f"{number} genres: {count:,} users" for number, count in enumerate(users) if count),
        [str(number) for number in range(len(users))],
        [("users", [float(count) for count in users])],
        x_label="different genres in a user's history",
        y=chart.plain,
    )
    names = {"n_users": "Users", "mean_genres": "Mean", "median_genres": "Median", "p10_genres": "10th percentile"}
    names["p90_genres"] = "90th percentile"
    return section(
        "breadth",
        "How broad",
        drawing,
        "Users by the number of different genres among the movies that they watched; who watched nothing counts with 0.",
        table(("", "Genres a user"), [[label, value(found[key], chart.plain)] for key, label in names.items()]),
    )


def _genres(figures: Figures) -> str:
    rows = figures["genres"]
    if not rows:
        return ""
    drawing = chart.dot_chart(
        "Share of each genre",
        "; ".join(
            f"{row['genre']}: {percent(row['of_watched'])} watched, {percent(row['of_recommended'])} recommended"
            for row in rows
        ),
        NAMES,
        [(row["genre"], [Mark(100 * row[f"of_{name}"]) for name in NAMES]) for row in rows],
        x=chart.percent,
    )
    return section(
        "genres",
        "Genres",
        drawing,
        "Share of interactions with a movie of the genre, and of places in lists. A movie has several genres, so shares add up to more "
        "than 100 %.",
        table(
            ("Genre", "Of the catalogue", "Watched", "Recommended"),
            [[row["genre"], *(percent(row[f"of_{name}"]) for name in ("catalogue", *NAMES))] for row in rows],
        ),
    )


def _movies(figures: Figures) -> str:
    rows = [
        [
            row["title"],
            row["movie_id"],
            whole(row["interactions"]),
            percent(row["of_watched"]),
            percent(row["of_recommended"]),
        ]
        for row in figures["top_movies"]
    ]
    return section(
        "movies",
        "The most watched movies",
        "",
        "What each of them has of all that is watched, and of all places in lists.",
        table(("Movie", "Id", "Interactions", "Watched", "Recommended"), rows),
        shown="The ten most watched",
    )


def _comparison(found: Figures) -> str:
    one, other = found["versions"]
    both = [row for row in found["numbers"] if row["first"]["value"] and row["difference"]["low"] is not None]
    drawing = chart.dot_chart(
        f"What changed from {one} to {other}",
        "; ".join(
            f"{NUMBERS[row['number']]}, {GROUP_NAMES[row['group']]}: {plain(_relative(row), chart.percent)}"
            for row in both
        ),
        ("change",),
        [(_number_of(row), [mark(_relative(row))]) for row in both],
        x_label=f"change from {one}, in % of its value",
        x=chart.percent,
    )
    shows: dict[str, Callable[[float], str]] = {"mean_popularity": one_digit, "genres_per_list": two_digits}
    rows = []
    for row in found["numbers"]:
        show = shows.get(row["number"], three_digits)
        rows.append(
            [
                _number_of(row),
                whole(row["users"]) if row["users"] else "–",
                *(interval(row[part], show) for part in ("first", "second", "difference")),
            ]
        )
    return section(
        "comparison",
        f"From {one} to {other}",
        drawing,
        f"The lists of both versions for the same {counted(found['users'], 'user')}, with 95 % intervals of the paired differences: one that "
        f"crosses 0 proves no change. {value(found['same_movies']['value'], percent)} of the movies in a list are the same. NDCG and Recall "
        f"are from {escape(found['quality_from'])}."
        + "".join(f" <strong>{escape(note)}</strong>" for note in found["notes"]),
        table(("", "Users", one, other, "Difference"), rows),
    )


def _about(figures: Figures) -> str:
    source, none = escape(figures["popularity_source"]), "none: "
    stable, unknown = figures["popularity_from_before"], figures["window"]["of_movies_not_in_the_catalogue"]
    known = f"Popularity is from: {source}."
    lines = [f"Popularity is not known: {source.removeprefix(none)}." if source.startswith(none) else known]
    if stable["correlation"] is not None:
        lines.append(
            f"Pearson's r between the newest {percent(stable['share'])} of the interactions and those before them, by movie: "
            f"{stable['correlation']:.2f}."
        )
    if unknown:
        lines.append(f"Of movies that the catalogue does not have: {counted(unknown, 'interaction')}.")
    return (
        '<section aria-labelledby="about">\n<h2 id="about">About these figures</h2>\n'
        + "\n".join(f"<p>{line}</p>" for line in lines)
        + "\n<p>Definitions and sources: <code>docs/analysis.md</code>; the same figures for programs: the <code>.json</code> beside "
        "this page.</p>\n</section>"
    )


def _number_of(row: Figures) -> str:
    return NUMBERS[row["number"]] + ("" if row["group"] == "all" else f", {group(row)}")


def _relative(row: Figures) -> Figures:
    """A difference in % of what it was."""
    return {name: 100 * bound / abs(row["first"]["value"]) for name, bound in row["difference"].items()}


def _at(curve: Sequence[Sequence[float]], share: float) -> float:
    return next(y for x, y in curve if x >= share - 1e-9)
