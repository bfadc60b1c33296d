"""`canarec api`."""

import os
import sys

import click

from streams.cli.options import Host, Integer, Seconds, cluster_options
from streams.home import Home


@click.command()
@cluster_options
@click.option("--host", default="127.0.0.1", show_default=True, type=Host(), help="Where to listen.")
@click.option("--port", default=8082, show_default=True, type=Integer(0, 65535), help="0: any free one, printed.")
@click.option(
    "--timeout",
    default=10.0,
    show_default=True,
    type=Seconds(0, 3_600, min_open=True),
    help="How long a request waits for its answer: seconds, or 2m.",
)
@click.option(
    "--most-waiting",
    default=1_000,
    show_default=True,
    type=Integer(1, 100_000),
    help="Requests that wait at once; more are turned away.",
)
def api(home: Home, bootstrap_servers: str, host: str, port: int, timeout: float, most_waiting: int) -> None:
    """HTTP in front of the topics, and the live page at /.

    GET /recommend/USER_ID?n=20 gives ids with commas between, or the whole answer for `Accept: application/json`. Where CANAREC_API_TOKEN is
    set it must be shown (Authorization: Bearer); with another --host than this machine's own it has to be set. Ctrl-C ends it.

    \b
    Example:
      canarec api --port 8082
      curl -s 'http://127.0.0.1:8082/recommend/42?n=5'
    """
    from streams import serving

    settings = serving.Settings(most_waiting, timeout, serving.token_for(host, serving.told(os.environ)))
    applied, cluster = home.load(), home.cluster(bootstrap_servers)
    listener = serving.listen(host, port)
    cluster.check(timeout_s=5)
    click.echo(f"live page at http://{host}:{listener.getsockname()[1]}/; Ctrl-C ends it", err=True)
    sys.exit(serving.run(home, cluster, applied, listener, settings))
