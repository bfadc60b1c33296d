"""`canarec recommend`: one question, one answer."""

import json
from typing import Any

import click

from models.errors import CanarecError, UsageError
from streams.cli.options import Integer, Seconds, cluster_options
from streams.home import Home

# what a call of this command can be refused for; the words of the others stand in docs/operating.md
_REFUSED = {
    "bad_id": " (a user id has 1 to 256 bytes and no control characters)",
    "bad_genres": " (--genres takes at most 50 names of 1 to 256 characters)",
    "unknown_genre": " (no movie of the catalogue has one of --genres)",
}


@click.command()
@click.argument("user_id")
@cluster_options
@click.option("-n", default=20, show_default=True, type=Integer(1, 100), help="How many movies.")
@click.option("--genres", help="Only movies of any of these, with commas between.")
@click.option("--include-seen", is_flag=True, help="Also what the user has seen.")
@click.option("--json", "as_json", is_flag=True, help="The answer exactly as it came.")
@click.option(
    "--timeout", default=15.0, show_default=True, type=Seconds(0, 86_400, min_open=True), help="Seconds to wait, or 2m."
)
@click.option("--explain", is_flag=True, help="Which watched movies pulled each one in.")
def recommend(
    user_id: str,
    home: Home,
    bootstrap_servers: str,
    n: int,
    genres: str | None,
    include_seen: bool,
    as_json: bool,
    timeout: float,
    explain: bool,
) -> None:
    """Publish one request for USER_ID, wait for its answer, and print it with titles.

    Exit 1 where no answer comes, or where the request is refused: the reason is on stderr.

    \b
    Example:
      canarec recommend 42 -n 10 --genres Drama,War --explain
    """
    from streams.ask import catalog, reply
    from streams.shown import console, in_words, table

    request: dict[str, Any] = {"user_id": user_id, "n": n, "exclude_seen": not include_seen}
    if genres is not None:
        request["genres"] = [genre.strip() for genre in genres.split(",") if genre.strip()]
        if not request["genres"]:
            raise UsageError(f"--genres: {genres!r} names no genre")
    applied, cluster = home.load(), home.cluster(bootstrap_servers)
    cluster.check(timeout_s=5)
    came = reply(cluster, applied, request, timeout, with_record=explain)
    answer = json.loads(came.answer)
    if as_json:
        click.echo(came.answer)
    if answer["status"] == "rejected":
        raise CanarecError(f"{in_words(answer)}{_REFUSED.get(answer['reason'], '')}")
    if as_json:
        return
    because, movies = None, catalog(cluster, applied)
    if explain and came.record is not None and answer["status"] == "ok":
        from pipelines.explain import pulls
        from streams.shown import titled

        found = pulls(cluster, applied, json.loads(came.record), home.models)
        because = {movie: [titled(pull.movie_id, movies) for pull in strongest] for movie, strongest in found.items()}
    console().print(table(answer, movies, because))
