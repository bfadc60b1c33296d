"""`canarec recommend`: one question, one answer."""

import json

import click

from streams.cli.options import cluster_options
from streams.home import Home


@click.command()
@click.argument("user_id")
@cluster_options
@click.option("-n", default=20, show_default=True, type=click.IntRange(1, 100), help="How many movies.")
@click.option("--genres", help="Only movies of any of these, with commas between.")
@click.option("--include-seen", is_flag=True, help="Also what the user has seen.")
@click.option("--json", "as_json", is_flag=True, help="The answer exactly as it came.")
@click.option(
    "--timeout", default=15.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Seconds to wait."
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

    \b
    Example:
      canarec recommend 42 -n 10 --genres Drama,War --explain
    """
    from streams.ask import catalog, reply
    from streams.shown import console, table

    applied, cluster = home.load(), home.cluster(bootstrap_servers)
    cluster.check(timeout_s=5)
    request = {"user_id": user_id, "n": n, "exclude_seen": not include_seen}
    if genres:
        request["genres"] = [genre.strip() for genre in genres.split(",") if genre.strip()]
    came = reply(cluster, applied, request, timeout, with_record=explain)
    if as_json:
        click.echo(came.answer)
        return
    answer, because, movies = json.loads(came.answer), None, catalog(cluster, applied)
    if explain and came.record is not None and answer["status"] == "ok":
        from pipelines.explain import pulls
        from streams.shown import titled

        found = pulls(cluster, applied, json.loads(came.record), home.models)
        because = {movie: [titled(pull.movie_id, movies) for pull in strongest] for movie, strongest in found.items()}
    console().print(table(answer, movies, because))
